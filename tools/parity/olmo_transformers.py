"""transformers' side of the comparison with olmo-model: `python -m parity.olmo_transformers WORK LABEL`, in whichever
environment holds the transformers to compare with; it imports nothing of olmo-model.

Reads the folders that `olmo-model convert` wrote: logits, loss and gradients in float32, greedy continuation, and what
transformers has to say about the weights.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from . import olmo_cases as cases


def compute(folder: Path, label: str) -> dict[str, Any]:
    place = folder / "hf-of-pt"
    model, said = transformers.AutoModelForCausalLM.from_pretrained(
        place, torch_dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    ids = torch.from_numpy(np.load(folder / "ids.npy"))
    out = model.eval()(ids, labels=ids)
    out.loss.backward()
    found = {"logits": out.logits.detach(), "loss": out.loss.detach()}
    found |= {f"hf/{name}": weight.grad for name, weight in model.named_parameters()}
    np.savez(folder / f"{label}.npz", **{key: value.numpy() for key, value in found.items()})
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
    prompt = tokenizer(cases.PROMPT, return_tensors="pt")["input_ids"]
    beyond = list(range(len(tokenizer), model.config.vocab_size))  # rows that stand for no text
    with torch.no_grad():
        generated = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=cases.NEW_TOKENS,
            suppress_tokens=beyond or None,
        )
    return {
        "class": type(model).__name__,
        "complaints": {kind: sorted(map(str, names)) for kind, names in said.items() if names},
        "prompt": prompt[0].tolist(),
        "generated": generated[0, prompt.shape[1] :].tolist(),
    }


def main(work: Path, label: str) -> None:
    result: dict[str, Any] = {"version": transformers.__version__, "models": {}}
    for name in cases.ARCHITECTURES:
        result["models"][name] = compute(work / "models" / cases.folder_name(name), label)
    (work / f"{label}.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2])
