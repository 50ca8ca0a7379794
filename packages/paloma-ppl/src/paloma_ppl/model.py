"""A causal language model from a Hugging Face folder: safetensors only, no code from the folder, nothing missing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from .errors import UserError
from .files import digest_file
from .tokenizer import Ids, LoadedTokenizer

log = logging.getLogger(__name__)
LONGEST_PROBLEM = 300  # characters
LOGITS_AT_ONCE = 1 << 25  # numbers, 128 MiB in float32
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model; ``body`` and ``head`` are None where logits cannot be had position by position."""

    model: Any
    body: Any
    head: Any
    device: torch.device
    vocab_size: int


def weights_digest(folder: Path) -> str:
    """Digest of what determines the model: its configuration and weight files, by name."""
    total = hashlib.sha256()
    for file in sorted(
        [folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    ):
        total.update(f"{file.name}\0{digest_file(file)}\n".encode())
    return "sha256:" + total.hexdigest()


def check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError("no model here: config.json is missing", where=folder, fix="give a Hugging Face model folder")
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


def problem(error: Exception) -> str:
    """The beginning of another library's message, in one line."""
    return " ".join(str(error).split())[:LONGEST_PROBLEM] or type(error).__name__


def choose_device(asked: str) -> torch.device:
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {asked!r} is not to be had here", where="device", fix="give cpu or auto") from error
    return device


def load_model(folder: Path, device: torch.device, dtype: str) -> LanguageModel:
    """Load the model; weights that are missing, left over or of another shape are a UserError."""
    check_folder(folder)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
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
    model.to(device).eval().requires_grad_(False)
    head = model.get_output_embeddings()
    if head is None:
        raise UserError("no output layer over the vocabulary", where=folder, fix="give a causal language model")
    body = model.base_model
    vocab_size = int(head.weight.shape[0])
    with torch.inference_mode():
        probe = torch.arange(min(8, vocab_size), device=device)[None]
        hidden = None if body is model else getattr(body(input_ids=probe, use_cache=False), "last_hidden_state", None)
        # Some architectures scale or cap their logits behind the head; those are asked for whole logits.
        if hidden is None or not torch.equal(head(hidden), model(input_ids=probe, use_cache=False).logits):
            log.warning("this architecture forms logits for whole sequences only: more memory is needed")
            body = head = None
    return LanguageModel(model, body, head, device, vocab_size)


def check_vocabulary(model: LanguageModel, tokenizer: LoadedTokenizer) -> None:
    rows = min(model.vocab_size, int(model.model.get_input_embeddings().weight.shape[0]))
    if tokenizer.vocab_size > rows:
        raise UserError(
            f"the tokenizer has ids up to {tokenizer.vocab_size - 1}, the model has {rows} rows",
            where=tokenizer.path,
            fix="use the tokenizer that the model was trained with",
        )


def log_probabilities(
    model: LanguageModel, batch: Sequence[Ids], scored: Sequence[Sequence[tuple[int, int]]]
) -> Iterator[NDArray[np.float32]]:
    """Yield for each sequence the float32 log-probabilities of the ids at its scored positions.

    ``scored`` are ranges [start, stop) of positions, start ≥ 1, in rising order. Sequences are padded on the right,
    which a causal model does not see. Logits are formed only for scored positions, ``LOGITS_AT_ONCE`` numbers at a
    time, and normalised in float32 over all rows of the model's vocabulary.
    """
    width = max(len(ids) for ids in batch) - 1
    inputs = np.zeros((len(batch), width), dtype=np.int64)  # [B, T]
    places: list[NDArray[np.int64]] = []
    targets: list[Ids] = []
    for row, (ids, ranges) in enumerate(zip(batch, scored, strict=True)):
        inputs[row, : len(ids) - 1] = ids[:-1]
        positions = np.concatenate([np.arange(start, stop) for start, stop in ranges])
        places.append(row * width + positions - 1)
        targets.append(ids[positions])
    place = torch.from_numpy(np.concatenate(places)).to(model.device)  # [N]
    target = torch.from_numpy(np.concatenate(targets)).to(model.device, torch.int64)  # [N]
    result = torch.empty(len(target), dtype=torch.float32, device=model.device)
    with torch.inference_mode():
        tokens = torch.from_numpy(inputs).to(model.device)
        if model.head is not None:
            states = model.body(input_ids=tokens, use_cache=False).last_hidden_state  # [B, T, D]
        else:
            states = model.model(input_ids=tokens, use_cache=False).logits  # [B, T, V]
        states = states.flatten(0, 1)
        rows = max(1, LOGITS_AT_ONCE // model.vocab_size)
        for begin in range(0, len(target), rows):
            chunk = states[place[begin : begin + rows]]
            logits = (chunk if model.head is None else model.head(chunk)).float()  # [n, V]
            result[begin : begin + rows] = -cross_entropy(logits, target[begin : begin + rows], reduction="none")
    flat = result.cpu().numpy()
    ends = np.cumsum([len(part) for part in targets])
    yield from np.split(flat, ends[:-1])
