"""Second pass of ``tokens``: the units' documents put in their order, cut into the files of the artifact and written.

Every unit is sorted already, so a range of the order is a slice of each. Ranges of about ``RANGE_DOCUMENTS`` documents
are put in order by themselves: memory does not grow with the corpus. The files are planned from the lengths alone, and
written piece by piece (:mod:`pieces`), several pieces of one file at a time; the process that planned them digests
each file while later pieces are written.
"""

from __future__ import annotations

import hashlib
import io
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..execute import map_ordered
from ..files import atomic_write, digest_file
from ..progress import Progress
from ..resuming import save_array
from .pieces import Merge, Piece, Table, Written, order_path, part_path, unfinished, write_index, write_piece
from .units import unit_paths

RANGE_DOCUMENTS = 2 << 20  # some 150 bytes each while they are put in order
SMALLEST_PIECE = 1 << 22  # tokens
LARGEST_PIECE = 1 << 26
MOST_PIECES = 1 << 12  # aimed at: every piece looks into every unit
READ_BYTES = 1 << 20


@dataclass
class Parts:
    """What :func:`write_parts` wrote."""

    files: list[dict[str, Any]] = field(default_factory=list)
    """The manifest's list of files."""
    digests: dict[str, str] = field(default_factory=dict)
    """Digest of each file of tokens and of its table, by name."""
    largest: int = 0
    """Largest id of all."""

    def fingerprint(self) -> str:
        """Digest of the lines ``path NUL tokens NUL digest-of-file LF`` in reading order."""
        lines = (f"{file['path']}\0{file['tokens']}\0{self.digests[file['path']]}\n" for file in self.files)
        return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()

    def digests_in(self, folder: Path) -> dict[str, str]:
        """The digests by path, where the files lie in ``folder``."""
        return {str(folder / name): value for name, value in self.digests.items()}


def order_documents(merge: Merge, processes: int) -> None:
    """Put the documents of every range in order; the second pass begins with it."""
    for _ in map_ordered(partial(_order_range, merge=merge), range(merge.ranges), min(processes, merge.ranges)):
        pass


def _order_range(number: int, merge: Merge) -> None:
    """Save the documents of a range of the order, in order; ``unit`` is the position in ``merge.units``."""
    width = -(-(1 << 64) // merge.ranges)
    tables = []
    for position, unit in enumerate(merge.units):
        rows: Table = np.load(unit_paths(merge.scratch, unit)[1], mmap_mode="r")
        keys = rows["key"]
        low, high = bisect_left(keys, number * width), bisect_left(keys, (number + 1) * width)
        table = np.empty(high - low, dtype=[*rows.dtype.descr, ("unit", "<u4")])
        for name in rows.dtype.names or ():
            table[name] = rows[name][low:high]
        table["unit"] = position
        tables.append(table)
    joined = np.concatenate(tables)
    save_array(order_path(merge, number), joined[np.argsort(joined["key"], kind="stable")])


def lengths_of_ranges(merge: Merge) -> Iterator[npt.NDArray[np.int64]]:
    """Tokens of the documents of each range, in order; after :func:`order_documents`."""
    for number in range(merge.ranges):
        yield np.load(order_path(merge, number), mmap_mode="r")["tokens"].astype(np.int64)


def write_parts(merge: Merge, tokens: int, max_size: int, processes: int) -> Parts:
    """Write all files, of ``tokens`` in all, and ``documents.idx``; after :func:`order_documents`."""
    cuts = cut_into_files(lengths_of_ranges(merge), max_size)
    size = min(max(SMALLEST_PIECE, tokens // MOST_PIECES), LARGEST_PIECE)
    pieces = list(plan_pieces(lengths_of_ranges(merge), cuts, size))
    assert sum(piece.tokens for piece in pieces) == tokens
    parts = Parts()
    work = partial(write_piece, merge=merge)
    with Progress("tokens: writing", cuts[-1].stop) as progress:
        results = map_ordered(work, pieces, max(1, min(processes, len(pieces))))
        for number, written in groupby(results, key=lambda piece: piece.part):
            _end_part(number, written, merge, parts, progress)
    write_index(merge, len(pieces), merge.ranges)
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


def plan_pieces(chunks: Iterable[npt.NDArray[np.int64]], cuts: Sequence[slice], size: int) -> Iterator[Piece]:
    """Cut the files, ``cuts`` of all documents, into pieces of one range and at most ``size`` tokens, where a document
    is not longer; ``chunks`` are the lengths by range."""
    number = part = row = token = done = 0  # done: documents of the ranges before
    for piece_range, lengths in enumerate(chunks):
        ends = np.concatenate([[0], np.cumsum(lengths)])
        at = 0
        while at < len(lengths):
            stop = min(cuts[part].stop - done, len(lengths))
            for cut in cut_into_files([lengths[at:stop]], size):
                start, end = at + cut.start, at + cut.stop
                tokens = int(ends[end] - ends[start])
                yield Piece(number, part, piece_range, start, end, row, token, tokens)
                number, row, token = number + 1, row + end - start, token + tokens
            at = stop
            if done + at == cuts[part].stop:
                part, row, token = part + 1, 0, 0
        done += len(lengths)


def _end_part(number: int, pieces: Iterable[Written], merge: Merge, parts: Parts, progress: Progress) -> None:
    """Digest the pieces of a file as they are done, write its table, and give both their names at the end."""
    path = part_path(merge, number)
    partial_path = unfinished(path)
    table_path = path.with_suffix(".csv.gz")
    total = hashlib.sha256()
    tokens = documents = 0
    room = bytearray(READ_BYTES)
    with atomic_write(table_path, packed=True) as table:
        stream: io.FileIO | None = None
        for piece in pieces:
            stream = stream or open(partial_path, "r+b", buffering=0)
            _digest(stream, piece.size, total, room)
            table.write(piece.table)
            tokens += piece.tokens
            documents += piece.documents
            parts.largest = max(parts.largest, piece.largest)
            progress.advance(piece.documents)
        assert stream is not None
        with stream:
            os.fsync(stream.fileno())
    os.replace(partial_path, path)
    parts.files.append({"path": path.name, "tokens": tokens, "documents": documents})
    parts.digests[path.name] = "sha256:" + total.hexdigest()
    parts.digests[table_path.name] = digest_file(table_path)


def _digest(stream: io.FileIO, size: int, total: hashlib._Hash, room: bytearray) -> None:
    """Add the next ``size`` bytes of a file to ``total``."""
    with memoryview(room) as view:
        while size:
            read = stream.readinto(view[: min(size, len(view))])
            if not read:
                raise EOFError(f"{stream.name!r} ends {size} bytes early")
            total.update(view[:read])
            size -= read
