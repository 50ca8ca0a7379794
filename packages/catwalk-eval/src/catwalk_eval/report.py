"""What `catwalk-eval report` says of one or many runs: as text, as Markdown, as a page."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import published
from .compare import comparison
from .config import CompareConfig, ReportConfig
from .curves import Curve, curves, step_of
from .errors import UserError
from .files import atomic_write
from .predictions import Run, load_runs, metrics_of
from .provenance import recorded
from .scores import ACCURACIES
from .table import comparison_cells, comparison_table, metrics_cells, metrics_table, number, render

log = logging.getLogger(__name__)
PAIRED_AT_MOST = 4  # more runs are compared with the first alone, more checkpoints of one run not at all


@dataclass(frozen=True)
class Report:
    """Everything that the texts and the page are made of."""

    runs: tuple[Run, ...]
    metrics: tuple[Mapping[str, Any], ...]
    comparison: Mapping[str, Any] | None
    problems: tuple[str, ...]
    """Why runs and tasks are not compared that could have been."""
    curves: tuple[Curve, ...]


def folders(roots: Sequence[Path]) -> list[Path]:
    """Predictions folders: those given, and those inside a given folder that is none; in the order of their steps."""
    found: list[Path] = []
    for root in roots:
        if root.is_dir() and not (root / "manifest.json").is_file():
            inside = [path.parent for path in root.glob("*/manifest.json")]
            if not inside:
                raise UserError("no predictions here", where=root, fix="give the --output of `catwalk-eval run`")
            found += sorted(inside, key=lambda path: (step_of({}, path) or ("", 0), path.name))
        else:
            found.append(root)
    return list(dict.fromkeys(found))


def collect(roots: Sequence[Path]) -> Report:
    """Read runs and derive everything from their rows."""
    if not roots:
        raise UserError("no run is named", fix="give one or more predictions folders")
    runs = load_runs(folders(roots))
    metrics = [metrics_of(run) for run in runs]
    steps = [step_of(run.manifest["model"], run.root) for run in runs]
    result: dict[str, Any] | None = None
    problems: list[str] = []
    of_one_run = None not in steps and len({place[0] for place in steps if place is not None}) == 1
    if len(runs) > 1 and not (of_one_run and len(runs) > PAIRED_AT_MOST):
        pairs = CompareConfig(pairs="all" if len(runs) <= PAIRED_AT_MOST else "first")
        result = comparison(runs, pairs, problems)
        result = result if result["rows"] else None
    found = curves(list(zip(steps, metrics, strict=True)))
    return Report(tuple(runs), tuple(metrics), result, tuple(dict.fromkeys(problems)), tuple(found))


def report(roots: Sequence[Path], config: ReportConfig) -> str:
    """The terminal's tables; writes Markdown and the page where they are asked for."""
    found = collect(roots)
    targets = [path for path in (config.markdown, config.html) if path is not None]
    if targets:
        inputs = [run.root for run in found.runs]
        with recorded("catwalk-eval", "report", folder=targets[0].parent, config=config, inputs=inputs) as record:
            if config.markdown is not None:
                write(config.markdown, markdown(found))
            if config.html is not None:
                from .page import page

                write(config.html, page(found))
            record.outputs += targets
    return text(found)


