"""Model folders: what Hugging Face's transformers reads, written and read one weight at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .config.model import ModelConfig
from .convert.hugging_face import from_hugging_face_config, to_hugging_face_config
from .convert.layout import Shape, check_layers, check_weights, layout, pieces_of, split, superfluous
from .errors import UserError
from .files import read_json, write_json
from .model import Transformer
from .run_folder import resolve
from .safetensors_file import INDEX, WEIGHTS, Shards
from .tokens import load_tokenizer

TOKENIZER = "tokenizer.json"
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
KINDS = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES.values())
LIMIT = 5_000_000_000  # bytes of a file of weights, as Hugging Face cuts them
AGAIN = "fetch or make the model again"


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """Weights on disk under the names they are stored by; ``read`` loads one of them."""

    shapes: Mapping[str, Shape]
    read: Callable[[str], Tensor]


@dataclass(frozen=True, kw_only=True)
class NativeWeights:
    """Weights on disk under OLMo's names, checked against the architecture; ``read`` loads one, fused as OLMo has it,
    in the type it is stored in."""

    config: ModelConfig
    read: Callable[[str], Tensor]


def save_model(folder: Path, model: Transformer, tokenizer: Path | None, limit: int = LIMIT) -> None:
    """Write the Hugging Face files of a model that lies in one process: configuration, weights in float32 in files of
    at most ``limit`` bytes, tokenizer."""
    state = model.state_dict()
    weights = NativeWeights(config=model.config, read=state.__getitem__)
    write_weights(Shards(folder, pieces_of(model.config), torch.float32, limit=limit), weights)
    write_description(folder, model.config, "float32", tokenizer)


def write_weights(shards: Shards, weights: NativeWeights) -> None:
    """Read every weight in turn and write it, or the part of it that this rank writes, and the index."""
    with shards:
        for native, pieces in layout(weights.config).items():
            for name, part in split(weights.read(native), pieces).items():
                shards.write(name, part)
    shards.write_index()


def write_description(folder: Path, config: ModelConfig, dtype: str, tokenizer: Path | None) -> None:
    """Write everything of a Hugging Face folder but its weights; without a tokenizer where there is none."""
    write_json(folder / "config.json", to_hugging_face_config(config, dtype))
    generation = {"eos_token_id": config.eos_token_id, "pad_token_id": config.pad_token_id}
    write_json(folder / "generation_config.json", {"_from_model_config": True} | generation)
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / TOKENIZER)
        write_json(folder / "tokenizer_config.json", _tokenizer_config(tokenizer, config))


def _tokenizer_config(tokenizer: Path, config: ModelConfig) -> dict[str, Any]:
    reader = load_tokenizer(tokenizer)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_sequence_length,
        "eos_token": reader.id_to_token(config.eos_token_id),
        "pad_token": reader.id_to_token(config.pad_token_id),
        "clean_up_tokenization_spaces": False,
    }


def load_model(folder: str | Path) -> Transformer:
    """Any Olmo, Olmo2 or Llama folder in Hugging Face's layout, one file of weights or several with an index; float32,
    on CPU. Beside the model one weight at a time is in memory.

    Whatever is missing or damaged is a UserError that names the file.
    """
    with ExitStack() as stack:
        return assembled(open_native(resolve(folder), stack))


def assembled(
    weights: NativeWeights, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Transformer:
    """The model of weights on disk, on the CPU unless told otherwise."""
    with torch.device("meta"):
        model = Transformer(weights.config)
    state = {name: weights.read(name).to(device, dtype) for name in model.state_dict()}
    model.load_state_dict(state, assign=True)
    return model


def read_config(folder: Path, vocab_size: int | None = None) -> ModelConfig:
    """The architecture of a Hugging Face folder. ``vocab_size`` is the tokenizer's, where it is known."""
    values = read_json(folder / "config.json")
    if not isinstance(values, dict):
        raise UserError("no JSON object", where=folder / "config.json", fix=AGAIN)
    try:
        return from_hugging_face_config(values, vocab_size)
    except UserError as error:
        raise UserError(error.what, where=folder / "config.json", fix=error.fix) from error


def open_native(folder: Path, stack: ExitStack, vocab_size: int | None = None) -> NativeWeights:
    """Open the weights of a Hugging Face folder until ``stack`` is closed; checked by name and shape, not yet read."""
    config = read_config(folder, vocab_size)
    stored = open_safetensors(folder, stack)
    check_layers(stored.shapes, config, "model.layers.", folder)
    table = layout(config)
    check_weights(stored.shapes, pieces_of(config), folder, superfluous(stored.shapes, config))

    def read(native: str) -> Tensor:
        parts = [stored.read(name) for name in table[native]]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    return NativeWeights(config=config, read=read)


def open_safetensors(folder: Path, stack: ExitStack) -> StoredWeights:
    """Open ``model.safetensors``, or the files of its index."""
    shapes: dict[str, Shape] = {}
    readers: dict[str, Callable[[str], Tensor]] = {}
    for file in weight_files(folder):
        path = folder / file
        if not path.is_file():
            raise UserError("the weights are missing", where=path, fix=AGAIN)
        try:
            opened = stack.enter_context(safe_open(path, "pt"))
        except SafetensorError as error:
            raise UserError(f"damaged weights: {error}", where=path, fix=AGAIN) from error
        for name in opened.keys():  # noqa: SIM118 (no mapping)
            part = opened.get_slice(name)
            if part.get_dtype() not in DTYPES:
                raise UserError(f"the weight {name} is {part.get_dtype()}", where=path, fix="give one of " + KINDS)
            if name in shapes:
                raise UserError(f"the weight {name} is stored twice", where=path, fix=AGAIN)
            shapes[name] = tuple(part.get_shape())
            readers[name] = partial(_read, opened, path)
    return StoredWeights(shapes=shapes, read=lambda name: readers[name](name))


def _read(opened: Any, path: Path, name: str) -> Tensor:
    try:
        weight = opened.get_tensor(name)
    except SafetensorError as error:
        raise UserError(f"damaged weights: {error}", where=path, fix=AGAIN) from error
    assert isinstance(weight, Tensor)
    return weight


def weight_files(path: Path) -> list[str]:
    """Names of the files of weights: those of the index where there is one."""
    index = path / INDEX
    if not index.is_file():
        return [WEIGHTS]
    values = read_json(index)
    names = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise UserError("no index of weights: weight_map is missing", where=index, fix="fetch the model again")
    return sorted(set(names.values()))


def model_files(folder: str | Path) -> list[Path]:
    """Configuration, weights and tokenizer of a model folder, or of the newest checkpoint of a run."""
    path = resolve(folder)
    return [path / name for name in ("config.json", *weight_files(path), TOKENIZER)]
