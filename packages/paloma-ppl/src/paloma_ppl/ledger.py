"""Log-probabilities of finished batches, kept so that a stopped run goes on where it stopped."""

from __future__ import annotations

import json
import logging
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .files import writing
from .likelihood import Floats

log = logging.getLogger(__name__)
HEAD = struct.Struct("<QQI")  # number of the batch, how many values, in how many parts it was scored


@dataclass(frozen=True, slots=True)
class Place:
    """Where the values of a batch lie."""

    path: Path
    offset: int
    size: int


class Ledger:
    """A folder with a file a process. A file begins with a line that says what its values belong to (weights,
    tokenizer, suite, settings); every batch ends in a checksum. A file of other settings is begun anew, a batch that
    was cut off is dropped with all that follows. ``parts`` is in how many parts this process scored its last batch:
    more than one after memory ran out.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], dtype: str, rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / str(rank)
        self.header = json.dumps(key, sort_keys=True).encode() + b"\n"
        self.dtype = np.dtype("<f8" if dtype == "float64" else "<f4")
        self.places: dict[int, Place] = {}
        self.ends: dict[Path, int] = {}
        self.parts = 1
        self.gather()
        if self.places:
            log.info("%d batches were done before", len(self.places))
        size = self.ends.get(self.path, 0)
        self.stream = open(self.path, "r+b" if size else "wb", buffering=0)
        self.stream.truncate(size)
        self.stream.seek(size)
        if not size:
            self.append(self.header)

    def gather(self) -> None:
        """Find what all processes have done since this was last asked."""
        for path in sorted(self.folder.iterdir()):
            if path.name.isdigit():
                self.scan(path)

    def scan(self, path: Path) -> None:
        with open(path, "rb") as stream:
            if path not in self.ends:
                if stream.readline() != self.header:
                    if path == self.path and stream.tell():
                        log.warning("%s: an earlier run's batches are of other settings or weights and go", path)
                    return
                self.ends[path] = stream.tell()
            stream.seek(self.ends[path])
            while len(head := stream.read(HEAD.size)) == HEAD.size:
                number, size, parts = HEAD.unpack(head)
                offset = stream.tell()
                data = stream.read(size * self.dtype.itemsize)
                if stream.read(4) != zlib.crc32(head + data).to_bytes(4, "little"):
                    break
                self.places[number] = Place(path, offset, size)
                self.ends[path] = stream.tell()
                if path == self.path:
                    self.parts = parts

    def has(self, batch: int, size: int) -> bool:
        return batch in self.places and self.places[batch].size == size

    def read(self, batch: int) -> Floats:
        place = self.places[batch]
        with open(place.path, "rb") as stream:
            stream.seek(place.offset)
            data = stream.read(place.size * self.dtype.itemsize)
        return np.frombuffer(data, dtype=self.dtype)

    def add(self, batch: int, values: Floats, parts: int) -> None:
        """Keep the values of a batch."""
        data = values.astype(self.dtype).tobytes()
        head = HEAD.pack(batch, len(values), parts)
        offset = self.stream.tell() + HEAD.size
        self.append(head + data + zlib.crc32(head + data).to_bytes(4, "little"))
        self.places[batch] = Place(self.path, offset, len(values))
        self.ends[self.path] = self.stream.tell()

    def append(self, data: bytes) -> None:
        with writing(self.path):
            while data:
                data = data[self.stream.write(data) :]

    def close(self) -> None:
        """Close the file; it stays until the results are whole."""
        self.stream.close()
