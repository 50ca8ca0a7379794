"""The document of the first copy of every hash, found in parts that know nothing of each other.

Whoever hashes a chunk lays its hashes down in the order of their upper bits, so that the hashes of a part, which is a
range of these bits, lie together in every chunk. All copies of a hash are of one part; it reads its stretch of each
chunk in the order of files and rows, so the first copy is the first that it meets, whoever finds it and whenever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..batch import Integers
from ..execute import map_ordered
from ..hashes import Hashes, first_copies
from ..kernels.hashing import order_by_upper_bits
from .columns import Columns, Gathered, write_columns
from .scratch import Scratch, saved_scratch

BITS = 12
HASHES = 1 << 18  # of a part, where there are not too many of them
PARTS = 64  # each is a stretch of every chunk: more only where they would not fit into memory
BYTES_PER_HASH = 80  # of memory: hash, its table, documents
MEMORY = 1 << 29


@dataclass(frozen=True)
class Part:
    """A range of the upper ``BITS`` bits."""

    number: int
    begin: int
    end: int


def divide(hashes: Hashes, owners: npt.NDArray[np.int32]) -> dict[str, npt.NDArray[Any] | Gathered]:
    """Columns of a chunk by the upper bits of its hashes: where those of each value begin (``bounds``), the hashes
    (``divided``), their documents (``owners`` of the chunk) and their places among the hashes of the chunk."""
    bounds, places = order_by_upper_bits(hashes, BITS)
    return {
        "bounds": bounds,
        "divided": Gathered(hashes, places),
        "owners": Gathered(owners, places),
        "places": places,
    }


def find_first_copies(scratch: Scratch, processes: int) -> int:
    """For each hash of all the document of its first copy, in the files of the parts; returns their number."""
    count = count_parts(scratch.hashes)
    edges = [(1 << BITS) * part // count for part in range(count + 1)]
    parts = [Part(number, edges[number], edges[number + 1]) for number in range(count)]
    scratch.save()
    for _ in map_ordered(partial(find_in_part, scratch.folder), parts, min(processes, count)):
        pass
    return count


def count_parts(hashes: int) -> int:
    """Parts of so many hashes, whatever the number of processes: a power of two, as processes mostly are."""
    least = -(-hashes * BYTES_PER_HASH // MEMORY)
    parts = max(1, least, min(PARTS, -(-hashes // HASHES)))
    return min(1 << (parts - 1).bit_length(), 1 << BITS)


def find_in_part(folder: Path, part: Part) -> None:
    """Write, chunk by chunk, for each hash of a part the document of its first copy, -1 where it is that itself."""
    scratch = saved_scratch(folder)
    hashes: list[Hashes] = [np.zeros((0, 2), dtype=np.uint64)]
    documents: list[Integers] = [np.zeros(0, dtype=np.int64)]
    edges = np.zeros(len(scratch.metas) + 1, dtype=np.int64)
    for number, before in scratch.chunks():
        with scratch.columns(number) as columns:
            bounds = columns.read("bounds", part.begin, part.end + 1)
            begin, end = int(bounds[0]), int(bounds[-1])
            hashes.append(columns.read("divided", begin, end))
            documents.append(columns.read("owners", begin, end) + np.int64(before.documents))
        edges[number + 1] = edges[number] + end - begin
    owners = np.concatenate(documents)
    first = first_copies(np.concatenate(hashes))
    firsts = np.where(first == np.arange(len(first)), -1, owners[first])
    write_columns(_path(folder, part.number), {"edges": edges, "firsts": firsts})


def first_copies_of(scratch: Scratch, parts: int, number: int) -> Integers:
    """For each hash of a chunk the document of its first copy, -1 where it is that itself."""
    with scratch.columns(number) as columns:
        places = columns.read("places")
    firsts = np.empty(len(places), dtype=np.int64)
    at = 0
    for part in _of_chunk(scratch.folder, parts, number):
        firsts[places[at : at + len(part)]] = part
        at += len(part)
    return firsts


def _of_chunk(folder: Path, parts: int, number: int) -> Iterator[Integers]:
    for part in range(parts):
        with Columns(_path(folder, part)) as columns:
            begin, end = columns.read("edges", number, number + 2)
            yield columns.read("firsts", int(begin), int(end))


def _path(folder: Path, part: int) -> Path:
    return folder / f"part-{part}.firsts"
