"""Loading a causal language model: safetensors only, no code from the folder, no network unless it is asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import digest_file, read_json
from .model_place import checkpoints, problem

# the names that transformers' configurations use for the longest input
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length")
UNSTATED_LENGTH = 2048  # input length of models whose configuration states none
DTYPES = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder states, without loading its weights."""

    path: Path
    digest: str
    maximum_length: int
    tokenizer: Path
    dtype: str
    """Of the checkpoint, as its configuration states it."""


def look_at(path: Path) -> ModelFolder:
    """Check that ``path`` holds what is needed; what is missing is a UserError that names the file."""
    if not path.is_dir():
        raise UserError("no such model folder", where=path, fix="give a folder with config.json and *.safetensors")
    if not (path / "config.json").is_file():
        there = checkpoints(path)
        fix = "put it there" if not there else f"choose one with --revision: {', '.join(there)}"
        raise UserError("the model folder has no config.json", where=path / "config.json", fix=fix)
    if not (path / "tokenizer.json").is_file():
        raise UserError(
            "the model folder has no tokenizer.json",
            where=path / "tokenizer.json",
            fix="put it there; transformers writes it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    weights = sorted(path.glob("*.safetensors"))
    index = path / "model.safetensors.index.json"
    if index.is_file():
        weights = sharded(path, index)
    if not weights:
        raise UserError(
            "the model folder has no weights in safetensors",
            where=path / "model.safetensors",
            fix="convert the weights",
        )
    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise UserError("no JSON object", where=path / "config.json", fix="use the one that belongs to the model")
    text = config.get("text_config")  # models of several kinds of input state their language model there
    config = config | text if isinstance(text, dict) else config
    key = next((key for key in LENGTH_KEYS if config.get(key)), None)
    stated = UNSTATED_LENGTH if key is None else config[key]
    if type(stated) is not int or stated < 1:
        raise UserError(f"{key} is {stated!r}", where=path / "config.json", fix="use the one that belongs to the model")
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    digest = weights_digest([path / "config.json", *weights])
    return ModelFolder(path, digest, stated, path / "tokenizer.json", dtype if dtype in DTYPES else "float32")


def sharded(path: Path, index: Path) -> list[Path]:
    """The files that the index of sharded weights names; one that is missing is a UserError."""
    stated = read_json(index)
    names = stated.get("weight_map") if isinstance(stated, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise UserError("no weight_map of names", where=index, fix="use the one that belongs to the model")
    files = [path / name for name in sorted(set(names.values()))]
    for file in files:
        if not file.is_file():
            raise UserError("a part of the weights is missing", where=file, fix="put it there")
    return files


def weights_digest(files: list[Path]) -> str:
    """Digest of configuration and weights: sorted lines ``name NUL digest LF``."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.name}\0{digest_file(file)}\n".encode())
    return "sha256:" + total.hexdigest()


def choose_device(device: str, local_rank: int = 0) -> str:
    """``auto`` as the best device there is, of this process; one that is not there is a UserError."""
    import torch

    if device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{local_rank % torch.cuda.device_count()}"
    if device == "auto":
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        raise UserError(f"device {device!r} cannot be used: {problem}", where="device", fix="try auto") from error
    return device


def resolve_dtype(dtype: str, folder: ModelFolder, device: str) -> str:
    """``auto`` as fp32 on a CPU, else as the checkpoint says."""
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else folder.dtype
    if dtype == "float64" and device == "mps":
        raise UserError("the device mps has no float64", where="dtype", fix="give --device cpu")
    return dtype


def in_words(entry: object) -> str:
    """The name of a weight that does not fit, with its shape in the file and in the model where they differ."""
    if isinstance(entry, tuple) and len(entry) == 3:
        name, stored, expected = entry
        return f"{name} is {tuple(stored)}, not {tuple(expected)}"
    return str(entry)


def load(
    folder: ModelFolder,
    device: str,
    dtype: str,
    device_map: str | Mapping[str, str | int] | None = None,
    offload: Path | None = None,
) -> Any:
    """The model on ``device`` in ``dtype``; or with ``device_map`` spread over several, what fits none in ``offload``.

    Missing, unexpected or misshapen weights are a UserError: a model that is half random scores plausibly.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    transformers.utils.logging.disable_progress_bar()
    spread: dict[str, Any] = {}
    if device_map is not None:
        try:
            import_module("accelerate")
        except ImportError as error:
            raise UserError(
                "--device-map needs accelerate", where="device-map", fix="pip install 'catwalk-eval[accelerate]'"
            ) from error
        spread = {"device_map": device_map, "offload_folder": offload}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder.path,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are named below
            **spread,
        )
    except Exception as error:  # a wrong config.json lets transformers raise anything at all
        raise UserError(
            f"the model does not load: {problem(error)}", where=folder.path, fix="check config.json and the weights"
        ) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(kind):
            names = ", ".join(sorted(map(in_words, report[kind]))[:3])
            raise UserError(
                f"weights do not fit the model: {len(report[kind])} {kind.replace('_', ' ')} ({names})",
                where=folder.path,
                fix="check config.json against the weights",
            )
    if device_map is not None:
        return model
    try:
        return model.to(device)
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        raise UserError(
            f"the model does not fit on {device}", where="device", fix="try --device-map auto, or another --dtype"
        ) from error
