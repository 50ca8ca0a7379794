"""One random order over all documents of a stream, in bounded memory: into random buckets, then within each bucket.

A bucket drawn independently for every document and then a permutation of each bucket give every order with the same
probability. The draws depend on the seed and the documents' places alone, not on the number of processes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec
import numpy as np

from ..documents import Shard
from ..reading import pack
from .finished import Data, Finished
from .rules import utf8_length

BUCKET_BYTES = 64 << 20  # aimed at, of lines
MOST_BUCKETS = 256
PACKED_TIMES = 4  # how much text grows when it is unpacked, roughly
HELD_BYTES = 64 << 20  # of lines, before they are written bucket by bucket
DRAW, ORDER = 1, 2  # first words of the seeds, which keep the two kinds of numbers apart


class _Counted(msgspec.Struct):
    text: str
    source: str = ""


_decode_counted = msgspec.json.Decoder(_Counted).decode


@dataclass(frozen=True)
class Piece:
    """Consecutive documents of a bucket that go to one output file."""

    number: int
    packed: bytes
    shard: Shard  # sources alone


@dataclass(frozen=True)
class Bucket:
    """A bucket to put in order: its documents take the places from ``first`` on; file k ends before ``ends[k]``.

    ``parts`` are where its lines lie: ``(file, first byte, bytes)``. Files before ``begin`` are there already.
    """

    parts: tuple[tuple[Path, int, int], ...]
    first: int
    ends: tuple[int, ...]
    entropy: tuple[int, ...]
    packing: str
    begin: int = 0


def bucket_count(size: int) -> int:
    """How many buckets a stream is dealt to, by the bytes of its input as it lies on disk."""
    return max(1, min(MOST_BUCKETS, size * PACKED_TIMES // BUCKET_BYTES))


@dataclass
class Spill:
    """The lines of a unit on their way to the buckets, in one file: block by block, in each bucket by bucket."""

    data: Data
    buckets: int
    entropy: tuple[int, ...]  # seed, stream and unit
    blocks: list[list[int]] = field(default_factory=list)  # bytes of every bucket, of each block

    def __post_init__(self) -> None:
        self.documents = [0] * self.buckets
        self._held: list[list[bytes]] = [[] for _ in range(self.buckets)]
        self._size = 0
        self._random = np.random.Generator(np.random.PCG64((DRAW, *self.entropy)))

    def add(self, lines: Sequence[bytes]) -> None:
        """Take the lines of a chunk; chunks come in the order of the input."""
        draws = self._random.integers(self.buckets, size=len(lines))
        for bucket, line in zip(draws.tolist(), lines, strict=True):
            self._held[bucket].append(line)
            self.documents[bucket] += 1
            self._size += len(line)
        if self._size >= HELD_BYTES:
            self.write()

    def write(self) -> None:
        """Write what is held; also needed after the last lines."""
        if not self._size:
            return
        joined = [b"".join(lines) for lines in self._held]
        for part in joined:
            self.data.write(part)
        self.blocks.append([len(part) for part in joined])
        self._held = [[] for _ in range(self.buckets)]
        self._size = 0


def buckets_of(
    spilled: Sequence[tuple[Path, Finished]], files: int, entropy: tuple[int, int], packing: str, begin: int
) -> Iterator[Bucket]:
    """The buckets to put in order, so that their documents fill ``files`` files evenly.

    ``spilled`` are the lines of every unit, ``entropy`` seed and stream, ``begin`` the first file that is not there.
    """
    parts: list[list[tuple[Path, int, int]]] = [[] for _ in spilled[0][1].documents]
    for path, lines in spilled:
        at = 0
        for block in lines.buckets:
            for bucket, size in enumerate(block):
                if size:
                    parts[bucket].append((path, at, size))
                at += size
    counts = [sum(numbers) for numbers in zip(*(lines.documents for _, lines in spilled), strict=True)]
    total = sum(counts)
    ends = tuple(total * (k + 1) // files for k in range(files))
    done = ends[begin - 1] if begin else 0
    for bucket, (first, last) in enumerate(pairwise(accumulate(counts, initial=0))):
        if first < last and done < last:
            yield Bucket(tuple(parts[bucket]), first, ends, (ORDER, *entropy, bucket), packing, begin)


def order_bucket(bucket: Bucket) -> list[Piece]:
    """Read a bucket, put it in its random order and pack it, cut where an output file ends."""
    lines: list[bytes] = []
    for path, start, size in bucket.parts:
        with open(path, "rb") as stream:
            stream.seek(start)
            lines += io.BytesIO(stream.read(size))
    order = np.random.Generator(np.random.PCG64(bucket.entropy)).permutation(len(lines))
    pieces = []
    start = 0
    for number, end in enumerate(bucket.ends):
        stop = min(end - bucket.first, len(lines))
        if stop > start:
            if number >= bucket.begin:
                pieces.append(_piece(number, [lines[k] for k in order[start:stop]], bucket.packing))
            start = stop
    return pieces


def _piece(number: int, lines: Sequence[bytes], packing: str) -> Piece:
    shard = Shard()
    for line in lines:
        document = _decode_counted(line)
        shard.count(document.source, utf8_length(document.text))
    return Piece(number, pack(b"".join(lines), packing), shard)
