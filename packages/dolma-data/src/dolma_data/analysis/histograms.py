"""Histograms of attributes, and a page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from .page import Bar, plot, table, whole_page

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # that the page shows
LEAST_PENDING = 1 << 16  # values that are counted one by one before they are put in order
Keys = npt.NDArray[np.uint32]
Times = npt.NDArray[np.int64]
BARS = 50  # of a plot at most, each of several bins


class Tally:
    """How often each value occurs, values held to 21 binary digits: whole numbers below two million exactly, others
    to one in a million. So there are few enough of them for memory, however many documents there are."""

    def __init__(self) -> None:
        self._keys = np.empty(0, dtype=np.uint32)  # upper halves of the values as float64, sorted
        self._times = np.empty(0, dtype=np.int64)
        self._pending: list[tuple[Keys, Times]] = []

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Count values, [V]."""
        keys, times = np.unique(((values + 0.0).view(np.uint64) >> np.uint64(32)).astype(np.uint32), return_counts=True)
        self._take(keys, times)

    def merge(self, other: Tally) -> None:
        """Take in what was counted elsewhere."""
        other._settle()
        self._take(other._keys, other._times)

    def _take(self, keys: Keys, times: Times) -> None:
        self._pending.append((keys, times))
        if sum(len(part) for part, _ in self._pending) > max(len(self._keys), LEAST_PENDING):
            self._settle()

    def _settle(self) -> None:
        if not self._pending:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._pending)])
        times = np.concatenate([self._times, *(times for _, times in self._pending)])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        self._keys, self._times, self._pending = keys[firsts], np.add.reduceat(times[order], firsts), []

    def quantile(self, share: float) -> float:
        """The smallest value that ``share`` of all are not above, as :func:`numpy.quantile` by ``inverted_cdf``."""
        self._settle()
        values = (self._keys.astype(np.uint64) << np.uint64(32)).view(np.float64)
        order = np.argsort(values, kind="stable")
        passed = np.cumsum(self._times[order])
        return float(values[order][np.searchsorted(passed, share * passed[-1])])


@dataclass
class Summary:
    """A histogram: ``counts`` between the edges ``bins``; a bin is without its upper edge, but for the last one."""

    name: str
    counts: list[int]
    bins: list[float]
    total: int
    sum: float
    low: float = field(default=0.0, repr=False)
    high: float = field(default=0.0, repr=False)
    tally: Tally = field(default_factory=Tally, repr=False)

    def row(self) -> dict[str, Any]:
        """Row of ``summaries.jsonl.gz``."""
        return {name: getattr(self, name) for name in ("name", "counts", "bins", "total", "sum")}

    def percentile(self, share: float) -> float:
        """The smallest value that ``share`` of the values are not above."""
        return min(max(self.tally.quantile(share), self.low), self.high)

    def bars(self) -> list[Bar]:
        """The histogram in at most ``BARS`` bars, the last of which may be narrower."""
        step = -(-len(self.counts) // BARS)
        bars = []
        for first in range(0, len(self.counts), step):
            counts = self.counts[first : first + step]
            span = f"{_short(self.bins[first])} to {_short(self.bins[first + len(counts)])}"
            bars.append(Bar(len(counts), sum(counts), f"{span}: {sum(counts):,} values"))
        return bars


def render(summaries: Sequence[Summary]) -> str:
    """The page as text: the plots and quantiles of the properties of every key."""
    keys: dict[str, list[Summary]] = {}
    for summary in summaries:
        keys.setdefault(summary.name.rpartition("/")[0], []).append(summary)
    header = ("", "values", "mean", "least", *(f"{share:.0%}" for share in QUANTILES), "most")
    note = "A row without spans under a key counts as one span of no length with score 0, as in the summaries."
    parts = [
        "<h1>What the attributes hold</h1>",
        f"<p>{len(keys):,} keys. {note}</p>",
    ]
    for key, found in keys.items():
        parts += [
            f"<h2>{escape(key) if key.strip() else repr(key)}</h2>",
            f'<div class="columns">{"".join(map(_plot, found))}</div>',
            table(header, map(_cells, found)),
        ]
    return whole_page("Attributes", parts)


def _cells(summary: Summary) -> list[str]:
    numbers = (summary.sum / summary.total, summary.low, *map(summary.percentile, QUANTILES), summary.high)
    return [_property(summary), f"{summary.total:,}", *map(_short, numbers)]


def _plot(summary: Summary) -> str:
    width = len(summary.counts)
    labels = [(width / 2, _short((summary.low + summary.high) / 2))]
    if summary.low < summary.high:
        labels += [(0.0, _short(summary.low)), (float(width), _short(summary.high))]
    about = f"values by {_property(summary)}"
    return f"<div><p>{about}</p>{plot(summary.bars(), labels, about)}</div>"


def _property(summary: Summary) -> str:
    return summary.name.rpartition("/")[2]


def _short(number: float) -> str:
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.5g}"
