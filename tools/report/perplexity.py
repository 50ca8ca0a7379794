"""Bits per byte and perplexity by domain, beside the unigram model and xz, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from . import axes, charts, words
from .reading import Output

METHODS = (("model", "perplexity"), ("unigram", "baseline/unigram"), ("xz", "baseline/xz"))
SHOWN_DOMAINS = 20
Key = tuple[str, str, str]  # level, source or name of the aggregate, domain


@dataclass(frozen=True)
class Difference:
    """Model minus baseline in bits per byte; ``note`` says why there is no interval."""

    value: float
    low: float | None
    high: float | None
    note: str

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``not clear``, from the interval alone."""
        if self.low is None or self.high is None:
            return "not clear"
        return "better" if self.high < 0 else "worse" if self.low > 0 else "not clear"


@dataclass(frozen=True)
class Line:
    """A domain, source or aggregate under every method that was run."""

    level: str
    source: str
    domain: str
    results: Mapping[str, Mapping[str, Any]]
    differences: Mapping[str, Difference]

    @property
    def name(self) -> str:
        if self.level == "aggregate":
            meaning = {"micro": "All text (micro)", "macro": "Mean of domains (macro)"}
            return meaning.get(self.source, self.source)
        return self.domain if self.level == "domain" else self.source

    @property
    def first(self) -> Mapping[str, Any]:
        return next(iter(self.results.values()))


@dataclass(frozen=True)
class Perplexity:
    """All that the section shows."""

    methods: Sequence[str]
    manifest: Mapping[str, Any]
    lines: Sequence[Line]
    overall: Line | None
    forests: Sequence[Markup]
    folded: Sequence[tuple[str, Markup]]
    comparison_notes: Sequence[str]
    no_interval: int


def read(output: Output, names: charts.Names) -> Perplexity:
    """Join the results of the methods; needs those of the model or of a baseline."""
    tables: dict[str, dict[Key, Mapping[str, Any]]] = {}
    for method, folder in METHODS:
        if output.has(f"{folder}/results.json"):
            tables[method] = table(output.json(f"{folder}/results.json", method))
    if not tables:
        output.need("perplexity/results.json", "Perplexity was not measured yet")
    differences: dict[str, dict[Key, Difference]] = {}
    notes = []
    for baseline in ("unigram", "xz"):
        if output.has(f"comparison-{baseline}.json") and "model" in tables:
            data = only_pair(output.json(f"comparison-{baseline}.json", baseline))
            sign = direction(data, tables["model"])
            if sign is None:
                notes.append(f"comparison-{baseline}.json compares other results than perplexity/, so it is not shown.")
            else:
                differences[baseline] = compared(data, sign)
        elif "model" in tables:
            notes.append(f"The paired comparison with {baseline} was not made: there is no comparison-{baseline}.json.")
    keys = list(dict.fromkeys(key for rows in tables.values() for key in rows))
    lines = [
        Line(
            *key,
            {method: rows[key] for method, rows in tables.items() if key in rows},
            {baseline: rows[key] for baseline, rows in differences.items() if key in rows},
        )
        for key in keys
    ]
    lines.sort(key=order)
    forests, folded = draw(lines, list(tables), names)
    return Perplexity(
        list(tables),
        output.json_or_empty("perplexity/manifest.json"),
        lines,
        next((line for line in lines if line.level == "aggregate" and line.source == "micro"), None),
        forests,
        folded,
        notes,
        sum(line.first["bits_per_byte_low"] is None for line in lines),
    )


def table(results: Mapping[str, Any]) -> dict[Key, Mapping[str, Any]]:
    """Rows of a ``results.json`` by level, source and domain."""
    rows: dict[Key, Mapping[str, Any]] = {}
    for row in results["aggregates"]:
        rows["aggregate", row["name"], ""] = row
    for row in results["sources"]:
        rows["source", row["source"], ""] = row
    for row in results["domains"]:
        rows["domain", row["source"], row["domain"]] = row
    return rows


