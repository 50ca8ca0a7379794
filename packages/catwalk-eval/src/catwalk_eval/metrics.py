"""From prediction columns to metrics.json: every number is derived from the rows, none from the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .intervals import Estimate, Spread, average_of_shares, estimate, spread, t_p_value
from .scores import (
    ACCURACIES,
    METRICS,
    SHARES,
    Choices,
    ChoiceScore,
    Floats,
    Ints,
    Prediction,
    Value,
    accuracy,
    applies,
    f1,
    length,
    positive_index,
    predict,
    unigram,
    value_of,
)
from .statistics import chance_p_value, difference_multiples, sign_flip_p_value
from .suites import Member, by_source, source_of, spread_of_sum


def task_metrics(about: Mapping[str, Any], choices: Choices, where: Path | None = None) -> dict[str, Any]:
    """The entry of metrics.json for one task; ``about`` is its ``task.json``."""
    primary, positive, clusters = str(about["primary_metric"]), positive_index(about), choices.clusters
    if not applies(primary, choices, positive):
        what = "names no positive choice" if primary == "f1" else "the rows lack what it needs"
        raise UserError(f"the primary metric {primary} cannot be computed: {what}", where=where, fix="run it again")
    values = {name: value_of(name, choices, positive) for name in METRICS if applies(name, choices, positive)}
    ours = values[primary]
    counts = np.unique(choices.counts).tolist()
    return {
        "dialect": about["dialect"],
        "shots": about["shots"],
        "instances": len(choices),
        "clusters": None if clusters is None else int(clusters.max()) + 1,
        "choices": counts[0] if len(counts) == 1 else counts,
        "primary_metric": primary,
        "metrics": {name: estimate(name, v.value, v.parts, clusters).as_json() for name, v in values.items()},
        "macro": macro(primary, choices, ours, positive),
        "labels": np.bincount(choices.label, minlength=max(counts)).tolist(),
        "predicted": {name: histogram(choices, v.prediction) for name, v in values.items() if v.prediction is not None},
        "baselines": baselines(primary, choices, ours, positive, clusters),
        "chance_p_value": chance_p_value(ours.prediction, choices.counts)
        if primary in ACCURACIES and ours.prediction
        else None,
    }


def histogram(choices: Choices, prediction: Prediction) -> list[float]:
    """How many instances predict choice 0, 1, …; a tie of k adds 1/k to each."""
    place = np.arange(len(prediction.best)) - np.repeat(choices.starts, choices.counts)
    return [float(round(count, 9)) for count in np.bincount(place, weights=prediction.share)]


def domains_of(choices: Choices) -> dict[str, Ints]:
    """Instances of each domain, by name; nothing where the rows name none or one."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate(choices.domain):
        found.setdefault("" if name is None else name, []).append(number)
    return {name: np.array(found[name]) for name in sorted(found)} if len(found) > 1 else {}


def macro(primary: str, choices: Choices, ours: Value, positive: int | None) -> dict[str, Any] | None:
    """The primary metric by domain, and the mean over domains with its own interval; None without domains.

    The domains are those that they are, not a sample, so inside one its instances are independent unless they share a
    cluster smaller than it.
    """
    domains = domains_of(choices)
    if not domains or primary not in ACCURACIES:
        return None
    spreads = domain_spreads(ours.parts, choices, domains)
    values, rows = [], {}
    for (name, members), clusters in zip(domains.items(), domain_clusters(choices, domains), strict=True):
        parts = ours.parts[members]
        value = math.fsum(parts) / len(parts)
        values.append(value)
        rows[name] = {"instances": len(members), **estimate(primary, value, parts, clusters).as_json()}
    variances, degrees = [one.variance for one in spreads], [one.degrees for one in spreads]
    return {"domains": rows, **average_of_shares(values, variances, degrees, len(choices)).as_json()}


def domain_clusters(choices: Choices, domains: Mapping[str, Ints]) -> list[Ints | None]:
    """Clusters of the instances of each domain; None where they are all of one, or each its own."""
    every = choices.clusters
    found: list[Ints | None] = []
    for members in domains.values():
        inside = None if every is None else np.unique(every[members], return_inverse=True)[1]
        whole = inside is not None and 0 < inside.max() < len(members) - 1
        found.append(inside if whole else None)
    return found


