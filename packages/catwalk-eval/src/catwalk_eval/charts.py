"""Pictures as inline SVG: an interval on a scale from 0 to 100 %, and a learning curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .curves import Curve
from .table import number

COLOURS = 6
WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 34


def span(value: float, low: float | None, high: float | None, chance: float | None) -> str:
    """A share between 0 and 1 with its interval; ``chance`` is a dashed line."""

    def x(share: float) -> str:
        return f"{1 + 98 * min(1.0, max(0.0, share)):.2f}%"

    parts = ['<line class="axis" x1="1%" x2="99%" y1="9" y2="9"/>']
    if chance is not None:
        parts.append(f'<line class="chance" x1="{x(chance)}" x2="{x(chance)}" y1="1" y2="17"/>')
    if low is not None and high is not None:
        parts.append(f'<line class="range" x1="{x(low)}" x2="{x(high)}" y1="9" y2="9"/>')
    parts.append(f'<circle class="value" cx="{x(value)}" cy="9" r="4"/>')
    return f'<svg class="span" aria-hidden="true">{"".join(parts)}</svg>'


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between ``low`` and ``high``."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    return [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def short(step: float) -> str:
    """A step for an axis: ``1.5M``, ``20k``, ``300``."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if step >= unit:
            return f"{step / unit:.3g}{name}"
    return f"{step:.3g}"


def curve_figure(curves: Sequence[Curve]) -> str:
    """One metric of one task for all runs: lines, intervals as bands, guessing as a dashed line."""
    task, metric = curves[0].task, curves[0].metric
    points = [point for curve in curves for point in curve.points]
    bounds = [bound for p in points for bound in (p.value, p.low, p.high) if bound is not None]
    chance = next((curve.chance for curve in curves if curve.chance is not None), None)
    bounds += [] if chance is None else [chance]
    low, high = min(bounds), max(bounds)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    first, last = min(p.step for p in points), max(p.step for p in points)

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / (last - first)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = []
    for value in nice_ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        label = number(metric, value)
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>')
    for step in nice_ticks(first, last):
        anchor = "end" if x(step) > WIDTH - 30 else "middle"
        parts.append(f'<text x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{short(step)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">step</text>')
    if chance is not None:
        parts.append(
            f'<line class="chance" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(chance):.1f}" y2="{y(chance):.1f}"/>'
        )
    for place, curve in enumerate(curves):
        colour = f"k{place % COLOURS}"
        banded = [p for p in curve.points if p.low is not None and p.high is not None]
        if len(banded) > 1:
            upper = [f"{x(p.step):.1f},{y(p.high or 0.0):.1f}" for p in banded]
            lower = [f"{x(p.step):.1f},{y(p.low or 0.0):.1f}" for p in reversed(banded)]
            parts.append(f'<polygon class="{colour}" points="{" ".join(upper + lower)}"/>')
        line = "L".join(f"{x(p.step):.1f} {y(p.value):.1f}" for p in curve.points)
        parts.append(f'<path class="{colour}" d="M{line}"/>')
        for p in curve.points:
            text = f"step {p.step}: {number(metric, p.value)}"
            if p.low is not None and p.high is not None:
                text += f" ({number(metric, p.low)} to {number(metric, p.high)})"
            at = f'cx="{x(p.step):.1f}" cy="{y(p.value):.1f}"'
            parts.append(f'<circle class="{colour}" {at} r="3"><title>{text}</title></circle>')
    keys = "".join(
        f'<span class="key"><svg width="14" height="10" aria-hidden="true"><circle class="k{place % COLOURS}" cx="7" '
        f'cy="5" r="4"/></svg><bdi>{escape(curve.run)}</bdi></span>'
        for place, curve in enumerate(curves)
    )
    name = escape(task)
    said = f"{name}, {metric}, steps {first} to {last}"
    picture = f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'
    return f"<figure><figcaption><b><bdi>{name}</bdi></b><span>{metric}</span>{keys}</figcaption>{picture}</figure>"