def only_pair(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The comparison of two results, of a file that has one by itself (version 1) or in a list."""
    pair: Mapping[str, Any] = data["comparisons"][0] if "comparisons" in data else data
    return pair


def comparison_key(row: Mapping[str, Any]) -> Key:
    """The key of a comparison's row; an aggregate's name may stand in either field."""
    if row["level"] == "aggregate":
        return "aggregate", row["source"] or row["domain"] or "micro", ""
    return row["level"], row["source"], (row["domain"] or "") if row["level"] == "domain" else ""


def direction(data: Mapping[str, Any], model: Mapping[Key, Mapping[str, Any]]) -> int | None:
    """1 where ``a`` is the model whose results are shown, −1 where ``b`` is, None where neither."""
    for sign, side in ((1, "a"), (-1, "b")):
        same = [
            math.isclose(row[side], model[comparison_key(row)]["bits_per_byte"], rel_tol=1e-6)
            for row in data["rows"]
            if comparison_key(row) in model
        ]
        if same and all(same):
            return sign
    return None


def compared(data: Mapping[str, Any], sign: int) -> dict[Key, Difference]:
    """Differences model − baseline."""
    result = {}
    for row in data["rows"]:
        low, high = row["low"], row["high"]
        if sign < 0:
            low, high = (None if high is None else -high), (None if low is None else -low)
        result[comparison_key(row)] = Difference(sign * row["difference"], low, high, row["interval"])
    return result


def order(line: Line) -> tuple[int, str, float, str]:
    """Aggregates, then sources, then the domains of each source from the easiest to the hardest."""
    level = {"aggregate": 0, "source": 1, "domain": 2}[line.level]
    if level == 0:
        return level, "", 0.0 if line.source == "micro" else 1.0, line.source
    return level, line.source if level == 2 else "", line.first["bits_per_byte"], line.name


def draw(
    lines: Sequence[Line], methods: Sequence[str], names: charts.Names
) -> tuple[list[Markup], list[tuple[str, Markup]]]:
    """A plot of aggregates and sources, and one of the domains of each source; small domains fold."""
    overall = [line for line in lines if line.level != "domain"]
    shown = [chart(overall, "All text and sources", methods, names)] if overall else []
    folded = []
    for source in dict.fromkeys(line.source for line in lines if line.level == "domain"):
        domains = [line for line in lines if line.level == "domain" and line.source == source]
        largest = sorted(domains, key=lambda line: (-line.first["bytes"], line.name))[:SHOWN_DOMAINS]
        first = [line for line in domains if line in largest]
        rest = [line for line in domains if line not in largest]
        title = f"Domains of {words.label(source)}" + (f", the {SHOWN_DOMAINS} largest" if rest else "")
        shown.append(chart(first, title, methods, names))
        if rest:
            count = words.plural(len(rest), "smaller domain")
            name = words.label(source)
            folded.append((f"{count} of {name}", chart(rest, f"Smaller domains of {name}", methods, names)))
    return shown, folded


def chart(lines: Sequence[Line], title: str, methods: Sequence[str], names: charts.Names) -> Markup:
    """An interval plot in bits per byte; a method keeps its shape and colour whichever others were run."""
    kinds = {kind: method for kind, (method, _) in enumerate(METHODS) if method in methods}
    rows = [
        charts.ForestRow(
            name=line.name,
            text=main_figure(line),
            detail=" · ".join(
                f"{method} {words.decimal(line.results[method]['bits_per_byte'])}"
                for method in methods[1:]
                if method in line.results
            ),
            under=under(line),
            marks=[
                charts.Mark(
                    kind,
                    line.results[method]["bits_per_byte"],
                    line.results[method]["bits_per_byte_low"],
                    line.results[method]["bits_per_byte_high"],
                )
                if method in line.results
                else charts.Mark(kind, None)
                for kind, method in kinds.items()
            ],
            strong=line.level == "aggregate",
        )
        for line in lines
    ]
    return charts.forest(names, title, "bits per byte", rows, scale(lines, methods), kinds)


def under(line: Line) -> str:
    """How much text it is, and why there is no interval where there is none."""
    text = f"{words.plural(line.first['documents'], 'document')}, {words.size(line.first['bytes'])}"
    return text if line.first["bits_per_byte_low"] is not None else f"{text}; {no_interval(line.first['interval'])}"


def scale(lines: Sequence[Line], methods: Sequence[str]) -> charts.Scale:
    """An axis over all values but the few that would crush the rest; those get an arrow at its edge."""
    values = sorted(
        value
        for line in lines
        for method in methods
        if method in line.results
        for value in (
            line.results[method]["bits_per_byte_low"],
            line.results[method]["bits_per_byte"],
            line.results[method]["bits_per_byte_high"],
        )
        if value is not None and math.isfinite(value)
    )
    middle = values[len(values) // 2]
    typical = [value for value in values if value <= 3 * middle] or values
    return charts.Scale(*axes.rounded_range(typical, 6))


def main_figure(line: Line) -> str:
    """The first method's figure with its interval where it has one."""
    row = line.first
    span = words.interval(row["bits_per_byte_low"], row["bits_per_byte_high"], 2)
    value = words.decimal(row["bits_per_byte"])
    return f"{value} ({span})" if span else value


def no_interval(method: str) -> str:
    """Why there is no interval, so that it reads alone."""
    return "no interval: " + method.removeprefix("none: ")
