"""Line charts as SVG inside HTML: as wide as their place, with text of one size, without any script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

STRETCHES = 300  # of a curve that is drawn; of each its lowest and its highest point
HEIGHT = 180  # pixels between the lowest and the highest value
UNIT = 1000  # of the coordinates inside, both ways
SPREAD_FOR_LOGARITHM = 20  # a highest value so many times the median hides all others on an even scale


@dataclass(frozen=True, kw_only=True)
class Series:
    """A curve; where ``y`` is not finite it has a gap. ``x`` rises. A faint one stands behind the others."""

    name: str
    x: Values
    y: Values
    faint: bool = False


def thin(x: Values, y: Values, stretches: int = STRETCHES) -> tuple[Values, Values]:
    """Points enough to draw: of each of so many stretches of equally many points the lowest and the highest, so that
    every spike stays; first and last stay too. A gap stays where it fills a stretch."""
    if len(x) <= 2 * stretches:
        return x, y
    size = math.ceil(len(x) / stretches)
    padding = -len(x) % size
    finite = np.isfinite(y)
    shape = (-1, size)
    lowest = np.pad(np.where(finite, y, np.inf), (0, padding), constant_values=np.inf).reshape(shape).argmin(axis=1)
    highest = np.pad(np.where(finite, y, -np.inf), (0, padding), constant_values=-np.inf).reshape(shape).argmax(axis=1)
    starts = np.arange(len(lowest)) * size
    kept = np.unique(np.concatenate(([0], starts + lowest, starts + highest, [len(x) - 1])))
    return x[kept], y[kept]


def smoothed(y: Values, window: int) -> Values:
    """Mean of the finite values among the ``window`` (odd) around each, of fewer, still centred, near the ends; a gap
    stays a gap."""
    finite = np.isfinite(y)
    sums = np.concatenate(([0.0], np.cumsum(np.where(finite, y, 0.0))))
    counts = np.concatenate(([0], np.cumsum(finite)))
    place = np.arange(len(y))
    reach = np.minimum(window // 2, np.minimum(place, len(y) - 1 - place))
    first, last = place - reach, place + reach + 1
    means = (sums[last] - sums[first]) / np.maximum(counts[last] - counts[first], 1)
    return np.where(finite, means, np.nan)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``count`` steps apart: 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    return [
        float(f"{number * step:.12g}")
        for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def figure(value: float) -> str:
    """A number in words of a text: ``55,012``, ``2.313``, ``4e-05``."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"


