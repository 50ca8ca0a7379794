"""How near to a tie predictions are, and what another precision, batch or number of processes changes in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from .compare import check_same, common_tasks
from .errors import UserError
from .predictions import load_runs, read_choices
from .requests import task_description
from .scores import ACCURACIES, predict
from .table import render

TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""Bound on the rounding error of a log-probability that decisions are held against, natural units. For the two short
types it is a rule of thumb: measure with `catwalk-eval flips`."""
DIVISORS = {
    "acc_per_token": "tokens",
    "acc_per_char": "characters",
    "acc_per_char_bare": "characters_bare",
    "acc_per_byte": "bytes",
    "acc_per_byte_bare": "bytes_bare",
}
SUBTRACTED = {"acc_uncond": "log_probability_answer", "acc_uncond_empty": "log_probability_empty"}

Row = Mapping[str, Any]


def score_and_error(row: Row, metric: str, tolerance: float) -> tuple[float, float]:
    """What the metric compares, and how far rounding can move it."""
    divisor = max(row[DIVISORS[metric]], 1) if metric in DIVISORS else 1
    taken = row[SUBTRACTED[metric]] if metric in SUBTRACTED else None
    error = tolerance if taken is None else 2 * tolerance
    return (row["log_probability"] - (taken or 0.0)) / divisor, error / divisor


def close_calls(rows: Sequence[Row], metric: str, tolerance: float) -> int:
    """Instances whose best choice is ahead of another by less than rounding can move the two; exact ties left out."""
    close = 0
    for _, choices in groupby(rows, key=lambda row: row["doc_id"]):
        scores = sorted((score_and_error(row, metric, tolerance) for row in choices), reverse=True)
        best, error = scores[0]
        close += any(0 < best - score < error + other for score, other in scores[1:])
    return close


def flips(a: Path, b: Path) -> list[dict[str, Any]]:
    """What differs between two runs of the same requests: predictions by the primary metric (``acc_raw`` where that
    chooses nothing, as bits per byte), and log-probabilities.

    For runs of the same weights in two dtypes, batch sizes or numbers of processes. An instance flips where another
    choice, or other tied choices, are best.
    """
    one, other = load_runs([a, b])
    if one.manifest["model"].get("digest") != other.manifest["model"].get("digest"):
        raise UserError(
            f"{one.name} and {other.name} have other weights; every difference would count as one of rounding",
            where=b,
            fix="give two runs of one model, or use `catwalk-eval compare`",
        )
    found = []
    for task in common_tasks(one, other):
        about = [task_description(run.root / task / "task.json") for run in (one, other)]
        sides = [read_choices(run.root, task, run.manifest) for run in (one, other)]
        check_same(task, one, other, (about[0], sides[0]), (about[1], sides[1]))
        primary = about[0]["primary_metric"]
        metric = primary if primary in ACCURACIES else "acc_raw"
        best = [predict(side, ACCURACIES[metric](side)) for side in sides]
        flipped = np.add.reduceat((best[0].best != best[1].best).astype(np.int64), sides[0].starts) > 0
        moved = np.abs(sides[0].log_probability - sides[1].log_probability)
        right = [float(side.credits.mean()) for side in best]
        found.append(
            {
                "task": task,
                "metric": metric,
                "instances": len(flipped),
                "flips": int(flipped.sum()),
                "a": right[0],
                "b": right[1],
                "largest_difference": float(moved.max()),
                "mean_difference": float(moved.mean()),
            }
        )
    return found


def flips_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table that ``flips`` prints."""
    cells = [
        [
            row["task"], row["metric"], str(row["instances"]), str(row["flips"]), f"{100 * row['a']:.2f}",
            f"{100 * row['b']:.2f}", f"{row['largest_difference']:.2g}", f"{row['mean_difference']:.2g}",
        ]
        for row in rows
    ]  # fmt: skip
    columns = ["task", "metric", "n", "flips", "a", "b", "largest |Δ log p|", "mean |Δ log p|"]
    return render(columns, cells, left=2)
