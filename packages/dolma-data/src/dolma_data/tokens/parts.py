"""Second pass of ``tokens``: the units' documents merged in their order and cut into the files of the artifact.

Every unit is sorted already, so a range of the order is a slice of each. Ranges of about ``RANGE_DOCUMENTS`` documents
are put in order one after another: memory does not grow with the corpus. Files are written by several processes.
"""

from __future__ import annotations

import codecs
import csv
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..execute import map_ordered
from ..files import atomic_write
from ..progress import Progress
from .units import unit_paths

RANGE_DOCUMENTS = 2 << 20  # some 150 bytes each while they are put in order
INDEX = np.dtype([("hash", "<u8"), ("file", "<u4"), ("row", "<u4"), ("offset", "<u8")])
Table = npt.NDArray[Any]


@dataclass(frozen=True)
class Merge:
    """The finished units and where their documents go."""

    scratch: Path
    units: tuple[int, ...]
    ranges: int
    """Parts of equal width that the order is divided into."""
    dtype: str
    names: tuple[str, ...]
    """Path of every document file as it is to stand in the tables."""
    folder: Path


@dataclass(frozen=True)
class Part:
    """A file to write: documents ``start:end`` of each named range."""

    number: int
    slices: tuple[tuple[int, int, int], ...]  # range, start, end

    @property
    def path(self) -> str:
        return f"part-0-{self.number:05d}.npy"


def write_parts(merge: Merge, documents: int, max_size: int, processes: int) -> list[dict[str, Any]]:
    """Write all files and ``documents.idx``; returns the manifest's list of files."""
    _forget()
    try:
        parts = plan_parts(merge, max_size)
        written = []
        work = partial(write_part, merge=merge)
        with Progress("tokens: writing", documents) as progress:
            for row in map_ordered(work, parts, max(1, min(processes, len(parts)))):
                written.append(row)
                progress.advance(row["documents"])
        write_index(merge, parts, documents)
        return written
    finally:
        _forget()


def _forget() -> None:
    """Close the scratch files: another run may have files of the same names."""
    for held in (rows_of_range, _rows, _map):
        held.cache_clear()


def plan_parts(merge: Merge, max_size: int) -> list[Part]:
    """Cut the whole order into files."""
    sizes: list[int] = []

    def lengths() -> Iterator[npt.NDArray[np.int64]]:
        for number in range(merge.ranges):
            found = rows_of_range(merge, number)["tokens"].astype(np.int64)
            sizes.append(len(found))
            yield found

    cuts = cut_into_files(lengths(), max_size)
    firsts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    parts = []
    for number, cut in enumerate(cuts):
        slices = [
            (piece, max(cut.start - first, 0), min(cut.stop, end) - first)
            for piece, (first, end) in enumerate(pairwise(firsts))
            if first < cut.stop and end > cut.start
        ]
        parts.append(Part(number, tuple(slices)))
    return parts


def cut_into_files(chunks: Iterable[npt.NDArray[np.int64]], max_size: int) -> list[slice]:
    """Cut documents of these many tokens, in order, into files of at most ``max_size`` tokens.

    A document is never divided; one that is longer than ``max_size`` has a file of its own.
    """
    cuts = []
    start = position = filled = 0  # first document of the file, first of the chunk, tokens in the file
    for lengths in chunks:
        ends = np.cumsum(lengths)
        at = done = 0  # documents and tokens of the chunk that have a file
        while at < len(lengths):
            fitting = int(np.searchsorted(ends, done + max_size - filled, side="right"))
            if fitting <= at and filled:
                cuts.append(slice(start, position + at))
                start, filled = position + at, 0
                continue
            fitting = max(fitting, at + 1)
            filled += int(ends[fitting - 1]) - done
            at, done = fitting, int(ends[fitting - 1])
        position += len(lengths)
    if start < position:
        cuts.append(slice(start, position))
    return cuts


@lru_cache(maxsize=1)
def rows_of_range(merge: Merge, number: int) -> Table:
    """Documents of a range of the order, in order; ``unit`` is the position in ``merge.units``."""
    width = -(-(1 << 64) // merge.ranges)
    tables = []
    for position, unit in enumerate(merge.units):
        rows = _rows(unit_paths(merge.scratch, unit)[1])
        keys = rows["key"]
        low, high = bisect_left(keys, number * width), bisect_left(keys, (number + 1) * width)
        table = np.empty(high - low, dtype=[*rows.dtype.descr, ("unit", "<u4")])
        for name in rows.dtype.names or ():
            table[name] = rows[name][low:high]
        table["unit"] = position
        tables.append(table)
    joined = np.concatenate(tables)
    ordered: Table = joined[np.argsort(joined["key"], kind="stable")]
    return ordered


@cache
def _rows(path: Path) -> Table:
    rows: Table = np.load(path, mmap_mode="r")
    return rows


@cache
def _map(path: Path, dtype: str) -> Table:
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)


def write_part(part: Part, merge: Merge) -> dict[str, Any]:
    """Write a file of tokens, its table, and its piece of the index into the scratch folder."""
    dtype = "<u2" if merge.dtype == "uint16" else "<u4"
    path = merge.folder / part.path
    index = np.empty(sum(end - start for _, start, end in part.slices), dtype=INDEX)
    at = row = 0
    with atomic_write(path) as output, atomic_write(path.with_suffix(".csv.gz")) as packed:
        table = csv.writer(codecs.getwriter("utf-8")(packed))
        for number, start, end in part.slices:
            rows = rows_of_range(merge, number)[start:end]
            ends = at + np.cumsum(rows["tokens"], dtype=np.int64)
            starts = ends - rows["tokens"]
            here = slice(row, row + len(rows))
            index["hash"][here], index["offset"][here] = rows["hash"], starts
            columns = (rows["unit"], rows["start"], rows["id_start"], rows["id_bytes"], rows["file"], rows["line"])
            lists = (column.tolist() for column in (starts, ends, *columns))
            for first, last, unit, token, identifier, id_bytes, file, line in zip(*lists, strict=True):
                tokens_path, _, ids_path = unit_paths(merge.scratch, merge.units[unit])
                output.write(_map(tokens_path, dtype)[token : token + last - first].data)
                name = _map(ids_path, "u1")[identifier : identifier + id_bytes].tobytes().decode()
                table.writerow((first, last, name, merge.names[file], line))
            at, row = int(ends[-1]), row + len(rows)
    index["file"], index["row"] = part.number, np.arange(len(index))
    np.save(_index_path(merge, part), index)
    return {"path": part.path, "tokens": at, "documents": row}


def write_index(merge: Merge, parts: Sequence[Part], documents: int) -> None:
    """Write ``documents.idx``, sorted, by ranges of the hash."""
    ranges = -(-documents // RANGE_DOCUMENTS)
    width = -(-(1 << 64) // ranges)
    with atomic_write(merge.folder / "documents.idx") as output:
        for number in range(ranges):
            pieces = []
            for part in parts:
                piece = np.load(_index_path(merge, part), mmap_mode="r")
                pieces.append(piece[piece["hash"] // np.uint64(width) == number] if ranges > 1 else piece)
            found = np.concatenate(pieces)
            output.write(found[np.lexsort((found["row"], found["file"], found["hash"]))].tobytes())


def _index_path(merge: Merge, part: Part) -> Path:
    return merge.scratch / f"index-{part.number}.npy"
