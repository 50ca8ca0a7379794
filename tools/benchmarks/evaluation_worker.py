"""One side of the benchmark of evaluation: scores the same requests, once for every line on standard input.

    python evaluation_worker.py catwalk-eval|lm-eval MODEL_FOLDER REQUESTS.json THREADS

Answers with a line of JSON: seconds, log-probabilities, counts of tokens, and the peak of the process's resident
memory.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Requests = list[list[str]]
BATCH = 16


def ours(folder: str, requests: Requests) -> Callable[[], dict[str, Any]]:
    from catwalk_eval.attention import Trunk
    from catwalk_eval.batches import Unit, make_plan
    from catwalk_eval.engine import Engine, Work
    from catwalk_eval.model_weights import load_weights
    from catwalk_eval.runner import BATCH_TOKENS_CPU
    from catwalk_eval.tokenize import Encoder

    engine = Engine(load_weights(Path(folder), "cpu", "float32"))
    encoder = Encoder.load(Path(folder) / "tokenizer.json", "joint")

    def run() -> dict[str, Any]:
        engine.work, engine.trunk = Work(), Trunk()  # every round begins anew
        units = [Unit(pair.context_ids, pair.continuation_ids) for pair in encoder.pairs(map(tuple, requests))]
        plan = make_plan([units], BATCH_TOKENS_CPU, shared=engine.shared)
        found = {s.unit: s.log_probability for batch in plan.batches for s in engine.score(plan.units, batch)}
        counts = {"forwarded": engine.work.tokens, "distinct": plan.distinct, "logits": engine.work.logits}
        return {
            "values": [found[number] for number in plan.instances[0]],
            "naive": sum(len(unit.inputs) for unit in units),
            **counts,
        }

    return run


def theirs(folder: str, requests: Requests) -> Callable[[], dict[str, Any]]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=BATCH)
    instances = [Instance("loglikelihood", {}, (a, b), k) for k, (a, b) in enumerate(requests)]

    def run() -> dict[str, Any]:
        return {"values": [value for value, _ in model.loglikelihood(instances, disable_tqdm=True)]}

    return run


def peak() -> int:
    """Bytes of the process's largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    side, folder, requests, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    import torch

    torch.set_num_threads(int(threads))
    started = time.perf_counter()
    run = {"catwalk-eval": ours, "lm-eval": theirs}[side](folder, json.loads(Path(requests).read_text()))
    print(json.dumps({"loaded": peak(), "seconds": time.perf_counter() - started}), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        row = run()
        print(json.dumps({"seconds": time.perf_counter() - started, **row, "peak": peak()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
