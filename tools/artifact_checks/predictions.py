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

NAMES = ("predictions.jsonl.gz", "task.json", "requests.jsonl.gz")
ADDED = ("characters_bare", "bytes_bare", "cluster")  # to rows by format version 2


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
        about = load(folder / task / "task.json", "requests_task", report)
        scores = Scores(None if about is None else about.get("positive"))
        read_predictions(folder / task / "predictions.jsonl.gz", scores, report, manifest["format_version"])
        total += scores.requests
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
    if metrics is not None and metrics.get("suite") is not None:
        check_suite(folder / "metrics.json", metrics["tasks"], metrics["suite"], report)
    return f"{len(tasks)} tasks, {total:,} predictions"


def check_about(path: Path, about: Any, manifest: Any, scores: Scores, report: Report) -> None:
    """task.json of one task."""
    report.equal(path, "name", about["name"], path.parent.name)
    report.equal(path, "boundary", about["boundary"], manifest["boundary"])
    report.equal(path, "instances", about["instances"], scores.instances)


class Scores:
    """Sums over the instances of a task."""

    def __init__(self, positive: int | None) -> None:
        self.positive = positive
        self.instances = 0
        self.requests = 0
        self.choices: Counter[int] = Counter()
        self.labels: Counter[int] = Counter()
        self.chance: list[float] = []
        self.credits: dict[str, list[float]] = defaultdict(list)
        self.means: dict[str, list[float]] = defaultdict(list)
        self.domains: dict[str, list[int]] = defaultdict(list)
        self.predicted: dict[str, Counter[int]] = defaultdict(Counter)
        self.found: dict[str, list[float]] = defaultdict(list)

    def number_of_choices(self) -> int | list[int]:
        """One number where all instances have it, else all that occur."""
        numbers = sorted(self.choices)
        return numbers[0] if len(numbers) == 1 else numbers

    def f1(self, shares: list[float]) -> float:
        """Of the positive choice, from how far each instance predicts it."""
        right = self.labels[self.positive] if self.positive is not None else 0
        both = math.fsum(share for share, found in zip(shares, self.found["right"], strict=True) if found)
        total = math.fsum(shares) + right
        return 2 * both / total if total else 0.0


def shared(values: list[float]) -> list[float]:
    """1 for the best choice, 1/k for each of k best, 0 for the others."""
    best = max(values)
    return [1 / values.count(best) if value == best else 0.0 for value in values]


def read_predictions(path: Path, scores: Scores, report: Report, version: int) -> None:
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
            missing = [key for key in ADDED if key not in row] if version > 1 else []
            if missing:
                report.problem(path, f"{missing[0]} is missing", number + offset)
        label = group[0]["label"]
        scores.choices[len(group)] += 1
        scores.labels[label] += 1
        scores.chance.append(1 / len(group))
        scores.domains[group[0]["domain"] or ""].append(scores.instances)
        sums = [row["log_probability"] for row in group]
        scored = {"acc_raw": sums, "longest": [float(row["characters"]) for row in group]}
        sizes = {"token": "tokens", "char": "characters", "byte": "bytes"}
        lengths = {f"acc_per_{size}": [row[count] for row in group] for size, count in sizes.items()}
        for size, count in (("char", "characters"), ("byte", "bytes")):
            lengths[f"acc_per_{size}_bare"] = [row.get(f"{count}_bare", max(1, row[count] - 1)) for row in group]
        lengths = {name: values for name, values in lengths.items() if min(values) > 0}
        for name, counts in lengths.items():
            scored[name] = [value / count for value, count in zip(sums, counts, strict=True)]
        for name, key in (("acc_uncond", "log_probability_answer"), ("acc_uncond_empty", "log_probability_empty")):
            others = [row[key] for row in group]
            if None not in others:
                scored[name] = [a - b for a, b in zip(sums, others, strict=True)]
        unigrams = [row["log_probability_unigram"] for row in group]
        if None not in unigrams:
            for name, counts in lengths.items():
                scored[f"unigram {name}"] = [a / b for a, b in zip(unigrams, counts, strict=True)]
            for name in ("acc_raw", "acc_uncond", "acc_uncond_empty", "f1"):  # it reads no context
                scored[f"unigram {name}"] = unigrams
        for name, values in scored.items():
            shares = shared(values)
            scores.credits[name].append(shares[label])
            scores.predicted[name].update(dict(enumerate(shares)))
            if scores.positive is not None:
                scores.found[name].append(shares[scores.positive] if scores.positive < len(shares) else 0.0)
        scores.found["right"].append(label == scores.positive)
        right = group[label]
        highest = max(sums)
        soft = right["log_probability"] - highest - math.log(math.fsum(math.exp(value - highest) for value in sums))
        scores.means["bits_per_byte"].append(-right["log_probability"] / (math.log(2) * right["bytes"]))
        scores.means["log_soft_score"].append(soft)
        scores.means["soft_score"].append(math.exp(soft))
        scores.means["probability_mass"].append(math.fsum(math.exp(value) for value in sums))


