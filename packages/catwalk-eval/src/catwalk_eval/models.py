"""Loading a causal language model from a folder: safetensors only, no code from the folder, no network."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import digest_file, read_json

# the names that transformers' configurations use for the longest input
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length")
UNSTATED_LENGTH = 2048  # input length of models whose configuration states none
LONGEST_PROBLEM = 300  # characters of another library's message


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder states, without loading its weights."""

    path: Path
    digest: str
    maximum_length: int
    tokenizer: Path


def look_at(path: Path) -> ModelFolder:
    """Check that ``path`` holds what is needed; what is missing is a UserError that names the file."""
    if not path.is_dir():
        raise UserError("no such model folder", where=path, fix="give a folder with config.json and *.safetensors")
    for name in ("config.json", "tokenizer.json"):
        if not (path / name).is_file():
            raise UserError(f"the model folder has no {name}", where=path / name, fix="put it there")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise UserError(
            "the model folder has no weights in safetensors",
            where=path / "model.safetensors",
            fix="convert the weights",
        )
    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise UserError("no JSON object", where=path / "config.json", fix="use the one that belongs to the model")
    key = next((key for key in LENGTH_KEYS if config.get(key)), None)
    stated = UNSTATED_LENGTH if key is None else config[key]
    if type(stated) is not int or stated < 1:
        raise UserError(f"{key} is {stated!r}", where=path / "config.json", fix="use the one that belongs to the model")
    return ModelFolder(path, weights_digest([path / "config.json", *weights]), stated, path / "tokenizer.json")


def weights_digest(files: list[Path]) -> str:
    """Digest of configuration and weights: sorted lines ``name NUL digest LF``."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.name}\0{digest_file(file)}\n".encode())
    return "sha256:" + total.hexdigest()


def choose_device(device: str) -> str:
    """``auto`` as the best device there is; one that is not there is a UserError."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        raise UserError(f"device {device!r} cannot be used: {problem}", where="device", fix="try auto") from error
    return device


def load(folder: ModelFolder, device: str, dtype: str) -> Any:
    """The model on ``device`` in ``dtype`` (auto: fp32 on a CPU, else as the checkpoint says).

    Missing, unexpected or misshapen weights are a UserError: a model that is half random scores plausibly.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    transformers.utils.logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder.path,
            dtype="auto" if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # a wrong config.json lets transformers raise anything at all
        problem = " ".join(str(error).split())[:LONGEST_PROBLEM] or type(error).__name__
        raise UserError(
            f"the model does not load: {problem}", where=folder.path, fix="check config.json and the weights"
        ) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(kind):
            names = ", ".join(sorted(map(str, report[kind]))[:3])
            raise UserError(
                f"weights do not fit the model: {len(report[kind])} {kind.replace('_', ' ')} ({names})",
                where=folder.path,
                fix="check config.json against the weights",
            )
    return model.to(device)
