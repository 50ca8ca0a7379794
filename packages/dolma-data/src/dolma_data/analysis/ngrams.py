"""The most frequent n-grams of a corpus, in two passes and bounded memory.

The first pass counts hashes of n-grams in ``CELLS`` counters, so that a counter holds at least the count of each of its
n-grams. The second counts exactly those n-grams whose counter is among the largest. No other n-gram is more frequent
than the largest counter that is left, which tells whether the list is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..batch import Batch
from ..kernels.characters import character_classes
from ..kernels.frequent_ngrams import count_by_cell, count_followed

CELL_BITS = 22
CELLS = 1 << CELL_BITS
CELLS_FOLLOWED = 20  # for each n-gram that is asked for


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


def count_cells(batch: Batch, lengths: Sequence[int]) -> list[CellCounts]:
    """First pass over a batch: one entry for each of ``lengths``."""
    if not lengths:
        return []
    counts = count_by_cell(
        batch.buffer, batch.offsets, character_classes(), np.array(lengths, dtype=np.int64), CELL_BITS
    )
    cells = [np.flatnonzero(row) for row in counts]
    return [CellCounts(cell.astype(np.uint32), row[cell]) for cell, row in zip(cells, counts, strict=True)]


def follow(batch: Batch, n: int, cells: tuple[int, ...]) -> dict[int, Found]:
    """Second pass over a batch: by hash the n-grams that fall into ``cells``."""
    hashes, rows = count_followed(batch.buffer, batch.offsets, character_classes(), n, _mask(cells), CELL_BITS)
    return {
        key: Found(times, " ".join(batch.text_of(begin, end).split()))
        for key, (times, begin, end) in zip(hashes.tolist(), rows.tolist(), strict=True)
    }


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

    def let_go(self) -> None:
        """Give the counters' memory up, 32 MiB for each length; the totals stay."""
        self._counters.clear()


def best(n: int, found: dict[int, Found], most_left: int, top: int) -> TopNgrams:
    """The ``top`` n-grams among those followed; ties in order of their text."""
    rows = sorted(((entry.text, entry.times) for entry in found.values()), key=lambda row: (-row[1], row[0]))[:top]
    return TopNgrams(n, most_left == 0 or (len(rows) == top and rows[-1][1] >= most_left), rows)
