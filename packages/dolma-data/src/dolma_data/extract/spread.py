"""Units of files that all workers take part in: one reads and unpacks, the others make documents of what it read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Protocol, TypeVar

from ..execute import map_ordered

PIECE_BYTES = 2 << 20  # of input that a worker takes at a time, about
PIECE_RECORDS = 4096
FED = 4  # workers that one reader of archives keeps busy, about
Item = TypeVar("Item")
Unit = TypeVar("Unit")
Unit_contra = TypeVar("Unit_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Work(Protocol[Unit_contra, Result_co]):
    """Does one unit with the help of some processes, 1 for none; the result is the same for any number."""

    def __call__(self, unit: Unit_contra, processes: int) -> Result_co: ...  # pragma: no cover


def run_units(
    work: Work[Unit, Result_co], units: Sequence[Unit], sizes: Sequence[int], processes: int
) -> Iterator[Result_co]:
    """Yield ``work(unit, ...)`` in order. ``sizes`` are bytes of input.

    A unit that is more than a worker's share is done here with the help of all workers, any other by one of them.
    """
    share = sum(sizes) / min(processes, FED)
    for spread, group in groupby(zip(units, sizes, strict=True), key=lambda item: item[1] > share):
        chosen = [unit for unit, _ in group]
        if spread:
            yield from (work(unit, processes=processes) for unit in chosen)
        else:
            yield from map_ordered(partial(work, processes=1), chosen, processes)


def cut(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Cut items into pieces that end behind ``PIECE_BYTES``, the same for the same items."""
    piece: list[Item] = []
    size = 0
    for item in items:
        piece.append(item)
        size += size_of(item)
        if size >= PIECE_BYTES or len(piece) >= PIECE_RECORDS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
