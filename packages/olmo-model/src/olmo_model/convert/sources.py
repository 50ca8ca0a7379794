"""What can be converted: whichever kind of folder it is, its weights under OLMo's names, one at a time."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..command_line import load_yaml
from ..errors import UserError
from ..files import read_json
from ..model_folder import (
    DTYPES,
    KINDS,
    TOKENIZER,
    NativeWeights,
    StoredWeights,
    open_native,
    open_safetensors,
    weight_files,
)
from ..run_folder import resolve
from ..safetensors_file import INDEX, WEIGHTS
from ..tokens import load_tokenizer
from .layout import check_layers, check_weights, layout, native_shape
from .official import from_official_config, native_names

Kind = Literal["hf", "olmo"]
PICKLES = ("model.pt", "pytorch_model.bin")
# what torch's reader lets through: a cut file, bytes that are no pickle, a pickle of more than weights
DAMAGE = (OSError, EOFError, pickle.UnpicklingError, ValueError, KeyError, RuntimeError)
UNSHARD = "unshard it first, with scripts/unshard.py of the OLMo repository"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model on disk. ``kind`` is its format, ``files`` all that it is read from."""

    folder: Path
    kind: Kind
    weights: NativeWeights
    tokenizer: Path | None
    files: list[Path]


def open_source(given: str | Path, stack: ExitStack, tokenizer: Path | None = None) -> Source:
    """Recognise the folder and open it until ``stack`` is closed: a Hugging Face folder or a run of this package, an
    official OLMo checkpoint, or a folder of OLMo's older Hugging Face code. Anything else is a UserError."""
    folder = Path(given)
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, fix="give the folder of a model or a run")
    if (folder / "config.yaml").is_file() and not (folder / "manifest.json").is_file():
        return _open_official(folder, folder / "config.yaml", load_yaml(folder / "config.yaml"), stack, tokenizer)
    folder = resolve(folder)
    values = read_json(folder / "config.json")
    if isinstance(values, dict) and "d_model" in values:
        return _open_official(folder, folder / "config.json", {"model": values}, stack, tokenizer)
    found = tokenizer or _tokenizer_in(folder)
    weights = open_native(folder, stack, _vocabulary(found))
    names = ("config.json", "generation_config.json", "tokenizer_config.json", *weight_files(folder))
    files = [folder / name for name in names if (folder / name).is_file()]
    return Source(folder=folder, kind="hf", weights=weights, tokenizer=found, files=files + ([found] if found else []))


def _open_official(
    folder: Path, file: Path, values: Mapping[str, Any], stack: ExitStack, tokenizer: Path | None
) -> Source:
    model = values.get("model")
    if not isinstance(model, Mapping):
        raise UserError("the configuration has no section model", where=file, fix="give an OLMo checkpoint")
    config = from_official_config(model, file)
    found = tokenizer or _tokenizer_in(folder)
    stored, files = _open_stored(folder, stack)
    names = native_names(stored.shapes)
    check_layers(names, config, "transformer.blocks.", folder)
    expected = {name: native_shape(pieces) for name, pieces in layout(config).items()}
    check_weights({native: stored.shapes[name] for native, name in names.items()}, expected, folder)
    weights = NativeWeights(config=config, read=lambda native: stored.read(names[native]))
    files = [file, *files, *([found] if found else [])]
    return Source(folder=folder, kind="olmo", weights=weights, tokenizer=found, files=files)


def _open_stored(folder: Path, stack: ExitStack) -> tuple[StoredWeights, list[Path]]:
    if any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
        return open_safetensors(folder, stack), [folder / name for name in weight_files(folder)]
    for name in PICKLES:
        if (folder / name).is_file():
            return _open_pickle(folder / name), [folder / name]
    if any((folder / name).exists() for name in ("rank0.pt", "model_and_optim", "model")):
        raise UserError("the checkpoint is sharded", where=folder, fix=UNSHARD)
    raise UserError(f"no weights: neither {WEIGHTS} nor {' nor '.join(PICKLES)}", where=folder, fix="fetch it again")


def _open_pickle(path: Path) -> StoredWeights:
    """Weights of ``torch.save``, mapped into memory where the file's format allows it; only weights are loaded."""
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            state = torch.load(path, map_location="cpu", weights_only=True)  # torch's format before version 1.6
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"no readable weights: {reason}", where=path, fix="fetch it again") from error
    if not isinstance(state, Mapping) or not all(isinstance(weight, Tensor) for weight in state.values()):
        raise UserError("the file holds more than weights by name", where=path, fix="give the model's state dict")
    for name, weight in state.items():
        if weight.dtype not in DTYPES.values():
            raise UserError(f"the weight {name} is {weight.dtype}", where=path, fix="give one of " + KINDS)
    shapes = {str(name): tuple(weight.shape) for name, weight in state.items()}
    return StoredWeights(shapes=shapes, read=lambda name: state[name].detach().contiguous())


def _tokenizer_in(folder: Path) -> Path | None:
    return folder / TOKENIZER if (folder / TOKENIZER).is_file() else None


def _vocabulary(tokenizer: Path | None) -> int | None:
    return None if tokenizer is None else load_tokenizer(tokenizer).get_vocab_size()
