"""Pictures of the report, as SVG: points, lines, and intervals in a table's row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from .table import short

COLOURS = 6
WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 40


@dataclass(frozen=True)
class Point:
    """``said`` is what is shown where the pointer rests; already safe to show."""

    x: float
    y: float
    colour: int
    said: str


@dataclass(frozen=True)
class Axis:
    """A linear axis, or one of decades for values above zero."""

    low: float
    high: float
    logarithm: bool = False

    @classmethod
    def of(cls, values: Sequence[float], *, logarithm: bool = False) -> Axis:
        low, high = min(values), max(values)
        if logarithm:
            return cls(low / 1.15, high * 1.15, True)
        margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        return cls(low - margin, high + margin)

    def share(self, value: float) -> float:
        if self.logarithm:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.logarithm and self.high / self.low > 20:
            first, last = math.floor(math.log10(self.low)), math.floor(math.log10(self.high))
            factors = (1, 2, 5) if self.high / self.low < 2000 else (1,)
            every = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
            return [tick for tick in every if self.low <= tick <= self.high]
        raw = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * k for k in range(first, last + 1)]


def labels(ticks: Sequence[float]) -> list[str]:
    """What is written at the ticks: short, but not twice the same."""
    texts = [short(tick) for tick in ticks]
    return texts if len(set(texts)) == len(texts) else [f"{tick:.6g}" for tick in ticks]


def frame(x: Axis, y: Axis, titles: tuple[str, str], draw: Callable[[Callable[[float, float], str]], str]) -> str:
    """Axes with their titles around what ``draw`` gives; it is told how to place a point."""

    def place(a: float, b: float) -> str:
        return f"{across(a):.1f} {down(b):.1f}"

    def across(a: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * x.share(a)

    def down(b: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - y.share(b))

    parts = []
    for tick, label in zip(y.ticks(), labels(y.ticks()), strict=True):
        at = down(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for tick, label in zip(x.ticks(), labels(x.ticks()), strict=True):
        parts.append(f'<text x="{across(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{label}</text>')
    across_title, up_title = (escape(title) for title in titles)
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{across_title}</text>')
    body = draw(place)
    label = f"{up_title} against {across_title}"
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}{body}</svg>'
    return f"<figcaption>{up_title}</figcaption>{svg}"


def mark(place: int) -> str:
    """Classes of what is drawn for the thing at ``place``: every other round of the colours is hollow, or dashed."""
    return f"k{place % COLOURS}" + " ring" * (place // COLOURS % 2)


def dots(points: Sequence[Point], place: Callable[[float, float], str], radius: float) -> str:
    drawn = []
    for point in points:
        x, y = place(point.x, point.y).split()
        kind = f"dot {mark(point.colour)}"
        drawn.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}"><title>{point.said}</title></circle>')
    return "".join(drawn)


def scatter(
    points: Sequence[Point], titles: tuple[str, str], *, logarithm: tuple[bool, bool], diagonal: bool = False
) -> str:
    """Points; with ``diagonal`` both axes have one range, and a dashed line is where they are equal."""
    across, up = [point.x for point in points], [point.y for point in points]
    if diagonal:
        across = up = [*across, *up]
    x, y = (Axis.of(values, logarithm=flag) for values, flag in zip((across, up), logarithm, strict=True))

    def draw(place: Callable[[float, float], str]) -> str:
        line = f'<path class="same" d="M{place(x.low, y.low)}L{place(x.high, y.high)}"/>' if diagonal else ""
        return line + dots(points, place, 3.5 if len(points) < 800 else 2)

    return frame(x, y, titles, draw)


def lines(series: Sequence[Sequence[Point]], titles: tuple[str, str], *, logarithm: bool = False) -> str:
    """Lines through points; with ``logarithm`` x is in decades."""
    every = [point for points in series for point in points]
    x, y = Axis.of([point.x for point in every], logarithm=logarithm), Axis.of([point.y for point in every])

    def draw(place: Callable[[float, float], str]) -> str:
        paths = (
            f'<path class="{mark(points[0].colour)}" d="M{"L".join(place(p.x, p.y) for p in points)}"/>'
            for points in series
        )
        return "".join(paths) + dots(every, place, 3.5)

    return frame(x, y, titles, draw)


def span(value: float, low: float | None, high: float | None, most: float, colour: int) -> str:
    """A value with its interval on a line from 0 to ``most``."""

    def x(amount: float) -> str:
        return f"{1 + 98 * min(1.0, max(0.0, amount / most)):.2f}%"

    parts = ['<line class="grid" x1="1%" x2="99%" y1="9" y2="9"/>']
    if low is not None and high is not None:
        parts.append(f'<line class="{mark(colour)}" stroke-width="2.5" x1="{x(low)}" x2="{x(high)}" y1="9" y2="9"/>')
    parts.append(f'<circle class="{mark(colour)}" cx="{x(value)}" cy="9" r="3.5"/>')
    return f'<svg aria-hidden="true">{"".join(parts)}</svg>'
