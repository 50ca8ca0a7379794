"""From prediction rows to metrics.json: every number is derived from the rows, none from the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from .scores import ACCURACIES, Row, Score, applies, credit, gold_bits_per_byte, length, tie, unigram
from .statistics import chance_p_value, sign_flip_p_value, student, wilson

Instances = list[list[dict[str, Any]]]


def by_instance(rows: Iterable[dict[str, Any]]) -> Instances:
    """Rows grouped by ``doc_id``; the rows of an instance follow each other."""
    return [list(group) for _, group in groupby(rows, key=lambda row: row["doc_id"])]


def task_metrics(about: Mapping[str, Any], instances: Instances) -> dict[str, Any]:
    """The entry of metrics.json for one task; ``about`` is its ``task.json``."""
    rows = [row for instance in instances for row in instance]
    primary = str(about["primary_metric"])
    metrics = {
        name: wilson([credit(instance, score) for instance in instances]).as_json()
        for name, score in ACCURACIES.items()
        if applies(name, rows)
    }
    metrics["bits_per_byte"] = student([gold_bits_per_byte(instance) for instance in instances]).as_json()
    choices = [len(instance) for instance in instances]
    labels = Counter(instance[0]["label"] for instance in instances)
    credits_and_ties = [tie(instance, ACCURACIES[primary]) for instance in instances]
    ours = [value for value, _ in credits_and_ties]
    baselines: dict[str, Any] = {
        "chance": {"value": sum(1 / count for count in choices) / len(choices)},
        "majority": {"value": max(labels.values()) / len(instances)},
        "longest": against(ours, instances, length),
    }
    if all(row["log_probability_unigram"] is not None for row in rows):
        baselines["unigram"] = against(ours, instances, unigram(primary))
    counts = sorted(set(choices))
    return {
        "dialect": about["dialect"],
        "shots": about["shots"],
        "instances": len(instances),
        "choices": counts[0] if len(counts) == 1 else counts,
        "primary_metric": primary,
        "metrics": metrics,
        "baselines": baselines,
        "chance_p_value": chance_p_value(ours, [count for _, count in credits_and_ties], choices),
    }


def against(ours: Sequence[Any], instances: Sequence[Sequence[Row]], score: Score) -> dict[str, float]:
    """A baseline's accuracy, ours less it, and the exact sign-flip p value of that difference on the same items."""
    theirs = [credit(instance, score) for instance in instances]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    return {
        "value": float(sum(theirs) / len(theirs)),
        "difference": float(sum(differences) / len(differences)),
        "p_value": sign_flip_p_value(differences),
    }
