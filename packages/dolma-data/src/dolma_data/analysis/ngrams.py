"""The most frequent n-grams of a corpus, in two passes and bounded memory.

The first pass counts hashes of n-grams in ``CELLS`` counters, so that a counter holds at least the count of each of its
n-grams. The second counts exactly those n-grams whose counter is among the largest. No other n-gram is more frequent
than the largest counter that is left, which tells whether the list is exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..batch import Batch

CELL_BITS = 22
CELLS = 1 << CELL_BITS
CELLS_FOLLOWED = 20  # for each n-gram that is asked for
WORD = re.compile(r"\S+")  # what str.split() finds
PRIME = np.uint64(0x9E3779B97F4A7C15)
SPREAD = np.uint64(0xC2B2AE3D27D4EB4F)
HALF = np.uint64(32)
CELL_SHIFT = np.uint64(64 - CELL_BITS)
Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]


class CellCounts(NamedTuple):
    """Counters that a batch adds to, and by how much."""

    cells: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint32]


class Found(NamedTuple):
    """An n-gram that is followed: how often it occurs, and its text."""

    times: int
    text: str


@dataclass(frozen=True)
class TopNgrams:
    """The most frequent n-grams of one length; ``exact``: no other one is more frequent than the last of them."""

    n: int
    exact: bool
    rows: list[tuple[str, int]]


def hash_ngrams(batch: Batch, n: int) -> tuple[Hashes, Integers]:
    """Hashes of all n-grams of ``str.split()`` words that lie in one document, and the word each begins with."""
    words = batch.words
    length = len(words.hashes) - n + 1
    if length <= 0:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    owners = np.repeat(np.arange(len(batch)), np.diff(words.first))
    starts = np.flatnonzero(owners[:length] == owners[n - 1 :])
    hashes = words.hashes[starts].copy()
    for place in range(1, n):
        hashes *= PRIME
        hashes ^= hashes >> HALF
        hashes ^= words.hashes[starts + place]
    hashes *= SPREAD
    hashes ^= hashes >> HALF
    hashes *= PRIME
    return hashes, starts


def count_cells(batch: Batch, lengths: Sequence[int]) -> list[CellCounts]:
    """First pass over a batch: one entry for each of ``lengths``."""
    counted = []
    for n in lengths:
        hashes, _ = hash_ngrams(batch, n)
        counts = np.bincount((hashes >> CELL_SHIFT).astype(np.int64), minlength=CELLS)
        cells = np.flatnonzero(counts)
        counted.append(CellCounts(cells.astype(np.uint32), counts[cells].astype(np.uint32)))
    return counted


def follow(batch: Batch, n: int, cells: tuple[int, ...]) -> dict[int, Found]:
    """Second pass over a batch: by hash the n-grams that fall into ``cells``."""
    hashes, starts = hash_ngrams(batch, n)
    chosen = np.flatnonzero(_mask(cells)[(hashes >> CELL_SHIFT).astype(np.int64)])
    found: dict[int, Found] = {}
    values, first, counts = np.unique(hashes[chosen], return_index=True, return_counts=True)
    words = starts[chosen[first]]
    order = np.argsort(words)
    for at, text in zip(order.tolist(), _texts(batch, n, words[order]), strict=True):
        found[int(values[at])] = Found(int(counts[at]), text)
    return found


def _texts(batch: Batch, n: int, words: Integers) -> Iterator[str]:
    """The n-grams that begin with ``words``, which rise; each text is read once."""
    owners = np.searchsorted(batch.words.first, words, side="right") - 1
    for document in np.unique(owners).tolist():
        text = batch.texts[document]
        matches = WORD.finditer(text)
        passed = int(batch.words.first[document])
        for word in words[owners == document].tolist():
            match = next(islice(matches, word - passed, None))
            passed = word + 1
            yield " ".join(each[0] for each in islice(WORD.finditer(text, match.start()), n))


@lru_cache(maxsize=16)
def _mask(cells: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(CELLS, dtype=bool)
    mask[list(cells)] = True
    return mask


class NgramCounters:
    """What the first pass knows; ``add`` takes batches in any order."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = tuple(lengths)
        self._counters = [np.zeros(CELLS, dtype=np.int64) for _ in lengths]
        self.totals = [0] * len(self.lengths)

    def add(self, counted: Sequence[CellCounts]) -> None:
        """Take the cells that :func:`count_cells` found in a chunk, one entry for each length of n-grams."""
        for place, (cells, counts) in enumerate(counted):
            self._counters[place][cells] += counts
            self.totals[place] += int(counts.sum())

    def largest(self, top: int) -> list[tuple[tuple[int, ...], int]]:
        """For each length the cells to follow, and the largest count that a cell which is not followed may have."""
        chosen = []
        for counters in self._counters:
            wanted = top * CELLS_FOLLOWED
            cells = np.flatnonzero(counters)
            most_left = 0
            if len(cells) > wanted:
                order = np.argsort(-counters[cells], kind="stable")
                most_left = int(counters[cells[order[wanted]]])
                cells = np.sort(cells[order[:wanted]])
            chosen.append((tuple(cells.tolist()), most_left))
        return chosen


def best(n: int, found: dict[int, Found], most_left: int, top: int) -> TopNgrams:
    """The ``top`` n-grams among those followed; ties in order of their text."""
    rows = sorted(((entry.text, entry.times) for entry in found.values()), key=lambda row: (-row[1], row[0]))[:top]
    return TopNgrams(n, most_left == 0 or (len(rows) == top and rows[-1][1] >= most_left), rows)
