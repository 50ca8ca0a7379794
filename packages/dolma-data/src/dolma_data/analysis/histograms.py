"""Histograms of attributes, and a page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from .page import Bar, plot, table, whole_page

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # that the page shows
BARS = 50  # of a plot at most, each of several bins


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

    def row(self) -> dict[str, Any]:
        """Row of ``summaries.jsonl.gz``."""
        return {name: getattr(self, name) for name in ("name", "counts", "bins", "total", "sum")}

    def percentile(self, share: float) -> float:
        """Lower edge of the bin that holds the value below which ``share`` of the values lie."""
        passed = np.cumsum(self.counts)
        return self.bins[int(np.searchsorted(passed, share * self.total))]

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
        f"<p>{len(keys):,} keys. {note} A quantile is the lower edge of the bin that holds it.</p>",
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
