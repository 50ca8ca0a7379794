"""Pieces of the files of ``tokens``, each written by itself: its range of a file, its lines of the table, its part of
the index.

A piece is a unit of work by the contract of :mod:`execute`. It looks into each scratch file once, whatever the number
of those, and holds its own tokens alone.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..files import PARTIAL, atomic_write, writing
from ..reading import pack
from ..resuming import save_array
from .units import unit_paths

INDEX = np.dtype([("hash", "<u8"), ("file", "<u4"), ("row", "<u4"), ("offset", "<u8")])
ROWS_TOGETHER = 1 << 16  # of the table, packed as one gzip member
Table = npt.NDArray[Any]
Numbers = npt.NDArray[np.int64]


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
class Piece:
    """Documents ``start:end`` of a range of the order, and where they stand in a file."""

    number: int
    part: int
    range: int
    start: int
    end: int
    row: int
    """Of the first document."""
    token: int
    """First one in the file."""
    tokens: int


@dataclass(frozen=True)
class Written:
    """A piece that is written; ``table`` are its lines of the table as gzip members."""

    part: int
    size: int
    """Bytes of its tokens."""
    tokens: int
    documents: int
    largest: int
    """Largest id."""
    table: bytes


def part_path(merge: Merge, number: int) -> Path:
    """A file of tokens."""
    return merge.folder / f"part-0-{number:05d}.npy"


def unfinished(path: Path) -> Path:
    """Where a file is written before it has its name."""
    return path.with_name(path.name + PARTIAL)


def order_path(merge: Merge, number: int) -> Path:
    """The documents of a range in order."""
    return merge.scratch / f"order-{number}.npy"


def write_piece(piece: Piece, merge: Merge) -> Written:
    """Write the tokens of a piece into its range of the unfinished file, and its part of the index into the scratch
    folder, sorted."""
    dtype = np.dtype("<u2" if merge.dtype == "uint16" else "<u4")
    rows: Table = np.load(order_path(merge, piece.range), mmap_mode="r")[piece.start : piece.end]
    ends = np.cumsum(rows["tokens"], dtype=np.int64)
    starts = ends - rows["tokens"]
    name_ends = np.cumsum(rows["id_bytes"], dtype=np.int64)
    laid, names = bytearray(piece.tokens * dtype.itemsize), bytearray(int(name_ends[-1]))
    by_unit = np.argsort(rows["unit"], kind="stable")
    units, firsts = np.unique(rows["unit"][by_unit], return_index=True)
    for unit, here in zip(units.tolist(), np.split(by_unit, firsts[1:]), strict=True):
        tokens_path, _, ids_path = unit_paths(merge.scratch, merge.units[unit])
        some = rows[here]
        lengths = some["tokens"].astype(np.int64) * dtype.itemsize
        _gather(tokens_path, some["start"] * dtype.itemsize, lengths, starts[here] * dtype.itemsize, laid)
        _gather(ids_path, some["id_start"], some["id_bytes"], name_ends[here] - some["id_bytes"], names)
    path = unfinished(part_path(merge, piece.part))
    with writing(path), open(os.open(path, os.O_WRONLY | os.O_CREAT), "wb", buffering=0) as output:
        output.seek(piece.token * dtype.itemsize)
        _write_all(output, laid)
    index = np.empty(len(rows), dtype=INDEX)
    index["hash"], index["file"] = rows["hash"], piece.part
    index["row"], index["offset"] = piece.row + np.arange(len(rows)), piece.token + starts
    save_array(_index_path(merge, piece.number), index[np.argsort(index["hash"], kind="stable")])
    identifiers = [names[start:end].decode() for start, end in pairwise([0, *name_ends.tolist()])]
    table = _pack_table(piece.token + starts, piece.token + ends, identifiers, rows, merge)
    largest = int(np.frombuffer(laid, dtype=dtype).max())
    return Written(piece.part, len(laid), piece.tokens, len(rows), largest, table)


def _gather(path: Path, froms: Numbers, lengths: Numbers, tos: Numbers, target: bytearray) -> None:
    """Read ``lengths`` bytes from places ``froms`` of a file to places ``tos`` of ``target``."""
    with open(path, "rb", buffering=0) as source, memoryview(target) as view:
        for start, length, to in zip(froms.tolist(), lengths.tolist(), tos.tolist(), strict=True):
            source.seek(start)
            if source.readinto(view[to : to + length]) != length:
                raise EOFError(f"{path} ends before byte {start + length}")


def _write_all(output: io.FileIO, data: bytearray) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += output.write(view[done:])


def _pack_table(starts: Numbers, ends: Numbers, identifiers: list[str], rows: Table, merge: Merge) -> bytes:
    packed = []
    for first in range(0, len(rows), ROWS_TOGETHER):
        here = slice(first, first + ROWS_TOGETHER)
        sources = (merge.names[file] for file in rows["file"][here].tolist())
        columns = (starts[here].tolist(), ends[here].tolist(), identifiers[here], sources, rows["line"][here].tolist())
        text = io.StringIO()
        csv.writer(text).writerows(zip(*columns, strict=True))
        packed.append(pack(text.getvalue().encode(), "gz"))
    return b"".join(packed)


def write_index(merge: Merge, pieces: int, ranges: int) -> None:
    """Write ``documents.idx``, sorted, by ``ranges`` of the hash; ``pieces`` is how many there are."""
    width = -(-(1 << 64) // ranges)
    with atomic_write(merge.folder / "documents.idx") as output:
        for number in range(ranges):
            found = np.concatenate([_between(merge, piece, number * width, width) for piece in range(pieces)])
            output.write(found[np.argsort(found["hash"], kind="stable")].data)  # pieces are in order of file and row


def _between(merge: Merge, piece: int, first: int, width: int) -> Table:
    """A piece of the index from hash ``first`` on."""
    index: Table = np.load(_index_path(merge, piece), mmap_mode="r")
    bounds = [np.uint64(min(bound, (1 << 64) - 1)) for bound in (first, first + width)]
    low, high = np.searchsorted(index["hash"], bounds).tolist()
    return index[low : high if first + width < 1 << 64 else len(index)]


def _index_path(merge: Merge, piece: int) -> Path:
    return merge.scratch / f"index-{piece}.npy"
