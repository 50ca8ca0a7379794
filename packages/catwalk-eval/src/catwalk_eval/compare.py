"""Comparing runs on the same items: paired differences, exact tests, correction for their number."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    combined,
    detectable_difference,
    paired_difference,
    quantile,
    student,
    t_p_value,
)
from .metrics import domain_spreads, domains_of
from .predictions import Run, load_runs
from .provenance import recorded
from .scores import ACCURACIES, SHARES, Choices, Value, applies, positive_index, value_of
from .statistics import difference_multiples, holm, sign_flip_p_value

VERSION = 2
log = logging.getLogger(__name__)


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
    numbers = range(len(runs))
    for a, b in combinations(numbers, 2) if config.pairs == "all" else ((a, 0) for a in numbers[1:]):
        found = []
        with passing(skipped):
            for task in common_tasks(runs[a], runs[b]):
                with passing(skipped):
                    left, right = runs[a].task(task), runs[b].task(task)
                    check_same(task, runs[a], runs[b], left, right)
                    found.append(compare_task(task, (runs[a], runs[b]), (left, right), config.metric))
        rows += [{"run_a": a, "run_b": b, **row} for row, _ in found]
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
    return {"format_version": VERSION, "runs": models, "confidence": CONFIDENCE, "rows": rows, "suites": suites}


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
    """Dialect, shots, instances and choices must be the same on both sides; else a UserError."""
    for key in ("dialect", "shots"):
        if left[0][key] != right[0][key]:
            raise UserError(
                f"{task} has another {key} on each side ({left[0][key]}, {right[0][key]})",
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
) -> tuple[dict[str, Any], Estimate]:
    """One row of a comparison, and its estimate."""
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
        "detectable_difference": detectable_difference(found.standard_error),
        "macro": macro_difference(a, b, choices) if name in ACCURACIES else None,
    }
    return row, found


def macro_difference(a: Value, b: Value, choices: Choices) -> dict[str, Any] | None:
    """Difference of the means over domains, None where the rows name none. Domains are independent; variances add."""
    domains = domains_of(choices)
    if not domains:
        return None
    spreads = domain_spreads(a.parts - b.parts, choices, domains)
    variance, degrees = combined([one.variance for one in spreads], [one.degrees for one in spreads])
    means = [
        math.fsum(math.fsum(side.parts[members]) / len(members) for members in domains.values()) / len(domains)
        for side in (a, b)
    ]
    value, error = means[0] - means[1], math.sqrt(variance)
    half = quantile(degrees) * error
    return {
        "domains": len(domains),
        "a": means[0],
        "b": means[1],
        "difference": value,
        "low": value - half,
        "high": value + half,
        "standard_error": error,
        "p_value": t_p_value(value, error, degrees),
    }


def suite_difference(found: Sequence[tuple[Mapping[str, Any], Estimate]]) -> dict[str, Any] | None:
    """Difference of the unweighted means over tasks, those with metrics between 0 and 1; None below two tasks.

    Tasks are independent of each other, so variances add (Student's t with Satterthwaite's degrees of freedom).
    """
    kept = [(row, estimate) for row, estimate in found if row["metric"] in SHARES]
    if len(kept) < 2:
        return None
    few = [row["task"] for row, estimate in kept if estimate.low is None or estimate.standard_error is None]
    a, b = (math.fsum(row[side] for row, _ in kept) / len(kept) for side in ("a", "b"))
    value = math.fsum(row["difference"] for row, _ in kept) / len(kept)
    result: dict[str, Any] = {"tasks": [row["task"] for row, _ in kept], "a": a, "b": b, "difference": value}
    if few:
        reason = f"none: too few instances of {', '.join(few)}"
        missing = dict.fromkeys(("low", "high", "standard_error", "p_value", "detectable_difference"))
        return {**result, **missing, "interval": reason}
    variance, degrees = combined(
        [e.standard_error**2 for _, e in kept if e.standard_error is not None], [e.degrees for _, e in kept]
    )
    error = math.sqrt(variance)
    half = quantile(degrees) * error
    return {
        **result,
        "low": value - half,
        "high": value + half,
        "standard_error": error,
        "p_value": t_p_value(value, error, degrees),
        "detectable_difference": detectable_difference(error),
        "interval": "student-t, stratified by task",
    }
