"""Several results side by side: what a report shows, read from their folders alone."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .alike import check_alike, made_as
from .config import ReportConfig
from .errors import UserError
from .files import atomic_write, read_json, read_lines
from .results import Description, read_results
from .table import limit_line, number, render, settings_lines
from .worst import WORST_FILE

log = logging.getLogger(__name__)
WORST_ROW: dict[str, Any] = dict.fromkeys(("source", "domain", "id", "text"), str)
WORST_ROW |= {"bits_per_byte": float, "tokens": int, "ends": list, "log_probabilities": list}
VOCABULARY_ROW: dict[str, Any] = {"token_id": int, "count": int, "log_probability": (int, float)}
Domain = tuple[str, str]


@dataclass(frozen=True)
class Result:
    """One folder of results."""

    path: Path
    name: str
    description: Description
    results: dict[str, Any]
    worst: list[dict[str, Any]]
    vocabulary: list[dict[str, Any]]

    def domains(self) -> dict[Domain, dict[str, Any]]:
        return {(row["source"], row["domain"]): row for row in self.results["domains"]}


def read_result(path: Path) -> Result:
    """A folder that ``run`` or ``baseline`` wrote."""
    description, _ = read_results(path)
    results = read_json(path / "results.json")
    if not isinstance(results, dict) or not isinstance(results.get("domains"), list):
        raise UserError("the results are not whole", where=path / "results.json", fix="run it again")
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, kinds in (WORST_FILE, WORST_ROW), ("vocabulary.jsonl.gz", VOCABULARY_ROW):
        there = read_lines(path / name) if (path / name).is_file() else ()
        rows[name] = [read_row(data, kinds, path / name, line) for line, data in there]
    return Result(path, description.name(), description, results, rows[WORST_FILE], rows["vocabulary.jsonl.gz"])


def read_row(data: bytes, kinds: dict[str, Any], where: Path, line: int) -> dict[str, Any]:
    """A row with these keys and kinds of values; another is a UserError."""
    try:
        row = json.loads(data)
        if not isinstance(row, dict) or not all(isinstance(row.get(key), kind) for key, kind in kinds.items()):
            raise ValueError("another kind of row")
        if len({len(row[key]) for key, kind in kinds.items() if kind is list}) > 1:
            raise ValueError("lists of two lengths")
    except (ValueError, RecursionError) as error:
        raise UserError("not a row of results", where=where, line=line, fix="run it again") from error
    return row


def read_all(paths: Sequence[Path]) -> list[Result]:
    """Results of one suite, split, limit and format; others are a UserError."""
    if not paths:
        raise UserError("no results were given", fix="give the folders that run or baseline wrote")
    found = [read_result(path) for path in paths]
    names = [result.name for result in found]
    found = [
        result if names.count(result.name) == 1 else replace(result, name=f"{result.name} ({result.path.name})")
        for result in found
    ]
    check_alike(paths, [result.description for result in found])
    levels = list(dict.fromkeys(str(result.results.get("confidence", "not said")) for result in found))
    if len(levels) > 1:
        log.warning("the levels of the intervals differ: %s; rescore --confidence makes them alike", ", ".join(levels))
    return found


def by_fit(found: Sequence[Result]) -> list[Domain]:
    """Domains from the best fitted to the worst: by the median of their bits per byte over the results."""
    tables = [result.domains() for result in found]
    values = {
        key: statistics.median(table[key]["bits_per_byte"] for table in tables if key in table)
        for key in dict.fromkeys(key for table in tables for key in table)
    }
    return sorted(values, key=lambda key: (values[key], key))


@dataclass(frozen=True)
class Curve:
    """Results that differ in how long or how large a model was trained, in rising order of ``over``."""

    name: str
    over: str  # tokens, steps or parameters
    points: list[tuple[int, Result]]


def curves(found: Sequence[Result]) -> list[Curve]:
    """The checkpoints of each run, by the tokens seen where all results say how many, else by their steps; and, where
    there are models of several sizes, the last of each run by its parameters. A model whose step is not known, or
    whose run is not named, stands alone."""
    runs: dict[str, list[tuple[int, Result]]] = {}
    alone: list[Result] = []
    for result in found:
        run, revision = result.description.revision_of()
        step = result.description.step()
        if result.description.method != "model":
            continue
        if step is None or revision is None:
            alone.append(result)
        else:
            runs.setdefault(run, []).append((step, result))
    seen = {name: [result.description.told("tokens_seen") for _, result in points] for name, points in runs.items()}
    over = "steps" if any(tokens is None for counts in seen.values() for tokens in counts) else "tokens"
    if over == "tokens":
        runs = {name: [(tokens or 0, result) for tokens, (_, result) in zip(seen[name], points, strict=True)]
                for name, points in runs.items()}  # fmt: skip
    runs = {name: sorted(points, key=lambda point: point[0]) for name, points in runs.items()}
    several = [Curve(name, over, points) for name, points in runs.items()]
    last = [points[-1][1] for points in runs.values()] + alone
    sizes = sorted(
        ((result.description.told("parameters") or 0, result) for result in last), key=lambda point: point[0]
    )
    several.append(Curve("sizes of models", "parameters", [point for point in sizes if point[0]]))
    return [curve for curve in several if len({at for at, _ in curve.points}) == len(curve.points) > 1]


def report_table(found: Sequence[Result]) -> str:
    """Aggregates, then domains from the best fitted to the worst, in bits per byte."""
    names = [result.name for result in found]
    both = len(found) == 2
    header = ["source", "domain", "documents", *names, *(["difference"] if both else [])]
    rows = []

    def line(source: str, domain: str, values: Sequence[dict[str, Any] | None]) -> list[str]:
        first = next(value for value in values if value is not None)
        bits = [None if value is None else float(value["bits_per_byte"]) for value in values]
        cells = [source, domain, f"{first['documents']:,}", *(number(value, ".4f") for value in bits)]
        apart = bits[0] - bits[-1] if both and bits[0] is not None and bits[-1] is not None else None
        return [*cells, *([number(apart, "+.4f")] if both else [])]

    aggregates = [{row["name"]: row for row in result.results["aggregates"]} for result in found]
    rows += [line(f"({name})", "", [each.get(name) for each in aggregates]) for name in aggregates[0]]
    tables = [result.domains() for result in found]
    rows += [line(*key, [table.get(key) for table in tables]) for key in by_fit(found)]
    settings = settings_lines([{"name": result.name, **made_as(result.description)} for result in found])
    title = limit_line(found[0].description.limit) + "bits per byte, domains from the best fitted to the worst"
    return f"{title}\n{render(header, rows, text_columns=2)}\n{settings}"


def report(paths: Sequence[Path], config: ReportConfig) -> str:
    """The table; with ``html`` also the page."""
    found = read_all(paths)
    if config.html is not None:
        from .page import page

        with atomic_write(config.html) as stream:
            stream.write(page(found).encode())
    return report_table(found)
