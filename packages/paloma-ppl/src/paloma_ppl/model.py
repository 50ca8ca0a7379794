"""A causal language model from a Hugging Face folder, and what the folder says of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from .errors import UserError
from .files import read_json
from .likelihood import LanguageModel, wrap
from .model_place import problem
from .model_weights import load_weights
from .tokenizer import LoadedTokenizer
from .training_order import order_of_checkpoint

log = logging.getLogger(__name__)
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")


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


def maximum_length(folder: Path, asked: int | str) -> int:
    """The length asked for, or for ``auto`` what the model's configuration says; never more than that."""
    try:
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        ).get_text_config()
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


def load_model(
    folder: Path, device: torch.device, dtype: str, device_map: str | None = None, offload: Path | None = None
) -> LanguageModel:
    """Load the model on ``device``, or with ``device_map`` spread over several, what fits none in ``offload``.

    Weights that are missing, left over or of another shape are a UserError.
    """
    model = load_weights(folder, str(device), dtype, device_map, offload)
    found = wrap(model.eval().requires_grad_(False))
    if found.body is None:
        log.warning("this architecture forms logits for whole sequences only: more memory is needed")
    return found


def check_vocabulary(model: LanguageModel, tokenizer: LoadedTokenizer) -> None:
    rows = min(model.vocab_size, int(model.model.get_input_embeddings().weight.shape[0]))
    if tokenizer.vocab_size > rows:
        raise UserError(
            f"the tokenizer has ids up to {tokenizer.vocab_size - 1}, the model has {rows} rows",
            where=tokenizer.path,
            fix="use the tokenizer that the model was trained with",
        )
