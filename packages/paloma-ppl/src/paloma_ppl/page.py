"""One HTML file that shows results side by side. It loads nothing, has no script, and no text in it can do anything."""

from __future__ import annotations

import base64
import hashlib
import math
import statistics
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from .alike import made_as
from .charts import Point, lines, mark, scatter, span
from .compare import check_documents
from .curves import curves_of
from .metrics import LN_2
from .report import Curve, Domain, Result, by_fit, curves
from .results import read
from .table import bounds, by_rate, how_made, level_of, number, perplexity, plain, short

SHADES = 7
CONFIDENCE = 0.95  # of intervals that the report forms itself
SHOWN_TYPES = 1500
SHOWN_DOMAINS = 200  # whose worst documents are shown, from the worst fitted on


def visible(text: str) -> str:
    """Escaped, with its hidden characters shown by number."""
    return escape(plain(text))


def page(found: Sequence[Result]) -> str:
    """The whole page."""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    order = by_fit(found)
    sections = [
        ("results", "Aggregates and sources", overview(found)),
        ("domains", "Domains by fit", domains(found, order)),
        ("scatter", "Two models", pair(found, order)),
        ("positions", "Position in the window", positions(found)),
        ("types", "Vocabulary types", types(found)),
        ("curves", "Over training and size", training(found)),
        ("worst", "Worst documents", worst(found, order)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "".join(f'<section id="{name}"><h2>{title}</h2>{content}</section>' for name, title, content in sections)
    runs = "".join(
        f"<li><b><bdi>{visible(result.name)}</bdi></b> <span><bdi>{visible(about(result))}</bdi></span></li>"
        for result in found
    )
    names = visible(", ".join(result.name for result in found)[:120])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>Perplexity: {names}</title><style>{style}</style></head><body>"
        f'<div class="wrap"><h1>Perplexity by domain</h1><ul class="runs">{runs}</ul></div>'
        f'<nav aria-label="Sections"><div class="wrap">{links}</div></nav><main class="wrap">{body}</main>'
        "</body></html>\n"
    )


def about(result: Result) -> str:
    known = result.description
    parts = [known.suite, known.split, how_made(made_as(known))]
    parts += [] if known.limit is None else [f"LIMITED to {known.limit} documents"]
    return ", ".join(parts)


def table(header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], label: str, left: int = 2) -> str:
    """``header`` is plain text, cells are HTML."""
    kinds = [' class="t"' if k < left else "" for k in range(len(header))]
    head = "".join(
        f'<th scope="col"{kind}><bdi>{visible(name)}</bdi></th>' for kind, name in zip(kinds, header, strict=True)
    )
    body = "".join(
        f'<tr class="{kind}">{"".join(f"<td{kinds[k]}>{cell}</td>" for k, cell in enumerate(cells))}</tr>'
        for kind, cells in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def named(text: str) -> str:
    return f"<bdi>{visible(text)}</bdi>"


def legend(names: Sequence[str]) -> str:
    """What the colours stand for; after the last they begin anew, hollow or dashed."""
    keys = "".join(f"<li>{swatch(place)} {named(name)}</li>" for place, name in enumerate(names))
    return f'<ul class="key">{keys}</ul>'


def swatch(place: int) -> str:
    return f'<svg viewBox="0 0 10 10" aria-hidden="true"><circle class="{mark(place)}" cx="5" cy="5" r="4"/></svg>'


def measured(row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return ["-", "-"]
    return [f"{row['bits_per_byte']:.4f}", perplexity(row["perplexity"])]


def overview(found: Sequence[Result]) -> str:
    header = ["set", "documents", *(f"{result.name}: {kind}" for result in found for kind in ("bits/byte", "ppl"))]
    rows: list[tuple[str, Sequence[str]]] = []
    for level, key, kind in (("aggregates", "name", "sum"), ("sources", "source", "")):
        tables = [{row[key]: row for row in result.results[level]} for result in found]
        for name in dict.fromkeys(name for each in tables for name in each):
            values = [each.get(name) for each in tables]
            count = next(value["documents"] for value in values if value is not None)
            cells = [named(name), f"{count:,}", *(cell for value in values for cell in measured(value))]
            rows.append((kind, cells))
    return table(header, rows, "Aggregates and sources", left=1)


def domains(found: Sequence[Result], order: Sequence[Domain]) -> str:
    tables = [result.domains() for result in found]
    values = [row["bits_per_byte"] for each in tables for row in each.values()]
    most = min(max(values), 3 * statistics.median(values)) * 1.05 or 1.0  # one odd domain leaves room for the others
    shown = len(found) <= 3
    header = ["domain", "source", "documents"]
    for result in found:
        header += [result.name, level_of(result.results.get("confidence"))] if shown else [result.name]
    header += ["difference"] if len(found) == 2 else []
    rows: list[tuple[str, Sequence[str]]] = []
    for key in order:
        measured_by = [each.get(key) for each in tables]
        count = next(value["documents"] for value in measured_by if value is not None)
        cells = [named(key[1]), named(key[0]), f"{count:,}"]
        for place, value in enumerate(measured_by):
            cells.append("-" if value is None else f"{value['bits_per_byte']:.4f}")
            if shown:
                cells.append("" if value is None else picture(value, most, place))
        if len(found) == 2:
            a, b = measured_by
            cells.append("-" if a is None or b is None else f"{a['bits_per_byte'] - b['bits_per_byte']:+.4f}")
        rows.append(("", cells))
    note = (
        "Bits per byte, best fitted first (median over the results). Lines are intervals over documents, on a scale "
        f"from 0 to {most:.3g}; what lies beyond stands at its end."
    )
    return f"<p>{note}</p>" + table(header, rows, "Domains by fit")


def picture(row: dict[str, Any], most: float, colour: int) -> str:
    return span(row["bits_per_byte"], row["bits_per_byte_low"], row["bits_per_byte_high"], most, colour)


def pair(found: Sequence[Result], order: Sequence[Domain]) -> str:
    if len(found) < 2:
        return ""
    a, b = found[0], found[-1]
    left, right = a.domains(), b.domains()
    sources = list(dict.fromkeys(source for source, _ in order))
    points = [
        Point(
            left[key]["bits_per_byte"],
            right[key]["bits_per_byte"],
            sources.index(key[0]),
            visible(f"{key[1]} ({key[0]}): {left[key]['bits_per_byte']:.4f}, {right[key]['bits_per_byte']:.4f}"),
        )
        for key in order
        if key in left and key in right and left[key]["bits_per_byte"] > 0 < right[key]["bits_per_byte"]
    ]
    if not points:
        return ""
    drawn = scatter(
        points,
        (f"bits per byte, {plain(a.name)}", f"bits per byte, {plain(b.name)}"),
        logarithm=(True, True),
        diagonal=True,
    )
    note = "A point a domain, coloured by source. Below the dashed line the second model fits better."
    return f'<p>{note}</p>{legend(sources)}<div class="charts"><figure>{drawn}</figure></div>'


def types(found: Sequence[Result]) -> str:
    drawn = []
    for place, result in enumerate(found[:4]):
        rows = [row for row in result.vocabulary if row["log_probability"] < 0]
        rows = sorted(rows, key=lambda row: row["log_probability"])[:SHOWN_TYPES]
        if rows:
            losses = [(row["token_id"], row["count"], -row["log_probability"] / row["count"]) for row in rows]
            points = [
                Point(count, loss, place, f"token {token}: {count:,} times, {loss:.3f} nats")
                for token, count, loss in losses
            ]
            title = f"mean loss of a vocabulary type in nats, {plain(result.name)}"
            drawn.append(f"<figure>{scatter(points, ('occurrences', title), logarithm=(True, False))}</figure>")
    if not drawn:
        return ""
    note = f"The {SHOWN_TYPES:,} types with the largest share of the loss: few frequent types carry most of it."
    return f'<p>{note}</p><div class="charts">{"".join(drawn)}</div>'


def positions(found: Sequence[Result]) -> str:
    """Over all sources, once of all windows and once of whole ones, then each source over all windows."""
    rows = [
        (place, result.name, row) for place, result in enumerate(found) for row in result.results.get("positions", ())
    ]
    figures = []
    for source in dict.fromkeys(row["source"] for _, _, row in rows):
        kinds = (("loss", "all windows"), ("whole_loss", "whole windows"))
        for kind, windows in kinds if source is None else kinds[:1]:
            series: dict[int, list[Point]] = {}
            for place, name, row in rows:
                if row["source"] == source and row[kind] is not None:
                    middle = math.sqrt((row["first"] + 1) * (row["last"] + 1))
                    said = visible(f"{name}, {row['first']} to {row['last']}: {row[kind]:.4f}")
                    series.setdefault(place, []).append(Point(middle, row[kind], place, said))
            if series:
                title = f"nats per token, {plain(windows if source is None else source)}"
                drawn = lines(list(series.values()), ("ids that a token is predicted from", title), logarithm=True)
                figures.append(f"<figure>{drawn}</figure>")
    if not figures:
        return ""
    note = (
        "Mean loss of the tokens at a position, in bins of doubling width. Late positions are reached by long "
        "documents alone; whole windows hold every position, so that their curve shows what context gives."
    )
    key = legend([result.name for result in found])
    return f'<p>{note}</p>{key}<div class="charts">{"".join(figures)}</div>'


def training(found: Sequence[Result]) -> str:
    """Curves over training, one figure a set of text, then rates; the same over sizes of models."""
    drawn = curves(found)
    parts = []
    for over in dict.fromkeys(curve.over for curve in drawn):
        members = [curve for curve in drawn if curve.over == over]
        rows = [row for curve in members for _, result in curve.points for row in result.results["sources"]]
        places = [at for curve in members for at, _ in curve.points]
        decades = len({at for at in places if at > 0}) > 1  # untrained models have no place on such an axis
        sets = [("aggregates", "name", "micro"), ("aggregates", "name", "macro")]
        sets += [("sources", "source", source) for source in dict.fromkeys(row["source"] for row in rows)]
        figures = []
        for level, key, name in sets:
            series = []
            for place, curve in enumerate(members):
                values = [(at, next((row for row in result.results[level] if row[key] == name), None))
                          for at, result in curve.points]  # fmt: skip
                series.append([
                    Point(at, row["bits_per_byte"], place, visible(f"{curve.name}, {at:,}: {row['bits_per_byte']:.4f}"))
                    for at, row in values if row is not None and (at > 0 or not decades)
                ])  # fmt: skip
            title = f"bits per byte, {plain(name)}"
            drawn_lines = lines([points for points in series if points], (over, title), logarithm=decades)
            figures.append(f"<figure>{drawn_lines}</figure>")
        key = legend([curve.name for curve in members])
        left_out = "<p>What has seen no training is not drawn.</p>" if decades and 0 in places else ""
        parts.append(f'<h3>Over {over}</h3>{left_out}{key}<div class="charts">{"".join(figures)}</div>')
        parts += [rates(curve) for curve in members]
    return "".join(parts)


def rates(curve: Curve) -> str:
    """Improvement rates of the sets of a curve, domains by their rate."""
    if sum(at > 0 for at, _ in curve.points) < 2:
        return ""
    paths = [result.path for _, result in curve.points]
    readings = [read(path) for path in paths]
    check_documents(paths, readings)
    found = curves_of([float(at) for at, _ in curve.points], readings, curve.over, CONFIDENCE)
    header = ["set", "source", "first", "last", "rate", level_of(CONFIDENCE)]
    rows: list[tuple[str, Sequence[str]]] = []
    for row in by_rate(found["rows"]):
        first = next(value for value, (at, _) in zip(row["bits_per_byte"], curve.points, strict=True) if at > 0)
        cells = [named(row["domain"] or "(all)"), named(row["source"] or "")]
        cells += [f"{first:.4f}", f"{row['bits_per_byte'][-1]:.4f}"]
        cells += [number(row["rate"], "+.4f"), bounds(row["rate_low"], row["rate_high"], "+.4f")]
        rows.append(("sum" if row["level"] == "aggregate" else "", cells))
    note = (
        f"{named(curve.name)}: by how much the logarithm of the loss falls while {curve.over} grow tenfold, from "
        f"{short(found['rate_from'])} to {short(found['rate_to'])}; documents are drawn for both points at once."
    )
    return f"<p>{note}</p>" + table(header, rows, "Improvement rates")


def worst(found: Sequence[Result], order: Sequence[Domain]) -> str:
    shown = [result for result in ([found[0], found[-1]] if len(found) > 1 else found) if result.worst]
    if not shown:
        return ""
    note = (
        "The documents of each domain with the most bits per byte, worst fitted domain first. The darker a token, the "
        "larger its loss: a shade is one nat, the last seven and more. The pointer shows it."
    )
    parts = [f"<p>{note}</p>"]
    for result in shown:
        rows: dict[Domain, list[dict[str, Any]]] = {}
        for row in result.worst:
            rows.setdefault((row["source"], row["domain"]), []).append(row)
        parts.append(f"<h3>{named(result.name)}</h3>")
        for key in [key for key in reversed(order) if key in rows][:SHOWN_DOMAINS]:
            documents = "".join(document(row) for row in rows[key])
            parts.append(f"<details><summary>{named(key[1])} ({named(key[0])})</summary>{documents}</details>")
    return "".join(parts)


def document(row: dict[str, Any]) -> str:
    """The text with the loss of its tokens; tokens of one character are taken together."""
    pieces = []
    begin, loss = 0, 0.0
    ends = row["ends"]
    for place, (end, value) in enumerate(zip(ends, row["log_probabilities"], strict=True)):
        loss -= value
        if place + 1 < len(ends) and (ends[place + 1] == end or end == begin):
            continue
        shade = min(SHADES, int(loss))
        kind = f' class="l{shade}"' if shade else ""
        pieces.append(f'<span{kind} title="{loss:.2f} nats">{visible(row["text"][begin:end])}</span>')
        begin, loss = end, 0.0
    total = -sum(row["log_probabilities"]) / LN_2
    rest = row["tokens"] - len(ends)
    more = f", {rest:,} more tokens are not shown" if rest else ""
    head = f"{named(row['id'])}: {row['bits_per_byte']:.3f} bits per byte, {total:,.0f} bits shown{more}"
    return f'<h3>{head}</h3><div class="text" dir="auto">{"".join(pieces)}</div>'
