"""Accuracy on tasks: every normalisation with its interval, beside what needs no language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from . import axes, charts, words
from .reading import Output, StageNotRunError

SCORES = {
    "acc_raw": "sum of log-probabilities",
    "acc_per_token": "per token",
    "acc_per_char": "per character",
    "acc_per_char_bare": "per character, without the leading space",
    "acc_per_byte": "per byte",
    "acc_per_byte_bare": "per byte, without the leading space",
    "acc_uncond": "minus unconditional",
    "acc_uncond_empty": "minus unconditional (empty context)",
    "f1": "F1 of the positive answer",
    "bits_per_byte": "bits per byte of the right answer",
    "soft_score": "probability of the right answer among the choices",
    "log_soft_score": "its logarithm, mean",
    "probability_mass": "probability of all choices together",
}
NOT_SHARES = ("bits_per_byte", "log_soft_score")
MARKED = ("value", "low", "high")
BASELINES = {
    "chance": "chance",
    "majority": "always the most frequent place",
    "longest": "always the longest choice",
    "unigram": "unigram model",
}


@dataclass(frozen=True)
class Score:
    """A metric of a task, its figures written out."""

    name: str
    meaning: str
    value: str
    interval: str
    error: str
    method: str
    primary: bool


@dataclass(frozen=True)
class Baseline:
    """A predictor without a language model, and how the primary metric compares with it."""

    name: str
    value: str
    difference: str
    p_value: str


@dataclass(frozen=True)
class Task:
    """All that is shown of a task."""

    name: str
    dialect: str
    shots: int
    instances: int
    choices: str
    primary: Mapping[str, Any] | None
    primary_name: str
    scores: Sequence[Score]
    baselines: Sequence[Baseline]
    raw_baselines: Mapping[str, Mapping[str, Any]]
    chance_p_value: float | None
    chart: Markup | None


def read(output: Output, names: charts.Names) -> list[Task]:
    """All tasks of ``predictions*/metrics.json``, cloze first."""
    folders = sorted(file.parent.name for file in output.root.glob("predictions*/metrics.json"))
    rows = [
        (name, row)
        for folder in folders or ["predictions"]
        for name, row in output.json(f"{folder}/metrics.json", "No task was evaluated yet")["tasks"].items()
    ]
    if not rows:
        raise StageNotRunError("No task was evaluated: predictions/metrics.json holds none.")
    rows.sort(key=lambda item: ("cloze" not in item[0], item[0]))
    return [task(name, row, names) for name, row in rows]


def task(name: str, row: Mapping[str, Any], names: charts.Names) -> Task:
    primary = row["primary_metric"]
    scores = [score(metric, value, metric == primary) for metric, value in row["metrics"].items()]
    scores.sort(key=lambda item: (not item.primary, list(SCORES).index(item.name) if item.name in SCORES else 99))
    baselines = []
    for kind, value in row["baselines"].items():
        p_value = row["chance_p_value"] if kind == "chance" else value.get("p_value")
        difference = value.get("difference")
        if kind == "chance" and primary in row["metrics"]:
            difference = row["metrics"][primary]["value"] - value["value"]
        baselines.append(
            Baseline(
                BASELINES.get(kind, kind),
                words.percent(value["value"]),
                "" if difference is None else f"{words.signed(100 * difference, 1)} points",
                "" if p_value is None else words.p_value(p_value),
            )
        )
    return Task(
        name,
        row["dialect"],
        row["shots"],
        row["instances"],
        choice_count(row["choices"]),
        row["metrics"].get(primary),
        primary,
        scores,
        baselines,
        row["baselines"],
        row["chance_p_value"],
        accuracy_chart(name, row, names),
    )


def choice_count(choices: object) -> str:
    """``4``, or ``2 to 5`` where instances differ."""
    if isinstance(choices, list) and choices:
        return words.integer(choices[0]) if min(choices) == max(choices) else f"{min(choices)} to {max(choices)}"
    return words.decimal(choices, 0 if choices == int(choices) else 2) if isinstance(choices, (int, float)) else ""


def score(metric: str, value: Mapping[str, Any], primary: bool) -> Score:
    is_share = metric not in NOT_SHARES
    low, high = value["low"], value["high"]
    factor, digits = (100, 1) if is_share else (1, 3)
    span = "" if low is None or high is None else words.interval(factor * low, factor * high, digits)
    error = value["standard_error"]
    return Score(
        metric,
        SCORES.get(metric, ""),
        words.percent(value["value"]) if is_share else words.decimal(value["value"]),
        span + ("\u00a0%" if span and is_share else ""),
        "" if error is None else words.decimal(factor * error, digits + 1) + (" points" if is_share else ""),
        value["method"],
        primary,
    )


def accuracy_chart(name: str, row: Mapping[str, Any], names: charts.Names) -> Markup | None:
    """Accuracies with intervals as a plot, the baselines as lines across it."""
    metrics = {key: value for key, value in row["metrics"].items() if key.startswith(("acc", "f1"))}
    if not metrics:
        return None
    references = [(100 * value["value"], kind) for kind, value in row["baselines"].items()]
    rows = [
        charts.ForestRow(
            name=metric,
            under=("★ primary · " if metric == row["primary_metric"] else "") + SCORES.get(metric, ""),
            text=f"{words.percent(value['value'])}",
            detail="" if value["low"] is None else f"{words.interval(100 * value['low'], 100 * value['high'], 1)} %",
            marks=[charts.Mark(0, *(None if value[key] is None else 100 * value[key] for key in MARKED))],
            strong=metric == row["primary_metric"],
        )
        for metric, value in metrics.items()
    ]
    rows.sort(key=lambda item: (not item.strong, item.name))
    values = [v for item in rows for mark in item.marks for v in (mark.value, mark.low, mark.high) if v is not None]
    low, high = axes.rounded_range([*values, *(value for value, _ in references)], 6)
    scale = charts.Scale(max(0.0, low), min(100.0, high) if high > 0 else high, references)
    return charts.forest(names, f"Accuracy on {words.label(name)}", "% of instances", rows, scale, {0: "model"})
