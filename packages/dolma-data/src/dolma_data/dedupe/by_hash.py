"""Marks of spans by their hashes: those that repeat an earlier one or that a filter has seen, and how many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..batch import Integers
from .first_copies import first_copies_of
from .scratch import Before, Scratch
from .units import UnitChunk


@dataclass(frozen=True)
class Marks:
    """Marked spans of a chunk, by document: ``owners`` (documents of the chunk), code points, scores, and the number of
    the document that each repeats (of all documents; -1: not known)."""

    owners: Integers
    starts: Integers
    ends: Integers
    scores: npt.NDArray[np.float64] | None  # None: the integer 1 for all
    firsts: Integers


class Marker(Protocol):
    """Marks the spans of any chunk, in a worker, by what a scratch has."""

    def marks_of(self, scratch: Scratch, number: int, chunk: UnitChunk, before: Before) -> Marks:
        """Marks of chunk ``number``, before which there are ``before``."""
        ...  # pragma: no cover


SEEN = "seen"  # column over all hashes: held by a filter or not


@dataclass(frozen=True)
class HashMarker:
    """Marks the spans of any chunk by what a scratch has: first copies in ``parts`` (0: they are not named), the column
    ``SEEN`` where a filter was ``asked``, which then decides."""

    threshold: float
    parts: int
    asked: bool

    def marks_of(self, scratch: Scratch, number: int, chunk: UnitChunk, before: Before) -> Marks:
        """Marks of chunk ``number``."""
        if self.parts:
            firsts = first_copies_of(scratch, self.parts, number)
        else:
            firsts = np.full(chunk.hashes, -1, dtype=np.int64)
        if self.asked:
            repeated = scratch.part_of_column(SEEN, np.bool_, before.hashes, before.hashes + chunk.hashes)
        else:
            repeated = firsts >= 0
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
    held = np.zeros(len(chunk.hash_counts), dtype=np.float32)
    some = np.flatnonzero(chunk.hash_counts)
    held[some] = np.add.reduceat(repeated, edges[some], dtype=np.int64)
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
