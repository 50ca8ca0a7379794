"""One side of the benchmark of perplexity: scores the same documents, once for every line on standard input.

    python perplexity_worker.py paloma-ppl|lm-eval|forward MODEL_FOLDER DOCUMENTS.json THREADS

``forward`` is the model's forward pass with logits over full windows, without log-probabilities: what the others can
come close to. Answers with a line of JSON: seconds, log-probability of each document, scored tokens, and the peak of
the process's resident memory.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 16  # lm-evaluation-harness's
FULL = 8, 512  # rows and tokens of the forward pass


def ours(folder: str, texts: list[str]) -> Callable[[], dict[str, Any]]:
    import torch

    from paloma_ppl.engine import Engine
    from paloma_ppl.evaluate import BATCH_TOKENS_CPU
    from paloma_ppl.ledger import Ledger
    from paloma_ppl.model import load_model, maximum_length
    from paloma_ppl.suite import SuiteDocument
    from paloma_ppl.tokenizer import load_tokenizer
    from paloma_ppl.windows import encoded, stream_windows

    tokenizer = load_tokenizer(Path(folder))
    model = load_model(Path(folder), torch.device("cpu"), "float32")
    length = maximum_length(Path(folder), "auto")
    prefix = tokenizer.prefix(None, "paloma")
    documents = [SuiteDocument(str(number), text, "bench", "bench") for number, text in enumerate(texts)]

    def run() -> dict[str, Any]:
        values = [0.0] * len(texts)
        tokens = 0
        with tempfile.TemporaryDirectory(prefix="bench-ledger-") as place:
            ledger = Ledger(Path(place), {}, "float32")
            engine = Engine(model, ledger, BATCH_TOKENS_CPU)
            numbered = ((number, ("", ""), ids) for number, (_, ids) in enumerate(encoded(documents, tokenizer)))
            for window, found in engine.score(stream_windows(numbered, length, prefix, "paloma")):
                values[window.parts[0].document] += float(found.sum(dtype="float64"))
                tokens += len(found)
            ledger.close()
        return {"values": values, "tokens": tokens, "padding": engine.padded / engine.tokens - 1}

    return run


def theirs(folder: str, texts: list[str]) -> Callable[[], dict[str, Any]]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=BATCH)
    instances = [Instance("loglikelihood_rolling", {}, (text,), k) for k, text in enumerate(texts)]

    def run() -> dict[str, Any]:
        return {"values": model.loglikelihood_rolling(instances, disable_tqdm=True)}

    return run


def forward(folder: str, texts: list[str]) -> Callable[[], dict[str, Any]]:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    rows, width = FULL
    ids = [token for text in texts for token in tokenizer.encode(text, add_special_tokens=False).ids]
    ids = ids[: max(1, min(len(ids) // (rows * width), 4)) * rows * width]
    batches = torch.tensor((ids * (rows * width))[: max(len(ids), rows * width)]).view(-1, rows, width)

    def run() -> dict[str, Any]:
        with torch.inference_mode():
            for batch in batches:
                model(input_ids=batch, use_cache=False)
        return {"values": [], "tokens": batches.numel()}

    return run


def peak() -> int:
    """Bytes of the process's largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    side, folder, documents, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    import torch

    torch.set_num_threads(int(threads))
    run = {"paloma-ppl": ours, "lm-eval": theirs, "forward": forward}[side](
        folder, json.loads(Path(documents).read_text())
    )
    print(json.dumps({"loaded": peak()}), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        row = run()
        print(json.dumps({"seconds": time.perf_counter() - started, **row, "peak": peak()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
