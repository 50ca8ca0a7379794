"""Predictions: every choice of every instance, and the metrics recomputed from them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from artifact_checks.downstream import check_choices, grouped
from artifact_checks.perplexity import check_interval
from artifact_checks.reading import close, load, only, rows
from artifact_checks.report import Options, Report

NAMES = ("predictions.jsonl.gz", "task.json")


def check_predictions(folder: Path, report: Report, options: Options) -> str:
    """Check ``P/``: instances and requests as counted, accuracies and baselines recomputed."""
    path = folder / "manifest.json"
    manifest = load(path, "predictions", report)
    metrics = load(folder / "metrics.json", "metrics", report)
    if manifest is None:
        return "unreadable"
    tasks = manifest["tasks"]
    only(folder, {"manifest.json", "metrics.json", *(f"{task}/{name}" for task in tasks for name in NAMES)}, report)
    report.equal(path, "tasks in counts", sorted(manifest["counts"]), sorted(tasks))
    if metrics is not None:
        report.equal(folder / "metrics.json", "tasks", sorted(metrics["tasks"]), sorted(tasks))
    total = 0
    for task in tasks:
        scores = Scores()
        read_predictions(folder / task / "predictions.jsonl.gz", scores, report)
        total += scores.requests
        about = load(folder / task / "task.json", "requests_task", report)
        found = {"instances": scores.instances, "requests": scores.requests}
        report.equal(path, f"counts of {task}", manifest["counts"].get(task), found)
        if about is not None:
            check_about(folder / task / "task.json", about, manifest, scores, report)
        if metrics is not None and task in metrics["tasks"] and scores.instances:
            report.equal(
                folder / "metrics.json",
                f"{task}: choices",
                metrics["tasks"][task]["choices"],
                scores.number_of_choices(),
            )
            check_metrics(folder / "metrics.json", task, metrics["tasks"][task], scores, report)
    return f"{len(tasks)} tasks, {total:,} predictions"


def check_about(path: Path, about: Any, manifest: Any, scores: Scores, report: Report) -> None:
    """task.json of one task."""
    report.equal(path, "name", about["name"], path.parent.name)
    report.equal(path, "boundary", about["boundary"], manifest["boundary"])
    report.equal(path, "instances", about["instances"], scores.instances)


class Scores:
    """Sums over the instances of a task."""

    def __init__(self) -> None:
        self.instances = 0
        self.requests = 0
        self.choices: Counter[int] = Counter()
        self.labels: Counter[int] = Counter()
        self.chance: list[float] = []
        self.credits: dict[str, list[float]] = defaultdict(list)
        self.bits_per_byte: list[float] = []

    def number_of_choices(self) -> int | list[int]:
        """One number where all instances have it, else all that occur."""
        numbers = sorted(self.choices)
        return numbers[0] if len(numbers) == 1 else numbers


def credit(values: list[float], label: int) -> float:
    """1 where the right choice alone has the best value, 1/k where it shares it with k - 1 others, else 0."""
    best = max(values)
    return 1 / values.count(best) if values[label] == best else 0.0


def read_predictions(path: Path, scores: Scores, report: Report) -> None:
    """Fill the sums from the rows."""
    seen: set[int] = set()
    for number, group in grouped(rows(path, "prediction", report)):
        scores.instances += 1
        scores.requests += len(group)
        if not check_choices(group, seen, path, number, report):
            continue
        for offset, row in enumerate(group):
            if not row["characters"] <= row["bytes"] <= 4 * row["characters"]:
                report.problem(path, f"{row['bytes']} bytes cannot be {row['characters']} characters", number + offset)
        label = group[0]["label"]
        scores.choices[len(group)] += 1
        scores.labels[label] += 1
        scores.chance.append(1 / len(group))
        sums = [row["log_probability"] for row in group]
        scored = {
            "acc_raw": sums,
            "acc_per_token": [row["log_probability"] / row["tokens"] for row in group],
            "acc_per_char": [row["log_probability"] / row["characters"] for row in group],
            "acc_per_byte": [row["log_probability"] / row["bytes"] for row in group],
            "longest": [float(row["characters"]) for row in group],
        }
        answers = [row["log_probability_answer"] for row in group]
        if None not in answers:
            scored["acc_uncond"] = [a - b for a, b in zip(sums, answers, strict=True)]
        unigrams = [row["log_probability_unigram"] for row in group]
        if None not in unigrams:
            for size, count in (("token", "tokens"), ("char", "characters"), ("byte", "bytes")):
                scored[f"unigram acc_per_{size}"] = [a / row[count] for a, row in zip(unigrams, group, strict=True)]
            scored["unigram acc_raw"] = scored["unigram acc_uncond"] = unigrams  # it reads no context
        for name, values in scored.items():
            scores.credits[name].append(credit(values, label))
        right = group[label]
        scores.bits_per_byte.append(-right["log_probability"] / (math.log(2) * right["bytes"]))


def check_metrics(path: Path, task: str, stated: Any, scores: Scores, report: Report) -> None:
    """What metrics.json says of one task."""
    report.equal(path, f"{task}: instances", stated["instances"], scores.instances)
    n = sum(scores.labels.values())
    if n == 0:
        return
    if stated["primary_metric"] not in stated["metrics"]:
        report.problem(path, f"{task}: the primary metric {stated['primary_metric']} is not among the metrics")
    for name, metric in stated["metrics"].items():
        values = scores.bits_per_byte if name == "bits_per_byte" else scores.credits.get(name, [])
        if len(values) != n:
            report.problem(path, f"{task}: {name} cannot come from these predictions")
            continue
        compare(path, f"{task}: {name}", metric["value"], math.fsum(values) / n, report)
        check_interval(path, f"{task}: {name}", metric["value"], metric["low"], metric["high"], report)
    baselines = {"chance": math.fsum(scores.chance) / n, "majority": max(scores.labels.values()) / n}
    for name, credited in (("longest", "longest"), ("unigram", f"unigram {stated['primary_metric']}")):
        if len(scores.credits.get(credited, [])) == n:
            baselines[name] = math.fsum(scores.credits[credited]) / n
    primary = stated["metrics"].get(stated["primary_metric"])
    for name, baseline in stated["baselines"].items():
        if name not in baselines:
            report.problem(path, f"{task}: the baseline {name} cannot come from these predictions")
            continue
        compare(path, f"{task}: baseline {name}", baseline["value"], baselines[name], report)
        if "difference" in baseline and primary is not None and stated["primary_metric"].startswith("acc"):
            compare(
                path,
                f"{task}: difference to {name}",
                baseline["difference"],
                primary["value"] - baselines[name],
                report,
            )


def compare(path: Path, name: str, found: float, expected: float, report: Report) -> None:
    """A problem where two numbers differ by more than the order of adding explains."""
    if not close(found, expected, 1e-9, 1e-9):
        report.problem(path, f"{name} is {found!r}, but the predictions give {expected!r}")


def check_comparison(path: Path, report: Report, options: Options) -> str:
    """Check what `catwalk-eval compare` writes."""
    comparison = load(path, "predictions_comparison", report)
    if comparison is None:
        return "unreadable"
    for row in comparison["rows"]:
        compare(path, f"{row['task']}: difference", row["difference"], row["a"] - row["b"], report)
        check_interval(path, row["task"], row["difference"], row["low"], row["high"], report)
        if row["p_value_holm"] is not None and row["p_value"] is not None and row["p_value_holm"] < row["p_value"]:
            report.problem(path, f"{row['task']}: adjusting has made the p value {row['p_value']} smaller")
    return f"{len(comparison['rows']):,} rows"
