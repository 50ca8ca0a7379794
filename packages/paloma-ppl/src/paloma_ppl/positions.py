"""Loss by position in the window: how much a model gains from what stands before a token in the same window.

Position *p* is that of a token which is predicted from *p* + 1 ids, the prefix (or the token shared with the window
before) among them. Late positions are reached by long documents alone, so that a mean over all windows mixes what the
context gives with what long documents are like. Windows as long as the model reads hold every position: over them
alone, each mean is of the same windows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .files import atomic_write, read_lines

POSITIONS_FILE = "positions.jsonl.gz"


@dataclass(frozen=True)
class PositionSums:
    """Count and summed log-probability (nats) of a source's tokens at each position, [positions]; ``whole``: in
    windows as long as the model reads, else in shorter ones."""

    source: str
    whole: bool
    counts: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]

    def row(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "whole": self.whole,
            "counts": self.counts.tolist(),
            "log_probabilities": self.log_probabilities.tolist(),
        }


class Positions:
    """Collects the sums of a run."""

    def __init__(self, maximum_length: int) -> None:
        self.maximum_length = maximum_length
        self.sums: dict[tuple[str, bool], tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def add(self, source: str, window_length: int, first: int, values: NDArray[np.floating[Any]]) -> None:
        """Tokens from position ``first`` of a window on which ``window_length`` ids are read."""
        key = (source, window_length == self.maximum_length)
        if key not in self.sums:
            self.sums[key] = np.zeros(self.maximum_length, np.int64), np.zeros(self.maximum_length)
        counts, sums = self.sums[key]
        counts[first : first + len(values)] += 1
        sums[first : first + len(values)] += values

    def finished(self, sources: Iterable[str]) -> list[PositionSums]:
        """By source in the order given, short windows first; positions up to the last one that was scored."""
        found = []
        for key in ((source, whole) for source in sources for whole in (False, True)):
            if key in self.sums:
                counts, sums = self.sums[key]
                size = int(np.flatnonzero(counts)[-1]) + 1
                found.append(PositionSums(*key, counts[:size], np.minimum(sums[:size], 0.0)))
        return found


def write_positions(path: Path, positions: Sequence[PositionSums]) -> None:
    with atomic_write(path) as stream:
        for sums in positions:
            stream.write(json.dumps(sums.row(), ensure_ascii=False).encode() + b"\n")


def read_positions(folder: Path) -> list[PositionSums] | None:
    """What ``write_positions`` wrote; None where results have no such file, a UserError where it is damaged."""
    path = folder / POSITIONS_FILE
    if not path.is_file():
        return None
    found = []
    for line, data in read_lines(path):
        try:
            row = json.loads(data)
            counts, sums = np.array(row["counts"]), np.array(row["log_probabilities"], dtype=np.float64)
            right = type(row["source"]) is str and type(row["whole"]) is bool and counts.shape == sums.shape
            if not (right and counts.ndim == 1 and counts.dtype == np.int64 and np.isfinite(sums).all()):
                raise ValueError("another kind of row")
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise UserError("not a row of sums by position", where=path, line=line, fix="run it again") from error
        found.append(PositionSums(row["source"], row["whole"], counts, sums))
    return found


def bins(size: int) -> list[tuple[int, int]]:
    """First and last of the positions taken together: 0, 1, 2 to 3, 4 to 7 and so on, the last cut at ``size``."""
    found, first = [], 0
    while first < size:
        last = min(max(2 * first, 1), size) - 1
        found.append((first, last))
        first = last + 1
    return found


def loss_by_position(positions: Sequence[PositionSums]) -> list[dict[str, Any]]:
    """Rows of ``positions`` in ``results.json``: over all sources (``source`` null), then each; a row a bin.

    ``loss`` is the mean in nats per token over all windows, ``whole_loss`` over those as long as the model reads, null
    where there are none.
    """
    size = max((len(sums.counts) for sums in positions), default=0)
    rows = []
    for source in (None, *dict.fromkeys(sums.source for sums in positions)):
        members = [sums for sums in positions if source in (None, sums.source)]
        for first, last in bins(size):
            tokens, loss = mean_loss(members, first, last)
            if tokens:
                whole_tokens, whole_loss = mean_loss([sums for sums in members if sums.whole], first, last)
                row = {"source": source, "first": first, "last": last, "tokens": tokens, "loss": loss}
                rows.append(row | {"whole_tokens": whole_tokens, "whole_loss": whole_loss})
    return rows


def mean_loss(members: Sequence[PositionSums], first: int, last: int) -> tuple[int, float | None]:
    """Tokens at the positions, and their mean loss in nats."""
    tokens = sum(int(sums.counts[first : last + 1].sum()) for sums in members)
    total = math.fsum(value for sums in members for value in sums.log_probabilities[first : last + 1].tolist())
    return tokens, -total / tokens if tokens else None
