"""Charts as inline SVG that fit any width without scripts.

Lengths along x are percentages, so a chart fills its box and its text keeps its size on a phone and on a wide screen;
the style sheet gives the margins for axis text. Curves are drawn in a nested, stretched picture with strokes that
keep their width. Colours come from classes, so that they follow the colour scheme; series differ in dash or shape
as well. Text from data is only ever element content, never an attribute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from . import words
from .axes import Bin, redrawn, rounded_range, short, thin, tick_texts, ticks

HEIGHT = 220  # of a plot, in pixels
SHAPES = (
    Markup('<circle r="5"/>'),
    Markup('<rect x="-4.5" y="-4.5" width="9" height="9"/>'),
    Markup('<path d="M0-6L6 0L0 6L-6 0Z"/>'),
)


@dataclass(frozen=True)
class Series:
    """A curve: points (x, y) with rising x; ``faint`` draws it thin, behind the others."""

    name: str
    points: Sequence[tuple[float, float]]
    faint: bool = False


@dataclass(frozen=True)
class Mark:
    """A value with its interval, where it has one; ``kind`` chooses shape and colour (0 the model, 1, 2 baselines)."""

    kind: int
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ForestRow:
    """A line of an interval plot: its name, what is written beside it, its marks."""

    name: str
    text: str
    marks: Sequence[Mark]
    detail: str = ""
    under: str = ""
    strong: bool = False


@dataclass
class Names:
    """Numbers the charts of a page, so that title and description can be referred to."""

    used: int = 0

    def head(self, title: str, description: str) -> tuple[Markup, Markup]:
        """Attributes and first children of an accessible picture."""
        self.used += 1
        name = f"chart-{self.used}"
        attributes = Markup('role="img" aria-labelledby="{0}-title {0}-description"').format(name)
        children = Markup('<title id="{0}-title">{1}</title><desc id="{0}-description">{2}</desc>').format(
            name, words.visible(title), words.visible(description)
        )
        return attributes, children


def _across(share: float) -> str:
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + "%"


def _horizontal_ticks(low: float, high: float, label: str) -> Markup:
    """Labels under the x axis, plus its name; the first and last stay inside the box."""
    values = ticks(low, high, 4)
    parts = []
    for value, text in zip(values, tick_texts(values), strict=True):
        share = (value - low) / (high - low) if high > low else 0.5
        anchor = "start" if share < 0.04 else "end" if share > 0.96 else "middle"
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_across(share), HEIGHT + 18, anchor, text)
        )
    parts.append(
        Markup('<text class="axis" x="100%" y="{}" text-anchor="end">{}</text>').format(HEIGHT + 36, words.label(label))
    )
    return Markup("").join(parts)


def _vertical_grid(values: Sequence[float], low: float, high: float) -> Markup:
    """Lines across with their labels left of the plot."""
    parts = []
    for value, text in zip(values, tick_texts(values), strict=True):
        y = HEIGHT * (1 - (value - low) / (high - low))
        parts.append(Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(y))
        parts.append(Markup('<text x="-8" y="{:.1f}" dy=".32em" text-anchor="end">{}</text>').format(y, text))
    return Markup("").join(parts)


def _figure(title: str, unit: str, body: Markup, legend: Markup | None = None) -> Markup:
    return Markup('<figure class="chart"><figcaption>{}<span class="unit">{}</span></figcaption>{}{}</figure>').format(
        words.visible(title), words.visible(unit), body, legend or Markup()
    )


def line_chart(
    names: Names, title: str, unit: str, x_label: str, series: Sequence[Series], *, from_zero: bool = False
) -> Markup:
    """Curves over a common x axis; points that are not finite numbers are left out (and leave a gap)."""
    finite = [
        point for curve in series for point in curve.points if math.isfinite(point[0]) and math.isfinite(point[1])
    ]
    if not finite:
        return _figure(title, unit, Markup('<p class="missing">No finite value was logged.</p>'))
    left, right = min(x for x, _ in finite), max(x for x, _ in finite)
    if 0 < left <= 0.1 * right:
        left = 0.0
    if left == right:
        left, right = left - 0.5, right + 0.5
    low, high = rounded_range([y for _, y in finite], from_zero=from_zero)
    curves, legend, described = [], [], []
    shown = 0
    for curve in series:
        style = "faint" if curve.faint else f"series series-{shown % 6}"
        shown += not curve.faint
        for stretch in _stretches(curve.points):
            coordinates = " ".join(
                f"{1000 * (x - left) / (right - left):.1f},{1000 * (high - y) / (high - low):.1f}"
                for x, y in thin(stretch)
            )
            if len(stretch) == 1:
                x, y = stretch[0]
                curves.append(
                    Markup('<circle class="dot {}" cx="{}" cy="{:.1f}" r="3"/>').format(
                        style, _across((x - left) / (right - left)), HEIGHT * (high - y) / (high - low)
                    )
                )
                continue
            curves.append(
                Markup(
                    '<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="{}">'
                    '<polyline class="{}" points="{}" vector-effect="non-scaling-stroke"/></svg>'
                ).format(HEIGHT, style, coordinates)
            )
        good = [point for point in curve.points if math.isfinite(point[1])]
        if good:
            legend.append(_key(style, curve.name, good[-1][1]))
            described.append(_described(curve.name, good, x_label))
    attributes, children = names.head(title + (f" ({unit})" if unit else ""), " ".join(described))
    body = Markup('<svg class="plot" height="{}" {}>{}{}{}{}</svg>').format(
        HEIGHT,
        attributes,
        children,
        _vertical_grid(ticks(low, high), low, high),
        _horizontal_ticks(left, right, x_label),
        Markup("").join(curves),
    )
    return _figure(title, unit, body, Markup('<ul class="legend">{}</ul>').format(Markup("").join(legend)))


def _stretches(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The points cut where a value is not a finite number."""
    result: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if math.isfinite(point[0]) and math.isfinite(point[1]):
            result[-1].append(point)
        elif result[-1]:
            result.append([])
    return [stretch for stretch in result if stretch]


