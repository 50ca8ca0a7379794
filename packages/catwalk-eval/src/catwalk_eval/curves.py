"""Learning curves: the metrics of the checkpoints of a run over its steps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEP = re.compile(r"(?<![a-z])step[-_ ]?(\d+)", re.IGNORECASE)
EARLY = ("bits_per_byte", "log_soft_score")
"""Metrics that move while accuracies still stand at chance."""


Key = tuple[str, str, str, str, int]  # task, metric, run, dialect, number of examples


@dataclass(frozen=True)
class Point:
    """A metric at a step, with its interval where it has one."""

    step: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Curve:
    """A metric of a task over the steps of a run; ``chance`` is what guessing earns by it, where that is known."""

    task: str
    metric: str
    run: str
    chance: float | None
    points: tuple[Point, ...]


def step_of(model: Mapping[str, Any], folder: Path) -> tuple[str, int] | None:
    """``(run, step)`` of a checkpoint, from the model's revision or name, else from the name of its predictions."""
    for text in (model.get("revision"), model.get("name"), folder.name):
        found = STEP.search(text) if isinstance(text, str) else None
        if found is not None:
            name = str(model.get("name") if text == model.get("revision") else text)
            rest = STEP.sub("", name).strip("-_ /.")
            return rest or folder.resolve().parent.name, int(found.group(1))
    return None


def curves(runs: Sequence[tuple[tuple[str, int] | None, Mapping[str, Any]]]) -> list[Curve]:
    """Curves of all tasks from ``(run and step, metrics)``: of runs with two steps or more.

    Another dialect, or number of examples, is another curve, and named where a run has several.
    """
    found: dict[Key, dict[int, Point]] = {}
    chance: dict[Key, float] = {}
    for place, metrics in runs:
        if place is None:
            continue
        run, step = place
        for name, task in metrics["tasks"].items():
            primary = task["primary_metric"]
            for metric in (name for name in dict.fromkeys((primary, *EARLY)) if name in task["metrics"]):
                value = task["metrics"][metric]
                key = name, metric, run, task["dialect"], task["shots"]
                found.setdefault(key, {})[step] = Point(step, value["value"], value["low"], value["high"])
                if metric == primary and metric not in EARLY:
                    chance[key] = task["baselines"]["chance"]["value"]
    kinds = Counter(key[:3] for key in found)

    def label(key: Key) -> str:
        _, _, run, dialect, shots = key
        return run if kinds[key[:3]] == 1 else f"{run} ({dialect}, {shots}-shot)"

    return [
        Curve(*key[:2], label(key), chance.get(key), tuple(points[step] for step in sorted(points)))
        for key, points in found.items()
        if len(points) > 1
    ]
