"""Numbers behind a chart: round ticks, ranges, thinned and smoothed curves, bins of equal width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from . import words

POINTS = 600  # a curve with more is thinned to the lowest and highest point of each stretch
BARS = 36  # of a histogram
LEAST_BINS = 8  # on an axis that leaves a tail out
KEPT_BINS = 60  # so many bins of equal width are drawn as they are


@dataclass(frozen=True)
class Bin:
    """``count`` values between ``low`` and ``high``; ``beyond`` marks the bar for all that lie above the axis."""

    low: float
    high: float
    count: float
    beyond: bool = False


def nice_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 5 × 10^k that cuts ``span`` into at most ``count`` parts."""
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers inside [low, high]."""
    if not high > low:
        return [low]
    step = nice_step(high - low, count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def rounded_range(values: Sequence[float], count: int = 5, from_zero: bool = False) -> tuple[float, float]:
    """A range with round ends that holds all values."""
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        low, high = (low if from_zero and low == 0 else low - pad), high + pad
    step = nice_step(high - low, count)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def tick_texts(values: Sequence[float]) -> list[str]:
    """Labels of equal precision for evenly spaced ticks."""
    step = min((b - a for a, b in pairwise(values)), default=abs(values[0]) or 1.0)
    top = max(abs(value) for value in values)
    if top >= 1e6:
        return [short(value) for value in values]
    if step < 1e-4:
        return ["0" if value == 0 else words.scientific(value) for value in values]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [words.decimal(value, digits) for value in values]


def short(value: float) -> str:
    """A count for an axis: ``1.5M``, ``20k``, ``0.3``."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}".replace("-", "−")
    return words.significant(value, 2)


def thin(points: Sequence[tuple[float, float]], limit: int = POINTS) -> list[tuple[float, float]]:
    """Few enough points to draw, with every spike kept: lowest and highest of each stretch."""
    if len(points) <= limit:
        return list(points)
    kept: list[tuple[float, float]] = [points[0]]
    stretch = math.ceil(len(points) / (limit // 2))
    for start in range(1, len(points) - 1, stretch):
        part = points[start : min(start + stretch, len(points) - 1)]
        ends = {part.index(min(part, key=lambda p: p[1])), part.index(max(part, key=lambda p: p[1]))}
        kept.extend(part[index] for index in sorted(ends))
    return [*kept, points[-1]]


def smoothed(points: Sequence[tuple[float, float]], window: int) -> list[tuple[float, float]]:
    """Mean of the ``window`` (odd) points around each, of fewer, still centred, near the ends."""
    sums = list(accumulate((y for _, y in points), initial=0.0))
    result = []
    for index, (x, _) in enumerate(points):
        reach = min(window // 2, index, len(points) - 1 - index)
        result.append((x, (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)))
    return result


def redrawn(counts: Sequence[float], edges: Sequence[float], bars: int = BARS) -> tuple[list[Bin], bool]:
    """Bins of any widths redrawn in bars of equal width; returns them and whether the axis is logarithmic.

    A bin's count is spread evenly over the bars that it overlaps, so the total stays; few bins of equal width are the
    bars themselves. The highest two per cent of values go to one bar ``beyond`` where they would take most of the axis;
    a wide range of positive values gets a logarithmic axis.
    """
    filled = [(low, high, n) for low, high, n in zip(edges, edges[1:], counts, strict=False) if n > 0]
    if not filled:
        return [], False
    bottom, top = filled[0][0], max(high for _, high, _ in filled)
    logarithmic = (
        bottom > 0
        and quantile(filled, 0.99) > 30 * quantile(filled, 0.05)
        and math.log(filled[0][1] / bottom) < 0.25 * math.log(top / bottom)  # else one bin would fill half the axis
    )
    if not logarithmic:
        body = quantile(filled, 0.98)
        if top - bottom > 2 * (body - bottom) > 0:
            narrowest = min(high - low for low, high in pairwise(edges) if high > low)
            top = next(edge for edge in edges if edge >= max(body, min(top, bottom + LEAST_BINS * narrowest)))
        widths = [high - low for low, high in pairwise(edges) if bottom <= low and high <= top]
        if 0 < len(widths) <= KEPT_BINS and max(widths) - min(widths) < 1e-6 * max(widths):
            bars = len(widths)
    if top <= bottom:
        pad = abs(bottom) * 0.05 or 0.5
        bottom, top = bottom - pad, top + pad
    to_axis: Callable[[float], float] = math.log if logarithmic else float
    from_axis: Callable[[float], float] = math.exp if logarithmic else float
    start, width = to_axis(bottom), (to_axis(top) - to_axis(bottom)) / bars
    drawn = [0.0] * bars
    beyond: float = 0
    for low, high, n in filled:
        if low >= top and high > top:  # the axis ends at an edge of a bin
            beyond += n
            continue
        a, b = (to_axis(low) - start) / width, (to_axis(high) - start) / width
        if b - a < 1e-12:
            drawn[min(bars - 1, max(0, int(a)))] += n
            continue
        for bar in range(max(0, int(a)), min(bars, math.ceil(b - 1e-9))):
            drawn[bar] += n * max(0.0, min(b, bar + 1) - max(a, bar)) / (b - a)
    result = [Bin(from_axis(start + i * width), from_axis(start + (i + 1) * width), n) for i, n in enumerate(drawn)]
    if beyond:
        result.append(Bin(top, filled[-1][1], beyond, beyond=True))
    return result, logarithmic


def quantile(filled: Sequence[tuple[float, float, float]], share: float) -> float:
    """The value below which ``share`` of the counts lie, even inside a bin."""
    left = share * sum(n for _, _, n in filled)
    for low, high, n in filled:
        if left <= n:
            return low + (high - low) * left / n
        left -= n
    return filled[-1][1]