def _described(name: str, points: Sequence[tuple[float, float]], x_label: str) -> str:
    lowest = min(points, key=lambda p: p[1])
    value = words.significant
    return (
        f"{words.label(name)}: {value(points[0][1])} at {x_label} {value(points[0][0])}, "
        f"{value(points[-1][1])} at {x_label} {value(points[-1][0])}, "
        f"lowest {value(lowest[1])} at {x_label} {value(lowest[0])}."
    )


def _key(style: str, name: str, last: float) -> Markup:
    """A sample of the line, its name and its last value."""
    return Markup(
        '<li><svg class="key" width="26" height="10" aria-hidden="true"><line class="{}" x1="0" x2="26" y1="5" y2="5"/>'
        "</svg>{} <b>{}</b></li>"
    ).format(style, words.label(name), words.significant(last, 4))


def histogram(
    names: Names, title: str, unit: str, x_label: str, counts: Sequence[float], edges: Sequence[float]
) -> Markup:
    """Counts over bins; the caption and each bar's title give the figures."""
    bins, logarithmic = redrawn(counts, edges)
    if not bins:
        return _figure(title, unit, Markup('<p class="missing">No value was counted.</p>'))
    slots = len(bins) + (1 if bins[-1].beyond else 0)  # an empty slot sets the last bar apart
    low, high = rounded_range([item.count for item in bins], 4, from_zero=True)
    parts = [_vertical_grid(ticks(low, high, 4), low, high)]
    for index, item in enumerate(bins):
        if item.count <= 0:
            continue
        place = slots - 1 if item.beyond else index
        height = max(1.0, HEIGHT * item.count / high)
        span = f"{words.significant(item.low)} to {words.significant(item.high)}"
        parts.append(
            Markup(
                '<rect class="bar{}" x="{}" width="{}" y="{:.1f}" height="{:.1f}"><title>{}: {}</title></rect>'
            ).format(
                " beyond" if item.beyond else "",
                _across((place + 0.06) / slots),
                _across(0.88 / slots),
                HEIGHT - height,
                height,
                span,
                words.plural(round(item.count), "value"),
            )
        )
    parts.append(_histogram_axis(bins, slots, logarithmic, x_label))
    most = max((item for item in bins if not item.beyond), key=lambda item: item.count)
    description = (
        f"From {words.significant(bins[0].low)} to {words.significant(bins[-1].high)}; most values lie from "
        f"{words.significant(most.low)} to {words.significant(most.high)}."
    )
    attributes, children = names.head(title, description)
    body = Markup('<svg class="plot" height="{}" {}>{}{}</svg>').format(
        HEIGHT, attributes, children, Markup("").join(parts)
    )
    return _figure(title, unit, body)