def domain_spreads(parts: Floats, choices: Choices, domains: Mapping[str, Ints]) -> list[Spread]:
    """Spread of the mean of each domain; a domain of one instance takes the variance of all."""
    pooled = float(np.var(parts))
    found = []
    for members, clusters in zip(domains.values(), domain_clusters(choices, domains), strict=True):
        one = spread(parts[members], clusters)
        if math.isnan(one.variance):
            one = replace(one, variance=pooled / len(members), degrees=1.0)
        found.append(one)
    return found


def baselines(
    primary: str, choices: Choices, ours: Value, positive: int | None, clusters: Ints | None
) -> dict[str, Any]:
    """What scorers that read nothing earn on the same items, measured as the primary metric measures."""
    as_f1 = primary == "f1"
    everything = np.zeros(len(choices.log_probability))
    found: dict[str, Any] = {
        "chance": {"value": baseline(choices, everything, positive if as_f1 else None).value},
        "majority": {"value": majority(choices, positive if as_f1 else None)},
    }
    if ours.prediction is None:
        return found
    scorers: dict[str, ChoiceScore] = {"longest": length}
    if choices.unigram is not None:
        scorers["unigram"] = unigram(primary)
    for name, score in scorers.items():
        found[name] = against(ours, baseline(choices, score(choices), positive if as_f1 else None), clusters, as_f1)
    return found


def baseline(choices: Choices, scores: Floats, positive: int | None) -> Value:
    """Accuracy of choosing by ``scores``, or F1 where there is a ``positive`` choice."""
    prediction = predict(choices, scores)
    return accuracy(prediction) if positive is None else f1(choices, prediction, positive)


def majority(choices: Choices, positive: int | None) -> float:
    """Accuracy of the index that is right most often here; F1 of always saying ``positive``."""
    if positive is None:
        return int(np.bincount(choices.label).max()) / len(choices)
    place = np.arange(len(choices.log_probability)) - np.repeat(choices.starts, choices.counts)
    return baseline(choices, (place == positive).astype(np.float64), positive).value


def against(ours: Value, theirs: Value, clusters: Ints | None, as_f1: bool) -> dict[str, float | None]:
    """A baseline's value, ours less it, and the p value of that difference on the same items.

    For accuracies it is the exact sign-flip test, for F1 Student's t on the linearised parts.
    """
    assert ours.prediction is not None
    assert theirs.prediction is not None
    difference = ours.value - theirs.value
    if as_f1:
        found = spread(ours.parts - theirs.parts, clusters)
        p = t_p_value(difference, None if found.too_few else math.sqrt(found.variance), found.degrees)
    else:
        p = sign_flip_p_value(difference_multiples(ours.prediction, theirs.prediction), clusters)
        difference = float(ours.prediction.total / len(ours.parts) - theirs.prediction.total / len(ours.parts))
    return {"value": theirs.value, "difference": difference, "p_value": p}


def suite_average(
    tasks: Mapping[str, Any], rows: Mapping[str, tuple[Mapping[str, Any], Choices]]
) -> dict[str, Any] | None:
    """Unweighted mean of the tasks' primary metrics, those that lie between 0 and 1; None below two tasks.

    ``rows`` are each task's ``task.json`` and columns: tasks of one source vary together. A task without a standard
    error (too few instances) leaves the mean without an interval.
    """
    names = [name for name, task in tasks.items() if task["primary_metric"] in SHARES]
    if len(names) < 2:
        return None
    found = [tasks[name]["metrics"][tasks[name]["primary_metric"]] for name in names]
    few = [name for name, value in zip(names, found, strict=True) if value["low"] is None]
    values = [value["value"] for value in found]
    if few:
        mean = Estimate(math.fsum(values) / len(values), None, None, None, f"none: {', '.join(few)} has none")
        return {"tasks": names, **mean.as_json()}
    variances, degrees, size = [], [], 0.0
    for places in by_source([source_of(name, rows[name][0]) for name in names]):
        members = [member_of(names[place], *rows[names[place]]) for place in places]
        alone = math.fsum(found[place]["standard_error"] for place in places)
        joint = spread_of_sum(members)
        variances.append(joint.variance if joint.variance > 0 and len(members) > 1 else alone**2)
        degrees.append(joint.degrees)
        size += joint.degrees + 1
    return {"tasks": names, **average_of_shares(values, variances, degrees, round(size)).as_json()}


def member_of(task: str, about: Mapping[str, Any], choices: Choices) -> Member:
    """A task in the mean over tasks, by its primary metric."""
    value = value_of(str(about["primary_metric"]), choices, positive_index(about))
    return Member(source_of(task, about), value.parts, choices.doc_id, choices.clusters)