def short(value: float) -> str:
    """A number for an axis: ``20k``, ``1.5M``, ``0.3``, ``4e-05``."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{name}"
    return f"{value:.4g}"


def line_chart(
    title: str, unit: str, series: Sequence[Series], *, x_name: str = "step", from_zero: bool = False
) -> str:
    """An HTML figure of curves over one axis; their last value stands beside the title.

    The axis of values is logarithmic where all are above zero and the highest is far from the middle ones. Without a
    finite value the figure says so.
    """
    drawn = [(one, *thin(one.x, one.y)) for one in sorted(series, key=lambda one: not one.faint)]
    finite = np.concatenate([y[np.isfinite(y)] for _, _, y in drawn]) if drawn else np.zeros(0)
    if not len(finite):
        return _figure(title, unit, "", '<p class="none">no finite value yet</p>', [])
    logarithmic = finite.min() > 0 and finite.max() > SPREAD_FOR_LOGARITHM * float(np.median(finite))
    scale = _LogarithmicScale if logarithmic else _EvenScale
    axis = scale(float(finite.min()), float(finite.max()), from_zero)
    left, right = float(min(x[0] for _, x, _ in drawn)), float(max(x[-1] for _, x, _ in drawn))
    span = right - left or 1.0

    def across(x: Values) -> Values:
        return (x - left) / span if right > left else np.full(len(x), 0.5)

    paths = "".join(_paths("faint" if one.faint else "line", across(x), axis.shares(y)) for one, x, y in drawn)
    last = _last(series)
    body = (
        f'<svg class="plot" height="{HEIGHT + 44}" role="img" aria-label="{escape(f"{title}, {unit}: {last}")}">'
        f"{_value_axis(axis, unit + (', logarithmic' if logarithmic else ''))}{_step_axis(left, right)}"
        f'<svg height="{HEIGHT}" width="100%" viewBox="0 0 {UNIT} {UNIT}" preserveAspectRatio="none">{paths}</svg>'
        "</svg>"
    )
    return _figure(title, unit, last, body, series if len(series) > 1 else [])


class _EvenScale:
    """Values at equal distances, with round ends."""

    def __init__(self, low: float, high: float, from_zero: bool) -> None:
        if from_zero:
            low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            padding = abs(low) * 0.1 or 1.0
            low, high = low - padding, high + padding
        inner = ticks(low, high)
        step = inner[1] - inner[0] if len(inner) > 1 else high - low
        self.low = math.floor(low / step + 1e-9) * step
        self.high = math.ceil(high / step - 1e-9) * step
        count = round((self.high - self.low) / step)
        self.ticks = [float(f"{self.low + number * step:.12g}") for number in range(count + 1)]

    def shares(self, y: Values) -> Values:
        """Of the height from the bottom, NaN for what is not finite."""
        return (np.where(np.isfinite(y), y, np.nan) - self.low) / (self.high - self.low)


class _LogarithmicScale:
    """Values whose ratios are at equal distances, between powers of ten."""

    def __init__(self, low: float, high: float, from_zero: bool) -> None:
        self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = math.ceil((self.high - self.low) / 6)
        self.ticks = [10.0**power for power in range(self.low, self.high + 1, every)]

    def shares(self, y: Values) -> Values:
        """Of the height from the bottom, NaN for what is not finite."""
        return (np.log10(np.where(np.isfinite(y), y, np.nan)) - self.low) / (self.high - self.low)


def _value_axis(axis: _EvenScale | _LogarithmicScale, name: str) -> str:
    parts = [f'<text class="name" transform="translate(-60 {HEIGHT / 2}) rotate(-90)">{escape(name)}</text>']
    for value, share in zip(axis.ticks, axis.shares(np.array(axis.ticks)), strict=True):
        y = f"{HEIGHT * (1 - share):.1f}"
        parts.append(
            f'<line x1="0" x2="100%" y1="{y}" y2="{y}"/><text class="value" x="-7" y="{y}">{short(value)}</text>'
        )
    return "".join(parts)


def _step_axis(left: float, right: float) -> str:
    parts = [f'<text class="name" x="50%" y="{HEIGHT + 38}">step</text>']
    for value in ticks(left, right) if right > left else [left]:
        share = (value - left) / (right - left) if right > left else 0.5
        anchor = "start" if share < 0.03 else "end" if share > 0.97 else "middle"
        parts.append(f'<text x="{100 * share:.2f}%" y="{HEIGHT + 18}" text-anchor="{anchor}">{short(value)}</text>')
    return "".join(parts)


def _paths(kind: str, x: Values, y: Values) -> str:
    """A path through the finite points, and one of dots for those that stand alone."""
    alone = np.isfinite(y) & ~np.isfinite(np.append(np.nan, y[:-1])) & ~np.isfinite(np.append(y[1:], np.nan))
    line, dots = [], []
    begun = False
    places, shares = (x * UNIT).round(1).tolist(), ((1 - y) * UNIT).round(1).tolist()
    for place, share, lonely in zip(places, shares, alone.tolist(), strict=True):
        if lonely:
            dots.append(f"M{place:g} {share:g}h0")
        elif not math.isnan(share):
            line.append(f"{'L' if begun else 'M'}{place:g} {share:g}")
        begun = not math.isnan(share)
    found = f'<path class="{kind}" d="{"".join(line)}"/>' if line else ""
    return found + (f'<path class="{kind} dots" d="{"".join(dots)}"/>' if dots else "")


def _last(series: Sequence[Series]) -> str:
    """``2.313 at step 1,000``, of the last series."""
    one = series[-1]
    places = np.flatnonzero(np.isfinite(one.y))
    return f"{figure(one.y[places[-1]])} at {one.x[places[-1]]:,.0f}" if len(places) else ""


def _figure(title: str, unit: str, last: str, body: str, legend: Sequence[Series]) -> str:
    keys = "".join(
        f'<span class="key"><svg width="22" height="10"><path class="{"faint" if one.faint else "line"}" d="M1 5h20"/>'
        f"</svg>{escape(one.name)}</span>"
        for one in legend
    )
    return (
        f"<figure><figcaption><b>{escape(title)}</b> <span>{escape(unit)}</span>"
        f'<span class="last">{escape(last)}</span>{f"<div>{keys}</div>" if keys else ""}</figcaption>{body}</figure>'
    )
