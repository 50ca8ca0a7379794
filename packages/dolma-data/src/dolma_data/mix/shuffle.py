"""One random order over all documents of a stream, in bounded memory: into random buckets, then within each bucket.

A bucket drawn independently for every document and then a permutation of each bucket give every order with the same
probability. The draws depend on the seed and the documents' places alone, not on the number of processes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from ..reading import pack
from .chunks import Mixed
from .rules import utf8_length

BUCKET_BYTES = 64 << 20  # aimed at, of lines
MOST_BUCKETS = 256  # open at once
PACKED_TIMES = 4  # how much text grows when it is unpacked, roughly


class _Counted(msgspec.Struct):
    text: str
    source: str = ""


_decode_counted = msgspec.json.Decoder(_Counted).decode


@dataclass(frozen=True)
class Piece:
    """Consecutive documents of a bucket that go to one output file."""

    number: int
    packed: bytes
    documents: int
    sources: dict[str, list[int]]  # documents and bytes of text


@dataclass(frozen=True)
class Bucket:
    """A bucket to put in order: its documents take the places from ``first`` on; file k ends before ``ends[k]``."""

    path: Path
    first: int
    ends: tuple[int, ...]
    entropy: tuple[int, ...]
    packing: str


@dataclass
class Shuffle:
    """The documents of a stream on their way; ``folder`` is scratch space that is removed at the end."""

    folder: Path
    entropy: tuple[int, int]  # seed and stream
    size: int  # of the input as it lies on disk
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        buckets = max(1, min(MOST_BUCKETS, self.size * PACKED_TIMES // BUCKET_BYTES))
        self.counts = [0] * buckets
        self._files: list[BinaryIO] = [open(self._path(bucket), "wb") for bucket in range(buckets)]
        self._random = np.random.Generator(np.random.PCG64(self.entropy))

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{bucket:04d}.jsonl"

    def add(self, mixed: Mixed) -> None:
        """Take the documents of a chunk; chunks come in the order of the input."""
        draws = self._random.integers(len(self._files), size=len(mixed.lines))
        for bucket, line in zip(draws.tolist(), mixed.lines, strict=True):
            self._files[bucket].write(line)
            self.counts[bucket] += 1

    def buckets(self, files: int, packing: str) -> Iterator[Bucket]:
        """The buckets to put in order, so that their documents fill ``files`` files evenly."""
        for file in self._files:
            file.close()
        total = sum(self.counts)
        ends = tuple(total * (k + 1) // files for k in range(files))
        first = 0
        for bucket, number in enumerate(self.counts):
            if number:
                yield Bucket(self._path(bucket), first, ends, (*self.entropy, bucket), packing)
            first += number

    def close(self) -> None:
        for file in self._files:
            file.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def order_bucket(bucket: Bucket) -> list[Piece]:
    """Read a bucket, put it in its random order and pack it, cut where an output file ends."""
    with open(bucket.path, "rb") as stream:
        lines = list(stream)
    order = np.random.Generator(np.random.PCG64(bucket.entropy)).permutation(len(lines))
    pieces = []
    start = 0
    for number, end in enumerate(bucket.ends):
        stop = min(end - bucket.first, len(lines))
        if stop > start:
            pieces.append(_piece(number, [lines[k] for k in order[start:stop]], bucket.packing))
            start = stop
    return pieces


def _piece(number: int, lines: Sequence[bytes], packing: str) -> Piece:
    sources: dict[str, list[int]] = {}
    for line in lines:
        document = _decode_counted(line)
        total = sources.setdefault(document.source, [0, 0])
        total[0] += 1
        total[1] += utf8_length(document.text)
    return Piece(number, pack(b"".join(lines), packing), len(lines), sources)
