"""Files of weights in the safetensors format, written one weight at a time in any order."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from .files import write_json

WEIGHTS = "model.safetensors"
INDEX = WEIGHTS + ".index.json"
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
Shapes = Mapping[str, tuple[int, ...]]


class SafetensorsFile:
    """A file whose header is written at once and whose weights follow, each at its place, while the context is open.

    The bytes are those that ``safetensors.torch.save_file`` gives for the same weights.
    """

    def __init__(self, path: Path, shapes: Shapes, dtype: torch.dtype) -> None:
        """Every weight of ``shapes`` has to be written before the context is left."""
        self.path = path
        self.dtype = dtype
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        self.places: dict[str, int] = {}
        end = 0
        for name in sorted(shapes):
            start, end = end, end + math.prod(shapes[name]) * dtype.itemsize
            header[name] = {"dtype": NAMES[dtype], "shape": list(shapes[name]), "data_offsets": [start, end]}
            self.places[name] = start
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        self.head = text + b" " * (-len(text) % 8)
        self.missing = set(shapes)

    def __enter__(self) -> SafetensorsFile:
        self.stream = open(self.path, "wb")
        self.stream.write(len(self.head).to_bytes(8, "little") + self.head)
        return self

    def write(self, name: str, weight: Tensor) -> None:
        """Put a weight of this name in its place; rounded to the file's type."""
        self.missing.remove(name)
        raw = weight.detach().to("cpu", self.dtype).contiguous().flatten().view(torch.uint8)
        self.stream.seek(8 + len(self.head) + self.places[name])
        self.stream.write(raw.numpy().data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                assert not self.missing, f"not written: {sorted(self.missing)}"
                self.stream.flush()
                os.fsync(self.stream.fileno())
        finally:
            self.stream.close()


def shards(shapes: Shapes, itemsize: int, limit: int) -> dict[str, Shapes]:
    """Files of at most ``limit`` bytes of weights (or of one weight that has more), filled in order: name of the file
    to the weights in it. One file has the name that Hugging Face gives a whole model."""
    groups: list[dict[str, tuple[int, ...]]] = []
    size = 0
    for name, shape in shapes.items():
        own = math.prod(shape) * itemsize
        if not groups or size + own > limit:
            groups.append({})
            size = 0
        groups[-1][name] = shape
        size += own
    if len(groups) == 1:
        return {WEIGHTS: groups[0]}
    return {f"model-{number:05d}-of-{len(groups):05d}.safetensors": group for number, group in enumerate(groups, 1)}


class Shards:
    """The files of a whole model, of which this rank writes every ``world``-th, while the context is open."""

    def __init__(
        self, folder: Path, shapes: Shapes, dtype: torch.dtype, *, limit: int, rank: int = 0, world: int = 1
    ) -> None:
        """``shapes`` are those of all weights; a file has at most ``limit`` bytes of them."""
        self.folder = folder
        self.itemsize = dtype.itemsize
        self.files = shards(shapes, dtype.itemsize, limit)
        own = list(self.files.items())[rank::world]
        self.own = [SafetensorsFile(folder / file, inside, dtype) for file, inside in own]
        self.places = {name: file for file in self.own for name in file.missing}

    def __enter__(self) -> Shards:
        self.stack = ExitStack()
        with ExitStack() as stack:
            for file in self.own:
                stack.enter_context(file)
            self.stack = stack.pop_all()
        return self

    def write(self, name: str, weight: Tensor) -> None:
        """Put a weight in its place, if it is in a file of this rank."""
        if name in self.places:
            self.places[name].write(name, weight)

    def write_index(self) -> None:
        """Write Hugging Face's index, where there are several files."""
        if len(self.files) > 1:
            places = {name: file for file, shapes in self.files.items() for name in shapes}
            size = sum(math.prod(shape) for shapes in self.files.values() for shape in shapes.values()) * self.itemsize
            index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
            write_json(self.folder / INDEX, index)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)