def _histogram_axis(bins: Sequence[Bin], slots: int, logarithmic: bool, x_label: str) -> Markup:
    regular = [item for item in bins if not item.beyond]
    low, high = regular[0].low, regular[-1].high
    scale = math.log if logarithmic else float
    if logarithmic:
        values = [m * 10.0**k for k in range(-12, 16) for m in (1.0,) if low <= m * 10.0**k <= high]
        values = values[:: max(1, math.ceil(len(values) / 5))] or [low, high]
    else:
        values = ticks(low, high, 4)
    texts = [short(value) for value in values] if logarithmic or max(map(abs, values)) >= 1e4 else tick_texts(values)
    used = len(regular) / slots
    parts = [Markup('<line class="base" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(HEIGHT)]
    for value, text in zip(values, texts, strict=True):
        share = used * (scale(value) - scale(low)) / (scale(high) - scale(low))
        if slots > len(regular) and share > 0.85:
            continue  # the place belongs to the bar beyond the axis
        anchor = "start" if share < 0.04 else "end" if share > 0.96 else "middle"
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_across(share), HEIGHT + 18, anchor, text)
        )
    if slots > len(regular):
        parts.append(
            Markup('<text x="100%" y="{}" text-anchor="end">≥ {}</text>').format(HEIGHT + 18, short(regular[-1].high))
        )
    name = x_label + (", logarithmic" if logarithmic else "")
    parts.append(Markup('<text class="axis" x="100%" y="{}" text-anchor="end">{}</text>').format(HEIGHT + 36, name))
    return Markup("").join(parts)


@dataclass(frozen=True)
class Scale:
    """The common x axis of an interval plot; ``references`` are labelled lines across all rows."""

    low: float
    high: float
    references: Sequence[tuple[float, str]] = field(default_factory=tuple)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def forest(
    names: Names, title: str, unit: str, rows: Sequence[ForestRow], scale: Scale, kinds: Mapping[int, str]
) -> Markup:
    """A horizontal interval plot: one row a name, values as shapes, intervals as lines, figures in words beside them.

    Marks beyond the axis become an arrow at its edge. ``kinds`` names the shapes of ``Mark.kind``.
    """
    values = ticks(scale.low, scale.high, 5)
    grid = Markup("").join(
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(_across(scale.share(value)))
        for value in values
    ) + Markup("").join(
        Markup(
            '<line class="reference reference-{2}" x1="{0}" x2="{0}" y1="0" y2="100%"><title>{1}</title></line>'
        ).format(_across(scale.share(value)), words.visible(name), index % 4)
        for index, (value, name) in enumerate(scale.references)
        if scale.low <= value <= scale.high
    )
    attributes, children = names.head(
        f"{title} ({unit})", "; ".join(f"{words.label(row.name)}: {row.text}" for row in rows[:8]) + "."
    )
    axis = [
        Markup('<text x="{}" y="14" text-anchor="{}">{}</text>').format(
            _across(scale.share(value)),
            "start" if scale.share(value) < 0.03 else "end" if scale.share(value) > 0.97 else "middle",
            text,
        )
        for value, text in zip(values, tick_texts(values), strict=True)
    ]
    head = Markup(
        '<div class="forest-row forest-axis"><span class="end"></span><span class="track">'
        '<svg {}>{}{}</svg></span><span class="end unit">{}</span></div>'
    ).format(attributes, children, Markup("").join(axis), words.visible(unit))
    legend = Markup("").join(
        Markup(
            '<li><svg class="key" width="26" height="14" aria-hidden="true"><g class="kind-{}">'
            '<line x1="0" x2="26" y1="7" y2="7"/><svg x="13" y="7" class="shape">{}</svg></g></svg>{}</li>'
        ).format(index, SHAPES[index], words.visible(name))
        for index, name in kinds.items()
    ) + Markup("").join(
        Markup(
            '<li><svg class="key" width="26" height="14" aria-hidden="true">'
            '<line class="reference reference-{}" x1="0" x2="26" y1="7" y2="7"/></svg>{} <b>{}</b></li>'
        ).format(index % 4, words.visible(name), words.significant(value))
        for index, (value, name) in enumerate(scale.references)
    )
    body = Markup("").join(_forest_row(row, scale, grid) for row in rows)
    return _figure(
        title, unit, Markup('<ul class="legend">{}</ul><div class="forest">{}{}</div>').format(legend, head, body)
    )