def write(path: Path, content: str) -> None:
    """A text file, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(content.encode())
    log.info("%s: written", path)


def text(found: Report) -> str:
    """Tables for the terminal."""
    parts = []
    for run, metrics in zip(found.runs, found.metrics, strict=True):
        parts += [run.name, metrics_table(metrics), ""]
    if found.comparison is not None:
        parts += ["Comparison", comparison_table(found.comparison), ""]
    parts += [f"Not compared: {problem}" for problem in found.problems]
    parts += [""] if found.problems else []
    if found.curves:
        columns, rows = curve_cells(found.curves)
        parts += ["Learning curves", render(columns, rows, left=3), ""]
    for columns, rows in published_cells(found):
        parts += [render(columns, rows), ""]
    if published_cells(found):
        parts += [published.SOURCE, published.CAVEAT]
    return "\n".join(parts).rstrip()


def curve_cells(found: Sequence[Curve]) -> tuple[list[str], list[list[str]]]:
    """A row a curve, a column a step: value ± half the interval."""
    steps = sorted({point.step for curve in found for point in curve.points})
    rows = []
    for curve in found:
        at = {point.step: point for point in curve.points}
        cells = []
        for step in steps:
            point = at.get(step)
            if point is None:
                cells.append("-")
            elif point.low is None or point.high is None:
                cells.append(number(curve.metric, point.value))
            else:
                half = (point.high - point.low) / 2
                cells.append(f"{number(curve.metric, point.value)} ±{number(curve.metric, half)}")
        rows.append([curve.task, curve.metric, curve.run, *cells])
    return ["task", "metric", "run", *(f"step {step}" for step in steps)], rows


def accuracies(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What published zero-shot accuracies can be set beside: that of each task run without examples, in percent.

    It is the primary metric where that is an accuracy, ``acc_raw`` where F1 is.
    """
    found = {}
    for name, task in metrics["tasks"].items():
        metric = "acc_raw" if task["primary_metric"] == "f1" else task["primary_metric"]
        if task["shots"] == 0 and metric in ACCURACIES:
            found[name] = 100 * task["metrics"][metric]["value"]
    return found


def published_cells(found: Report) -> list[tuple[list[str], list[list[str]]]]:
    """Published figures with the runs beside them, for the tasks that any run has."""
    values = [accuracies(metrics) for metrics in found.metrics]
    tables = []
    for tasks, rows in published.comparable({task: value for run in values for task, value in run.items()}):
        cells = [[name, *("-" if value is None else f"{value:.1f}" for value in row)] for name, row in rows]
        for run, own in zip(found.runs, values, strict=True):
            cells.append([f"> {run.name}", *(f"{own[task]:.1f}" if task in own else "-" for task in tasks)])
        tables.append((["zero-shot, percent", *tasks], cells))
    return tables


def markdown(found: Report) -> str:
    """The same as Markdown."""
    parts = ["# Evaluation"]
    for run, metrics in zip(found.runs, found.metrics, strict=True):
        columns, rows, notes = metrics_cells(metrics)
        parts += [f"## {plain(run.name)}", about(run), pipes(columns, rows), *(plain(note) for note in notes)]
    if found.comparison is not None:
        columns, rows, notes = comparison_cells(found.comparison)
        names = [entry["name"] for entry in found.comparison["runs"]]
        sides = "" if len(names) > 2 else f"a: {plain(names[0])}, b: {plain(names[1])}. "
        parts += ["## Comparison", sides + PAIRED, pipes(columns, rows), *(plain(note) for note in notes)]
    parts += [f"Not compared: {plain(problem)}" for problem in found.problems]
    if found.curves:
        parts += ["## Learning curves", pipes(*curve_cells(found.curves))]
    tables = published_cells(found)
    if tables:
        parts += ["## Published figures", *(pipes(*table) for table in tables), published.SOURCE, published.CAVEAT]
    return "\n\n".join(parts) + "\n"


PAIRED = "Paired on the same items, 95 % intervals, p values adjusted by Holm. Shares in percent."


def about(run: Run, *, escaped: bool = True) -> str:
    """How a run was made, in one line; ``escaped`` for Markdown."""
    manifest = run.manifest
    known = [("dtype", "dtype"), ("boundary", "boundary"), ("longest input", "maximum_length")]
    facts = [f"{name} {manifest[key]}" for name, key in known if key in manifest]
    precision = manifest.get("precision")
    if isinstance(precision, dict) and isinstance(precision.get("close"), dict):
        close = sum(count for count in precision["close"].values() if isinstance(count, int))
        facts.append(f"{close} predictions with a margin under {precision.get('tolerance')}")
    line = ", ".join([*facts, str(manifest["model"].get("digest", ""))[:19]])
    return plain(line) if escaped else line


def plain(value: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    line = " ".join(value.split())
    return "".join("\\" + sign if sign in "\\`*_{}[]<>#|!~$&" else sign for sign in line)


def pipes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell if k == 1 else plain(cell) for cell in row) + " |" for k, row in enumerate(lines)
    )
