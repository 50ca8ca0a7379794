"""One side of the benchmark of generation: continues the same prompts, once for every line on standard input.

    python generation_worker.py olmo-model|transformers MODEL_FOLDER PROMPTS.json NEW_TOKENS THREADS

Answers with a line of JSON: seconds, the new ids of each prompt, and the peak of the process's resident memory, above
what it is with the model loaded and from the start.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

Ids = list[list[int]]


def ours(folder: str, prompts: Ids, new_tokens: int) -> Callable[[], Ids]:
    from olmo_model.generate import Request, continue_all
    from olmo_model.model_folder import load_model

    model = load_model(folder)
    requests = [Request(ids=tuple(ids)) for ids in prompts]

    def run() -> Ids:
        found = continue_all(model, requests, max_new_tokens=new_tokens, batch_size=len(requests))
        return [continuation.ids for _, continuation in sorted(found, key=lambda pair: pair[0])]

    return run


def theirs(folder: str, prompts: Ids, new_tokens: int) -> Callable[[], Ids]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    ids = torch.tensor(prompts)
    mask = torch.ones_like(ids)

    def run() -> Ids:
        out = model.generate(ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False)
        return out[:, ids.shape[1] :].tolist()

    return run


def peak() -> int:
    """Bytes of the process's largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    side, folder, prompts, new_tokens, threads = sys.argv[1:]
    import torch

    torch.set_num_threads(int(threads))
    run = {"olmo-model": ours, "transformers": theirs}[side](
        folder, json.loads(Path(prompts).read_text()), int(new_tokens)
    )
    print(json.dumps({"loaded": peak()}), flush=True)
    for _ in sys.stdin:
        started, processor = time.perf_counter(), time.process_time()
        ids = run()
        row = {"seconds": time.perf_counter() - started, "processor": time.process_time() - processor}
        print(json.dumps(row | {"ids": ids, "peak": peak()}), flush=True)


if __name__ == "__main__":
    main()
