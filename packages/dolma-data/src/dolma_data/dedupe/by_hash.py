"""Which units repeat an earlier one exactly: the first of equal hashes in the order of files and rows.

The answer does not depend on the number of processes. Where the hashes would not fit into memory they are divided by
their value into parts, each of which keeps that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..batch import Integers
from ..hashes import Hashes, first_copies
from .scratch import Before, Scratch
from .units import UnitChunk

BYTES_PER_HASH = 64  # of memory: hash, its table, positions
MEMORY = 1 << 30


@dataclass(frozen=True)
class Marks:
    """Marked spans of a chunk, by document: ``owners`` (documents of the chunk), code points, scores, and the number of
    the document that each repeats (of all documents; -1: not known)."""

    owners: Integers
    starts: Integers
    ends: Integers
    scores: npt.NDArray[np.float64] | None  # None: the integer 1 for all
    firsts: Integers


def find_first_documents(scratch: Scratch) -> Integers:
    """For each hash of all the document of its first copy, -1 where it is the first copy itself, [H]."""
    total = scratch.hashes
    before = scratch.hashes_before_document()
    found = scratch.new_column("first", total, -1)
    for positions, hashes in _parts(scratch, max(1, -(-total * BYTES_PER_HASH // MEMORY))):
        first = first_copies(hashes)
        again = np.flatnonzero(first != np.arange(len(first)))
        places = again if positions is None else positions[again]
        copies = first[again] if positions is None else positions[first[again]]
        found[places] = np.searchsorted(before, copies, side="right") - 1
    return found


def _parts(scratch: Scratch, parts: int) -> Iterator[tuple[Integers | None, Hashes]]:
    """Hashes part by part in their order, with their positions (None: all)."""
    if parts == 1:
        arrays = [scratch.hashes_of(number) for number, _ in scratch.chunks()]
        yield None, np.concatenate(arrays) if arrays else np.zeros((0, 2), dtype=np.uint64)
        return
    paths = [scratch.folder / f"part-{part}.hashes" for part in range(parts)]
    divide_hashes(scratch, paths)
    for path in paths:
        rows = np.fromfile(path, dtype=np.uint64).reshape(-1, 3)
        path.unlink()
        yield rows[:, 0].astype(np.int64), np.ascontiguousarray(rows[:, 1:])


def divide_hashes(scratch: Scratch, paths: list[Path]) -> None:
    """Write ``(position, hash)`` rows of all hashes into one file for each range of values."""
    with ExitStack() as stack:
        streams = [stack.enter_context(open(path, "wb")) for path in paths]
        for number, before in scratch.chunks():
            hashes = scratch.hashes_of(number)
            rows = np.empty((len(hashes), 3), dtype=np.uint64)
            rows[:, 0] = np.arange(before.hashes, before.hashes + len(hashes))
            rows[:, 1:] = hashes
            part = (hashes[:, 0] >> np.uint64(32)) * np.uint64(len(paths)) >> np.uint64(32)
            for index, stream in enumerate(streams):
                rows[part == index].tofile(stream)


FIRST, SEEN = "first", "seen"  # columns over all hashes: document of the first copy or -1, held by a filter or not


@dataclass(frozen=True)
class Marker:
    """Marks the spans of any chunk by the columns that a scratch has: ``FIRST`` where copies are ``named``, ``SEEN``
    where a filter was ``asked``, which then decides."""

    threshold: float
    named: bool
    asked: bool

    def marks_of(self, scratch: Scratch, chunk: UnitChunk, before: Before) -> Marks:
        part = (before.hashes, before.hashes + len(chunk.hashes))
        if self.named:
            firsts = scratch.part_of_column(FIRST, np.int64, *part)
        else:
            firsts = np.full(len(chunk.hashes), -1, dtype=np.int64)
        repeated = scratch.part_of_column(SEEN, np.bool_, *part) if self.asked else firsts >= 0
        return mark_spans(chunk, repeated, firsts, self.threshold)


def mark_spans(chunk: UnitChunk, repeated: npt.NDArray[np.bool_], firsts: Integers, threshold: float) -> Marks:
    """Spans of a chunk whose hashes are ``repeated`` [H]; ``firsts`` [H] name the document of the first copy.

    Of n-grams the share that is repeated is the score (in 32-bit precision, as allenai/dolma computes it), and a span
    is marked from ``threshold`` on; it repeats the document that most of its n-grams repeat, of several the earliest.
    """
    owners = np.repeat(np.arange(chunk.documents), chunk.spans)
    if chunk.hash_counts is None:
        marked = np.flatnonzero(repeated)
        return Marks(owners[marked], chunk.starts[marked], chunk.ends[marked], None, firsts[marked])
    assert chunk.counted is not None
    assert chunk.last_decides is not None
    edges = np.concatenate([[0], np.cumsum(chunk.hash_counts)])
    before = np.concatenate([[0], np.cumsum(repeated)])
    held = (before[edges[1:]] - before[edges[:-1]]).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = held / chunk.counted.astype(np.float32)  # without any n-gram: not a number, never marked
    decided = chunk.last_decides & (chunk.hash_counts > 0)
    scores[chunk.last_decides] = 0.0
    scores[decided] = repeated[edges[1:][decided] - 1]
    marked = np.flatnonzero(scores >= np.float32(threshold))
    named = np.full(len(marked), -1, dtype=np.int64)
    for k, span in enumerate(marked.tolist()):
        begin = edges[span + 1] - 1 if chunk.last_decides[span] else edges[span]
        known = firsts[begin : edges[span + 1]][repeated[begin : edges[span + 1]]]
        known = known[known >= 0]
        if len(known):
            documents, times = np.unique(known, return_counts=True)
            named[k] = documents[times.argmax()]
    return Marks(owners[marked], chunk.starts[marked], chunk.ends[marked], scores[marked].astype(np.float64), named)