def _forest_row(row: ForestRow, scale: Scale, grid: Markup) -> Markup:
    drawn = [_mark(mark, scale, (index + 1) / (len(row.marks) + 1)) for index, mark in enumerate(row.marks)]
    return Markup(
        '<div class="forest-row{}"><span class="name"><bdi>{}</bdi>{}</span>'
        '<span class="track"><svg aria-hidden="true">{}{}</svg></span><span class="figures"><b>{}</b>{}</span></div>'
    ).format(
        " strong" if row.strong else "",
        words.label(row.name),
        Markup("<small>{}</small>").format(words.visible(row.under)) if row.under else "",
        grid,
        Markup("").join(drawn),
        words.visible(row.text),
        Markup("<small>{}</small>").format(words.visible(row.detail)) if row.detail else "",
    )


def _mark(mark: Mark, scale: Scale, y: float) -> Markup:
    if mark.value is None or not math.isfinite(mark.value):
        return Markup("")
    at = scale.share(mark.value)
    if at > 1.001 or at < -0.001:
        x, arrow = ("100%", "M-9-5L-1 0L-9 5Z") if at > 1 else ("0%", "M9-5L1 0L9 5Z")
        return Markup('<svg x="{}" y="{}" class="shape"><path class="kind-{}" d="{}"/></svg>').format(
            x, _across(y), mark.kind, arrow
        )
    line = Markup("")
    if mark.low is not None and mark.high is not None:
        ends = [_across(min(1.0, max(0.0, scale.share(value)))) for value in (mark.low, mark.high)]
        line = Markup('<line x1="{1}" x2="{2}" y1="{0}" y2="{0}"/>').format(_across(y), *ends)
    return Markup('<g class="kind-{}">{}<svg x="{}" y="{}" class="shape">{}</svg></g>').format(
        mark.kind, line, _across(at), _across(y), SHAPES[mark.kind]
    )


def share_bar(whole: float, kept: float, dropped: float = 0.0) -> Markup:
    """A bar of what is left (filled) and of what this step took away (dashed outline), out of ``whole``."""
    if whole <= 0:
        return Markup('<svg class="share" height="18" aria-hidden="true"></svg>')
    left, gone = min(1.0, kept / whole), min(1.0, dropped / whole)
    taken = (
        Markup('<rect class="gone" x="{}" width="{}" y="1.5" height="15"/>').format(_across(left), _across(gone))
        if dropped
        else Markup("")
    )
    return Markup(
        '<svg class="share" height="18" aria-hidden="true"><rect class="whole" x="0" width="100%" y="1" height="16"/>'
        '<rect class="kept" x="0" width="{}" y="1" height="16"/>{}</svg>'
    ).format(_across(left), taken)
