"""Loading the weights of a causal language model: safetensors only, no code from the folder, nothing missing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .allocator import keep_freed_memory
from .errors import UserError
from .files import digest_file, read_json
from .model_place import checkpoints, problem
from .processes import stated

DTYPES = ("float32", "bfloat16", "float16", "float64")


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights; a UserError where its folder, its configuration or a file of them is missing."""
    if not folder.is_dir():
        raise UserError("no such model folder", where=folder, fix="give a folder with config.json and *.safetensors")
    if not (folder / "config.json").is_file():
        there = checkpoints(folder)
        fix = "put it there" if not there else f"choose one with --revision: {', '.join(there)}"
        raise UserError("the model folder has no config.json", where=folder / "config.json", fix=fix)
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():  # which transformers loads, whatever lies beside it
        return [whole]
    files = sharded(index) if index.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            "the model folder has no weights in safetensors",
            where=whole,
            fix="convert the weights",
        )
    return files


def sharded(index: Path) -> list[Path]:
    """The files that the index of sharded weights names; one that is missing is a UserError."""
    stated = read_json(index)
    names = stated.get("weight_map") if isinstance(stated, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise UserError("no weight_map of names", where=index, fix="use the one that belongs to the model")
    files = [index.with_name(name) for name in sorted(set(names.values()))]
    for file in files:
        if not file.is_file():
            raise UserError("a part of the weights is missing", where=file, fix="put it there")
    return files


def weights_digest(folder: Path) -> str:
    """Digest of configuration and weights: sorted lines ``name NUL digest LF``."""
    total = hashlib.sha256()
    for file in sorted([folder / "config.json", *weight_files(folder)]):
        total.update(f"{file.name}\0{digest_file(file)}\n".encode())
    return "sha256:" + total.hexdigest()


def stated_dtype(config: Mapping[str, Any]) -> str:
    """The type of the weights as ``config.json`` says; float32 where it says nothing known."""
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return dtype if dtype in DTYPES else "float32"


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
        raise UserError(
            f"device {device!r} cannot be used: {problem(error)}", where="device", fix="try auto"
        ) from error
    return device


def resolve_dtype(dtype: str, stated: str, device: str) -> str:
    """``auto`` as float32 on a CPU, else as the checkpoint says."""
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else stated
    if dtype == "float64" and device == "mps":
        raise UserError("the device mps has no float64", where="dtype", fix="give --device cpu")
    return dtype


def check_device_map(device_map: object, device: str) -> None:
    """A UserError for settings that say in two ways where the model lies; before processes wait for each other."""
    if device_map is None:
        return
    if device != "auto":
        raise UserError("--device does nothing with --device-map", where="device", fix="leave one of them out")
    if (count := stated("WORLD_SIZE", 1, default=1)) > 1:
        raise UserError(
            f"each of {count} processes would spread the model over all GPUs",
            where="device-map",
            fix="start one process, or leave it out",
        )


def check_accelerate() -> None:
    """A UserError where the library that spreads a model is not installed."""
    try:
        import_module("accelerate")
    except ImportError as error:
        package = __name__.partition(".")[0].replace("_", "-")
        raise UserError(
            "--device-map needs accelerate", where="device-map", fix=f"pip install '{package}[accelerate]'"
        ) from error


def in_words(entry: object) -> str:
    """The name of a weight that does not fit, with its shape in the file and in the model where they differ."""
    if isinstance(entry, tuple) and len(entry) == 3:
        name, stored, expected = entry
        return f"{name} is {tuple(stored)}, not {tuple(expected)}"
    return str(entry)


def load_weights(
    folder: Path,
    device: str,
    dtype: str,
    device_map: str | Mapping[str, str | int] | None = None,
    offload: Path | None = None,
) -> Any:
    """The model on ``device`` in ``dtype``; or with ``device_map`` spread over several, what fits none in ``offload``.

    Missing, unexpected or misshapen weights are a UserError: a model that is half random scores plausibly. On a
    processor the process keeps the memory of freed tensors from here on.
    """
    weight_files(folder)
    if device == "cpu":
        keep_freed_memory()
    if device_map is not None:
        check_accelerate()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    transformers.utils.logging.disable_progress_bar()
    spread = {} if device_map is None else {"device_map": device_map, "offload_folder": offload}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
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
            f"the model does not load: {problem(error)}", where=folder, fix="check config.json and the weights"
        ) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(kind):
            names = ", ".join(sorted(map(in_words, report[kind]))[:3])
            raise UserError(
                f"weights do not fit the model: {len(report[kind])} {kind.replace('_', ' ')} ({names})",
                where=folder,
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
