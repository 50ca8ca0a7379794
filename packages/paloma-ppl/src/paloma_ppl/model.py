"""A causal language model from a Hugging Face folder: safetensors only, no code from the folder, nothing missing."""

from __future__ import annotations

import hashlib
import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from .errors import UserError
from .files import digest_file, read_json
from .likelihood import LanguageModel, wrap
from .model_place import checkpoints, problem
from .tokenizer import LoadedTokenizer
from .training_order import order_of_checkpoint

log = logging.getLogger(__name__)
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")


def weights_digest(folder: Path) -> str:
    """Digest of what determines the model: its configuration and weight files, by name."""
    total = hashlib.sha256()
    for file in sorted(
        [folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    ):
        total.update(f"{file.name}\0{digest_file(file)}\n".encode())
    return "sha256:" + total.hexdigest()


def training_so_far(folder: Path) -> dict[str, Any]:
    """``step`` and ``tokens_seen`` of a checkpoint whose manifest.json says so, and the order of its data where
    the folder of its run knows it; nothing for other models."""
    manifest = read_json(folder / "manifest.json") if (folder / "manifest.json").is_file() else None
    if not (isinstance(manifest, dict) and manifest.get("artifact") == "checkpoint"):
        return {}
    found: dict[str, Any] = {
        name: manifest[name] for name in ("step", "tokens_seen") if type(manifest.get(name)) is int
    }
    if (order := order_of_checkpoint(folder, found.get("step"))) is not None:
        found["training_order"] = order
    return found


def check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        there = checkpoints(folder) if folder.is_dir() else []
        fix = f"choose one with --revision: {', '.join(there)}" if there else "give a Hugging Face model folder"
        raise UserError("no model here: config.json is missing", where=folder, fix=fix)
    if not any(folder.glob("*.safetensors")):
        raise UserError("no .safetensors weights", where=folder, fix="convert the weights to safetensors")


def maximum_length(folder: Path, asked: int | str) -> int:
    """The length asked for, or for ``auto`` what the model's configuration says; never more than that."""
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a wrong config.json lets transformers raise anything at all
        raise UserError(
            f"the configuration does not load: {problem(error)}",
            where=folder / "config.json",
            fix="use the config.json that belongs to the model",
        ) from error
    found = (getattr(config, key, None) for key in LENGTH_KEYS)
    known = next((value for value in found if type(value) is int and value > 0), None)
    if isinstance(asked, int):
        if asked < 1 or (known is not None and asked > known):
            raise UserError(
                f"a maximum length of {asked}", where="max_length", fix=f"give 1 to {known or 'the length trained on'}"
            )
        return asked
    if known is None:
        raise UserError("config.json does not say how long the inputs may be", where=folder, fix="give --max-length")
    return known


def choose_device(asked: str, local_rank: int = 0) -> torch.device:
    """``auto`` as the best device there is, of this process; one that is not there is a UserError."""
    if asked in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device(f"cuda:{local_rank % torch.cuda.device_count()}")
    if asked == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {asked!r} is not to be had here", where="device", fix="give cpu or auto") from error
    return device


def resolve_dtype(asked: str, folder: Path, device: torch.device) -> str:
    """``auto`` as float32 on a CPU, else as the checkpoint says."""
    if asked == "auto":
        config = read_json(folder / "config.json") if device.type != "cpu" else {}
        stated = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
        asked = stated if stated in DTYPES else "float32"
    if asked == "float64" and device.type == "mps":
        raise UserError("the device mps has no float64", where="dtype", fix="give --device cpu")
    return asked


def load_model(
    folder: Path, device: torch.device, dtype: str, device_map: str | None = None, offload: Path | None = None
) -> LanguageModel:
    """Load the model on ``device``, or with ``device_map`` spread over several, what fits none in ``offload``.

    Weights that are missing, left over or of another shape are a UserError.
    """
    check_folder(folder)
    spread: dict[str, Any] = {}
    if device_map is not None:
        check_accelerate()
        spread = {"device_map": device_map, "offload_folder": offload}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **spread,
        )
    except Exception as error:  # a wrong config.json lets transformers raise anything at all
        raise UserError(
            f"the model does not load: {problem(error)}", where=folder, fix="check config.json and weights"
        ) from error
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if keys := sorted(map(str, info.get(kind) or ())):
            raise UserError(
                f"{len(keys)} weights of kind {kind.removesuffix('_keys')}, such as {keys[0]}",
                where=folder,
                fix="the weights do not belong to this config.json",
            )
    if device_map is None:
        try:
            model = model.to(device)
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
            raise UserError(
                f"the model does not fit on {device}", where="device", fix="try --device-map auto, or another --dtype"
            ) from error
    found = wrap(model.eval().requires_grad_(False))
    if found.body is None:
        log.warning("this architecture forms logits for whole sequences only: more memory is needed")
    return found


def check_accelerate() -> None:
    try:
        import_module("accelerate")
    except ImportError as error:
        raise UserError(
            "--device-map needs accelerate", where="device-map", fix="pip install 'paloma-ppl[accelerate]'"
        ) from error


def check_vocabulary(model: LanguageModel, tokenizer: LoadedTokenizer) -> None:
    rows = min(model.vocab_size, int(model.model.get_input_embeddings().weight.shape[0]))
    if tokenizer.vocab_size > rows:
        raise UserError(
            f"the tokenizer has ids up to {tokenizer.vocab_size - 1}, the model has {rows} rows",
            where=tokenizer.path,
            fix="use the tokenizer that the model was trained with",
        )
