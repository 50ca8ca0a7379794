"""How good a classifier is on held-out examples: counts, rates with their intervals, threshold curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..batch import Floats, Integers

NORMAL_95 = 1.959963984540054  # two-sided 95 % of the normal distribution
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); from 0 to 1 without trials."""
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, NORMAL_95**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    half = NORMAL_95 / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def rate(successes: int, trials: int) -> dict[str, Any]:
    """A proportion with its interval; ``value`` is None without trials."""
    low, high = wilson(successes, trials)
    return {"value": successes / trials if trials else None, "low": low, "high": high}


def f1(hits: int, predicted: int, actual: int) -> dict[str, Any]:
    """F1 with its interval, by way of J, the share of hits among all predicted or actual: F1 = 2 J / (1 + J)."""
    either = predicted + actual - hits
    low, high = wilson(hits, either)
    value = 2 * hits / (predicted + actual) if either else None
    return {"value": value, "low": 2 * low / (1 + low), "high": 2 * high / (1 + high)}


def measure(chosen: Integers, actual: Integers, label: int) -> dict[str, Any]:
    """Precision, recall and F1 of one label; ``chosen`` and ``actual`` are label numbers [N]."""
    hits = int(np.count_nonzero((chosen == label) & (actual == label)))
    predicted, support = int(np.count_nonzero(chosen == label)), int(np.count_nonzero(actual == label))
    return {
        "examples": support,
        "predicted": predicted,
        "hits": hits,
        "precision": rate(hits, predicted),
        "recall": rate(hits, support),
        "f1": f1(hits, predicted, support),
    }


def threshold_curve(scores: Floats, positive: Any) -> list[dict[str, Any]]:
    """Precision, recall, F1 and share of examples kept where ``scores`` [N] reach each of ``THRESHOLDS``."""
    curve = []
    for threshold in THRESHOLDS:
        kept = scores >= threshold
        hits, predicted = int(np.count_nonzero(kept & positive)), int(np.count_nonzero(kept))
        total = int(np.count_nonzero(positive))
        curve.append(
            {
                "threshold": threshold,
                "precision": hits / predicted if predicted else None,
                "recall": hits / total if total else None,
                "f1": 2 * hits / (predicted + total) if predicted + total else None,
                "kept": predicted / len(scores) if len(scores) else None,
            }
        )
    return curve


def make_report(labels: Sequence[str], scores: Floats, actual: Integers) -> dict[str, Any]:
    """The report of ``scores`` [N, L] for examples of the labels ``actual`` [N]."""
    chosen = scores.argmax(axis=1) if len(scores) else np.zeros(0, dtype=np.int64)
    hits = int(np.count_nonzero(chosen == actual))
    per_label = {}
    for at in sorted(range(len(labels)), key=lambda at: labels[at]):
        curve = threshold_curve(scores[:, at], actual == at)
        best = max(curve, key=lambda point: point["f1"] or 0.0)
        per_label[labels[at]] = {**measure(chosen, actual, at), "best_threshold": best, "curve": curve}
    confused = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confused, (actual, chosen), 1)
    return {
        "examples": len(actual),
        "accuracy": rate(hits, len(actual)),
        "labels": per_label,
        "confusion": {
            labels[row]: {labels[column]: int(count) for column, count in enumerate(confused[row]) if count}
            for row in range(len(labels))
        },
    }


def format_report(report: dict[str, Any]) -> str:
    """The report as a table for people."""
    lines = [f"accuracy {_interval(report['accuracy'])} on {report['examples']:,} held-out examples", ""]
    header = f"{'label':<20} {'examples':>8}  {'precision':<20} {'recall':<20} {'F1':<20} best threshold"
    lines.append(header)
    for label, row in report["labels"].items():
        best = row["best_threshold"]
        cells = [_interval(row[what]) for what in ("precision", "recall", "f1")]
        at = f"{best['threshold']:.2f} (F1 {best['f1'] or 0:.3f})"
        lines.append(f"{label:<20} {row['examples']:>8,}  {cells[0]:<20} {cells[1]:<20} {cells[2]:<20} {at}")
    if len(report["labels"]) == 2:
        for label, row in report["labels"].items():
            lines += ["", f"{label}: threshold, precision, recall, F1, share kept"]
            lines += [_curve_line(point) for point in row["curve"]]
    return "\n".join(lines) + "\n"


def _curve_line(point: dict[str, Any]) -> str:
    cells = [
        "     -" if point[what] is None else f"{point[what]:6.3f}" for what in ("precision", "recall", "f1", "kept")
    ]
    return f"  {point['threshold']:.2f} " + " ".join(cells)


def _interval(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "none"
    return f"{found['value']:.3f} ({found['low']:.3f}-{found['high']:.3f})"
