"""Comparing runs on the same items: paired differences, exact tests, correction for their number."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .config import CompareConfig
from .errors import UserError
from .files import write_json
from .intervals import (
    CONFIDENCE,
    Estimate,
    average_of_differences,
    detectable_difference,
    paired_difference,
    spread,
    student,
    t_p_value,
)
from .metrics import domain_spreads, domains_of
from .predictions import Run, load_runs
from .provenance import recorded
from .scores import ACCURACIES, SHARES, Choices, Value, applies, positive_index, value_of
from .statistics import difference_multiples, holm, sign_flip_p_value
from .suites import Member, by_source, source_of, spread_of_sum

VERSION = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """A task of a comparison: its row, its estimate, and what it adds to the mean over tasks."""

    row: Mapping[str, Any]
    estimate: Estimate
    member: Member


def compare(roots: Sequence[Path], config: CompareConfig) -> dict[str, Any]:
    """Paired comparison of predictions artifacts on the tasks that a pair of them holds; differences are a − b.

    Accuracies: Bonett-Price interval and exact sign-flip test. Other metrics: Student's paired t. Where instances share
    clusters all of it is by cluster. p values are adjusted for the number of tasks and pairs (Holm 1979). With
    ``config.output`` it is written there, and its record beside it.
    """
    if len(roots) < 2:
        raise UserError("one run cannot be compared", fix="give two or more predictions folders")
    if config.output is None:
        return comparison(load_runs(roots), config)
    with recorded("catwalk-eval", "compare", folder=config.output.parent, config=config, inputs=list(roots)) as record:
        result = comparison(load_runs(roots), config)
        write_json(config.output, result)
        record.outputs.append(config.output)
        record.counts = {"comparisons": len(result["rows"])}
    return result


def comparison(runs: Sequence[Run], config: CompareConfig, skipped: list[str] | None = None) -> dict[str, Any]:
    """What ``compare`` says. With ``skipped``, what cannot be compared is named there and left out."""
    rows: list[dict[str, Any]] = []
    suites: list[dict[str, Any]] = []
    notes: list[str] = []
    numbers = range(len(runs))
    for a, b in combinations(numbers, 2) if config.pairs == "all" else ((a, 0) for a in numbers[1:]):
        found = []
        with passing(skipped):
            for task in common_tasks(runs[a], runs[b]):
                with passing(skipped):
                    left, right = runs[a].task(task), runs[b].task(task)
                    check_same(task, runs[a], runs[b], left, right)
                    notes += unlike(task, runs[a], runs[b], left, right)
                    found.append(compare_task(task, (runs[a], runs[b]), (left, right), config.metric))
        rows += [{"run_a": a, "run_b": b, **one.row} for one in found]
        suite = suite_difference(found)
        if suite is not None:
            suites.append({"run_a": a, "run_b": b, **suite})
    adjusted = holm({k: row["p_value"] for k, row in enumerate(rows) if row["p_value"] is not None})
    for number, row in enumerate(rows):
        row["p_value_holm"] = adjusted.get(number)
    adjusted = holm({k: suite["p_value"] for k, suite in enumerate(suites) if suite["p_value"] is not None})
    for number, suite in enumerate(suites):
        suite["p_value_holm"] = adjusted.get(number)
    models = [{**dict(run.manifest["model"]), "name": run.name} for run in runs]
    return {
        "format_version": VERSION,
        "runs": models,
        "confidence": CONFIDENCE,
        "rows": rows,
        "suites": suites,
        "notes": list(dict.fromkeys(notes)),
    }


@contextmanager
def passing(skipped: list[str] | None) -> Iterator[None]:
    """A user's mistake is named in ``skipped`` and passed over; without it, it is raised."""
    try:
        yield
    except UserError as error:
        if skipped is None:
            raise
        skipped.append(str(error))


def common_tasks(a: Run, b: Run) -> list[str]:
    """Tasks of both, in the order of ``a``; none is a UserError, and what one has alone is logged."""
    common = [task for task in a.manifest["tasks"] if task in b.manifest["tasks"]]
    if not common:
        raise UserError(f"{a.name} and {b.name} have no task in common", where=b.root, fix="run both on the same tasks")
    for run in (a, b):
        left_out = [task for task in run.manifest["tasks"] if task not in common]
        if left_out:
            log.info("only in %s, not compared: %s", run.root, ", ".join(left_out))
    return common


def check_same(
    task: str, a: Run, b: Run, left: tuple[Mapping[str, Any], Choices], right: tuple[Mapping[str, Any], Choices]
) -> None:
    """Dialect, shots, where these come from, instances and choices must be the same on both sides; else a UserError."""
    for key in ("dialect", "shots"):
        if left[0][key] != right[0][key]:
            raise UserError(
                f"{task} has another {key} on each side ({left[0][key]}, {right[0][key]})",
                where=b.root / task / "task.json",
                fix="run both on the same requests",
            )
    if len({examples_of(about) for about, _ in (left, right)} - {None}) > 1:
        raise UserError(
            f"{task} was run after other examples on each side (shots_source)",
            where=b.root / task / "task.json",
            fix="run both on the same requests",
        )
    one, other = left[1], right[1]
    same = list(one.native_id) == list(other.native_id) and all(
        np.array_equal(getattr(one, key), getattr(other, key))
        for key in ("doc_id", "label", "starts", "characters", "bytes")
    )
    if not same:
        raise UserError(
            f"{task} was run on other instances", where=b.root / task, fix="run both on the same requests and --limit"
        )


def examples_of(about: Mapping[str, Any]) -> tuple[object, object] | None:
    """The file of the examples and the seed they were drawn by, where ``task.json`` says."""
    source = about.get("shots_source")
    return (source.get("digest"), source.get("seed")) if isinstance(source, dict) else None


