"""The two formats on disk, written one weight (or one file of weights) at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from ..config.model import ModelConfig
from ..files import atomic_write, write_json
from ..model_folder import TOKENIZER, WEIGHTS, NativeWeights, write_description
from .layout import layout, split
from .official import to_official_config


def write_hugging_face(
    folder: Path, weights: NativeWeights, config: ModelConfig, tokenizer: Path | None, max_shard_size: int
) -> None:
    """A Hugging Face folder; with more than ``max_shard_size`` bytes of weights in several files and an index. At most
    that much and one weight is in memory."""
    dtype = weights.read("transformer.wte.weight").dtype
    shards: list[list[str]] = []
    total = size = 0
    held: dict[str, Tensor] = {}

    def flush() -> None:
        shards.append(sorted(held))
        save_file(held, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
        held.clear()

    for native, pieces in layout(weights.config).items():
        for name, part in split(weights.read(native), pieces).items():
            if held and size + part.nbytes > max_shard_size:
                flush()
                size = 0
            held[name] = part.contiguous()
            size += part.nbytes
            total += part.nbytes
    flush()
    if len(shards) == 1:
        (folder / "shard-1").rename(folder / WEIGHTS)
    else:
        places: dict[str, str] = {}
        for number, names in enumerate(shards, start=1):
            file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            (folder / f"shard-{number}").rename(folder / file)
            places |= dict.fromkeys(names, file)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        write_json(folder / (WEIGHTS + ".index.json"), index)
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
