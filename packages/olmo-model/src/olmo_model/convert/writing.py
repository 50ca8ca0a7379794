"""The two formats on disk, written one weight at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import yaml
from torch import Tensor

from ..config.model import ModelConfig
from ..files import atomic_write
from ..model_folder import TOKENIZER, NativeWeights, write_description, write_weights
from ..safetensors_file import Shards
from .layout import layout, pieces_of
from .official import to_official_config


def write_hugging_face(
    folder: Path, weights: NativeWeights, config: ModelConfig, tokenizer: Path | None, max_shard_size: int
) -> None:
    """A Hugging Face folder; with more than ``max_shard_size`` bytes of weights in several files and an index. One
    weight at a time is in memory."""
    dtype = weights.read("transformer.wte.weight").dtype
    write_weights(Shards(folder, pieces_of(weights.config), dtype, limit=max_shard_size), weights)
    write_description(folder, config, str(dtype).removeprefix("torch."), tokenizer)


def write_official(folder: Path, weights: NativeWeights, config: ModelConfig, tokenizer: Path | None) -> None:
    """``config.yaml`` and ``model.pt``. Weights that have to be put together lie in files beside it meanwhile, so that
    one of them is in memory at a time."""
    scratch = folder / "scratch"
    scratch.mkdir()
    state: dict[str, Tensor] = {}
    for number, (native, pieces) in enumerate(layout(weights.config).items()):
        weight = weights.read(native)
        if len(pieces) > 1:
            file = str(scratch / str(number))
            mapped = torch.from_file(file, shared=True, size=weight.numel(), dtype=weight.dtype)
            weight = mapped.view(weight.shape).copy_(weight)
        state[native] = weight
    torch.save(state, folder / "model.pt")
    state.clear()
    shutil.rmtree(scratch)
    values: dict[str, object] = {"model": to_official_config(config)}
    if tokenizer is not None:
        values["tokenizer"] = {"identifier": TOKENIZER}
        shutil.copyfile(tokenizer, folder / TOKENIZER)
    with atomic_write(folder / "config.yaml") as stream:
        stream.write(yaml.safe_dump(values, sort_keys=False).encode())