def check_metrics(path: Path, task: str, stated: Any, scores: Scores, report: Report) -> None:
    """What metrics.json says of one task."""
    report.equal(path, f"{task}: instances", stated["instances"], scores.instances)
    n = sum(scores.labels.values())
    if n == 0:
        return
    if stated["primary_metric"] not in stated["metrics"]:
        report.problem(path, f"{task}: the primary metric {stated['primary_metric']} is not among the metrics")
    for name, metric in stated["metrics"].items():
        values = scores.means[name] if name in scores.means else scores.credits.get(name, [])
        if name == "f1" and scores.positive is not None:
            compare(path, f"{task}: f1", metric["value"], scores.f1(scores.found["acc_raw"]), report)
        elif len(values) != n:
            report.problem(path, f"{task}: {name} cannot come from these predictions")
            continue
        else:
            compare(path, f"{task}: {name}", metric["value"], math.fsum(values) / n, report)
        check_interval(path, f"{task}: {name}", metric["value"], metric["low"], metric["high"], report)
    check_counts(path, task, stated, scores, report)
    check_macro(path, task, stated, scores, report)
    check_baselines(path, task, stated, scores, report)


def check_counts(path: Path, task: str, stated: Any, scores: Scores, report: Report) -> None:
    """How often each place is right, and how often it is predicted."""
    places = range(max(scores.choices))
    if "labels" in stated:
        report.equal(path, f"{task}: labels", stated["labels"], [scores.labels[place] for place in places])
    for name, counts in stated.get("predicted", {}).items():
        found = scores.predicted["acc_raw" if name == "f1" else name]
        if len(counts) != len(places) or any(not close(counts[k], found[k], 1e-6, 1e-6) for k in places):
            report.problem(path, f"{task}: predicted {name} is not what the predictions give")


def check_macro(path: Path, task: str, stated: Any, scores: Scores, report: Report) -> None:
    """The domains of a task: as many as in the rows, and their mean."""
    macro = stated.get("macro")
    if macro is None:
        return
    counted = {name: domain["instances"] for name, domain in macro["domains"].items()}
    report.equal(path, f"{task}: domains", counted, {name: len(found) for name, found in scores.domains.items()})
    values = scores.credits.get(stated["primary_metric"], [])
    for name, members in scores.domains.items():
        if name in macro["domains"] and len(values) == scores.instances:
            value = math.fsum(values[k - 1] for k in members) / len(members)
            compare(path, f"{task}: domain {name}", macro["domains"][name]["value"], value, report)
    mean = math.fsum(domain["value"] for domain in macro["domains"].values()) / len(macro["domains"])
    compare(path, f"{task}: mean over domains", macro["value"], mean, report)
    check_interval(path, f"{task}: mean over domains", macro["value"], macro["low"], macro["high"], report)


def check_baselines(path: Path, task: str, stated: Any, scores: Scores, report: Report) -> None:
    """What needs no model, and how far the primary metric is above it."""
    n, name = sum(scores.labels.values()), stated["primary_metric"]
    if name == "f1":
        return  # its baselines are F1 too; what the rows give of them is compared in the package's own tests
    baselines = {"chance": math.fsum(scores.chance) / n, "majority": max(scores.labels.values()) / n}
    for kind, credited in (("longest", "longest"), ("unigram", f"unigram {name}")):
        if len(scores.credits.get(credited, [])) == n:
            baselines[kind] = math.fsum(scores.credits[credited]) / n
    primary = stated["metrics"].get(name)
    for kind, baseline in stated["baselines"].items():
        if kind not in baselines:
            report.problem(path, f"{task}: the baseline {kind} cannot come from these predictions")
            continue
        compare(path, f"{task}: baseline {kind}", baseline["value"], baselines[kind], report)
        if "difference" in baseline and primary is not None and name.startswith("acc"):
            difference = primary["value"] - baselines[kind]
            compare(path, f"{task}: difference to {kind}", baseline["difference"], difference, report)


def check_suite(path: Path, tasks: Any, suite: Any, report: Report) -> None:
    """The mean over tasks is that of their primary metrics."""
    known = [tasks[name] for name in suite["tasks"] if name in tasks]
    values = [
        task["metrics"][task["primary_metric"]]["value"] for task in known if task["primary_metric"] in task["metrics"]
    ]
    if len(values) != len(suite["tasks"]):
        report.problem(path, "suite: it names a task that has no primary metric here")
        return
    compare(path, "suite", suite["value"], math.fsum(values) / len(values), report)
    check_interval(path, "suite", suite["value"], suite["low"], suite["high"], report)


def compare(path: Path, name: str, found: float, expected: float, report: Report) -> None:
    """A problem where two numbers differ by more than the order of adding explains."""
    if not close(found, expected, 1e-9, 1e-9):
        report.problem(path, f"{name} is {found!r}, but the predictions give {expected!r}")


def check_comparison(path: Path, report: Report, options: Options) -> str:
    """Check what `catwalk-eval compare` writes."""
    comparison = load(path, "predictions_comparison", report)
    if comparison is None:
        return "unreadable"
    runs = len(comparison.get("runs", ()))
    for row in [*comparison["rows"], *comparison.get("suites", [])]:
        name = row.get("task", "suite")
        compare(path, f"{name}: difference", row["difference"], row["a"] - row["b"], report)
        check_interval(path, name, row["difference"], row["low"], row["high"], report)
        if row["p_value_holm"] is not None and row["p_value"] is not None and row["p_value_holm"] < row["p_value"]:
            report.problem(path, f"{name}: adjusting has made the p value {row['p_value']} smaller")
        if comparison["format_version"] > 1 and max(row.get("run_a", runs), row.get("run_b", runs)) >= runs:
            report.problem(path, f"{name}: it compares a run that is not listed")
    return f"{len(comparison['rows']):,} rows"