def unlike(
    task: str, a: Run, b: Run, left: tuple[Mapping[str, Any], Choices], right: tuple[Mapping[str, Any], Choices]
) -> list[str]:
    """Settings of the two runs that differ and may move the numbers: comparable, but to be known."""
    found = []
    sides = left[0].get("boundary"), right[0].get("boundary")
    if sides[0] != sides[1]:
        found.append(f"{task}: the boundary is {sides[0]} in {a.name}, {sides[1]} in {b.name}")
    sides = a.manifest.get("maximum_length"), b.manifest.get("maximum_length")
    if sides[0] != sides[1] and (left[1].truncated.any() or right[1].truncated.any()):
        found.append(
            f"{task}: the longest input is {sides[0]} tokens in {a.name}, {sides[1]} in {b.name}, and some were cut"
        )
    return found


def difference(metric: str, values: tuple[Value, Value], choices: Choices) -> tuple[Estimate, float | None, str]:
    """``(estimate, p value, test)`` of a − b on the same instances."""
    a, b = values
    clusters = choices.clusters
    parts = a.parts - b.parts
    if metric in ACCURACIES:
        assert a.prediction is not None
        assert b.prediction is not None
        value = float((a.prediction.total - b.prediction.total) / len(parts))
        p = sign_flip_p_value(difference_multiples(a.prediction, b.prediction), clusters)
        return paired_difference(value, parts, clusters), p, "sign flip, exact"
    found = student(a.value - b.value, parts, clusters)
    p_value = None if found.low is None else t_p_value(found.value, found.standard_error, found.degrees)
    return found, p_value, "paired t, linearised" if metric == "f1" else "paired t"


def compare_task(
    task: str,
    runs: tuple[Run, Run],
    sides: tuple[tuple[Mapping[str, Any], Choices], tuple[Mapping[str, Any], Choices]],
    metric: str | None,
) -> Compared:
    """One task of a comparison."""
    about, choices = sides[0]
    name, positive = str(about["primary_metric"]) if metric is None else metric, positive_index(about)
    for run, (_, columns) in zip(runs, sides, strict=True):
        if not applies(name, columns, positive):
            raise UserError(f"{task} has no {name}", where=run.root / task, fix="choose another --metric")
    a, b = (value_of(name, columns, positive) for _, columns in sides)
    found, p, test = difference(name, (a, b), choices)
    clusters = choices.clusters
    row = {
        "task": task,
        "metric": name,
        "instances": len(choices),
        "clusters": None if clusters is None else int(clusters.max()) + 1,
        "a": a.value,
        "b": b.value,
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "standard_error": found.standard_error,
        "interval": found.method,
        "p_value": p,
        "test": test,
        "detectable_difference": detectable_difference(found.standard_error, found.degrees),
        "macro": macro_difference(a, b, choices) if name in ACCURACIES else None,
    }
    return Compared(row, found, Member(source_of(task, about), a.parts - b.parts, choices.doc_id, clusters))


def macro_difference(a: Value, b: Value, choices: Choices) -> dict[str, Any] | None:
    """Difference of the means over domains, None where the rows name none. Domains are independent; variances add."""
    domains = domains_of(choices)
    if not domains:
        return None
    spreads = domain_spreads(a.parts - b.parts, choices, domains)
    means = [
        math.fsum(math.fsum(side.parts[members]) / len(members) for members in domains.values()) / len(domains)
        for side in (a, b)
    ]
    variances, degrees = [one.variance for one in spreads], [one.degrees for one in spreads]
    weight = max(1 / (one.size + 2) for one in spreads) / len(domains)
    found, p = average_of_differences(
        means[0] - means[1], variances, degrees, len(domains), weight, "student-t, stratified by domain"
    )
    return {
        "domains": len(domains),
        "a": means[0],
        "b": means[1],
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "standard_error": found.standard_error,
        "p_value": p,
    }


def suite_difference(compared: Sequence[Compared]) -> dict[str, Any] | None:
    """Difference of the unweighted means over tasks, those with metrics between 0 and 1; None below two tasks.

    Variances of tasks of different sources add, those of one source vary together (Student's t with Satterthwaite's
    degrees of freedom).
    """
    kept = [one for one in compared if one.row["metric"] in SHARES]
    if len(kept) < 2:
        return None
    few = [one.row["task"] for one in kept if one.estimate.low is None or one.estimate.standard_error is None]
    a, b = (math.fsum(one.row[side] for one in kept) / len(kept) for side in ("a", "b"))
    value = math.fsum(one.row["difference"] for one in kept) / len(kept)
    result: dict[str, Any] = {"tasks": [one.row["task"] for one in kept], "a": a, "b": b, "difference": value}
    if few:
        reason = f"none: too few instances of {', '.join(few)}"
        missing = dict.fromkeys(("low", "high", "standard_error", "p_value", "detectable_difference"))
        return {**result, **missing, "interval": reason}
    sources = [[kept[place].member for place in places] for places in by_source([one.member.source for one in kept])]
    joint = [spread_of_sum(members) for members in sources]
    weight = max(math.fsum(1 / (spread(m.parts, m.clusters).size + 2) for m in members) for members in sources)
    found, p = average_of_differences(
        value,
        [one.variance for one in joint],
        [one.degrees for one in joint],
        len(kept),
        weight / len(kept),
        "student-t, stratified by task",
    )
    return {
        **result,
        "low": found.low,
        "high": found.high,
        "standard_error": found.standard_error,
        "p_value": p,
        "detectable_difference": detectable_difference(found.standard_error, found.degrees),
        "interval": found.method,
    }
