"""The predictions artifact: reading, writing, recomputing and comparing it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from .config import CompareConfig
from .errors import UserError
from .files import atomic_write, read_json, write_json
from .metrics import Instances, by_instance, task_metrics
from .provenance import recorded
from .requests import json_rows, task_description
from .scores import ACCURACIES, applies, credit, gold_bits_per_byte
from .statistics import CONFIDENCE, detectable_difference, holm, paired_difference, paired_t_p_value, sign_flip_p_value
from .statistics import student as student_interval

ROWS = "predictions.jsonl.gz"
log = logging.getLogger(__name__)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write prediction rows, whole or not at all."""
    with atomic_write(path) as stream:
        for row in rows:
            stream.write(json.dumps(row).encode() + b"\n")


def read_manifest(root: Path) -> dict[str, Any]:
    """Manifest of a predictions artifact; anything else is a UserError."""
    where = root / "manifest.json"
    manifest = read_json(where)
    if not isinstance(manifest, dict) or manifest.get("artifact") != "predictions":
        raise UserError("not a predictions artifact", where=root, fix="give the --output of `catwalk-eval run`")
    if manifest.get("format_version") != 1:
        raise UserError(
            f"format_version {manifest.get('format_version')!r} is not read", where=root, fix="run the evaluation again"
        )
    tasks, counts = manifest.get("tasks"), manifest.get("counts")
    if (
        not isinstance(tasks, list)
        or not isinstance(counts, dict)
        or not isinstance(manifest.get("model"), dict)
        or not tasks
        or not all(isinstance(task, str) and isinstance(counts.get(task), dict) for task in tasks)
    ):
        raise UserError("the manifest is not whole: model, tasks, counts", where=where, fix="run the evaluation again")
    return manifest


def read_instances(root: Path, task: str, manifest: Mapping[str, Any]) -> Instances:
    """Rows of one task by instance; a damaged row, or a number other than the manifest's, is a UserError."""
    path = root / task / ROWS
    rows = []
    for line, row in json_rows(path):
        if problem := row_problem(row):
            raise UserError(problem, where=path, line=line, fix="run the evaluation again")
        rows.append(row)
    instances = by_instance(rows)
    for instance in instances:
        labels = {row["label"] for row in instance}
        choices = [row["idx"] for row in instance]
        if choices != list(range(len(choices))) or len(labels) != 1 or min(labels) >= len(choices):
            raise UserError(
                f"the choices of instance {instance[0]['doc_id']} are not whole, or the right one is none of them",
                where=path,
                fix="run the evaluation again",
            )
    counted = {"instances": len(instances), "requests": len(rows)}
    if any(manifest["counts"][task].get(key) != value for key, value in counted.items()) or not rows:
        raise UserError("the rows are not those that the manifest counts", where=path, fix="run the evaluation again")
    return instances


def row_problem(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a prediction row, if anything."""
    for keys, least in ((("doc_id", "idx", "label"), 0), (("tokens", "characters", "bytes"), 1)):
        for key in keys:
            if type(row.get(key)) is not int or row[key] < least:
                return f"{key} is no whole number from {least}"
    for key in ("log_probability_answer", "log_probability_empty", "log_probability_unigram"):
        if not is_number(row.get(key, "missing")) and row.get(key, "missing") is not None:
            return f"{key} is neither a finite number nor null"
    if not is_number(row.get("log_probability")):
        return "log_probability is no finite number"
    return None if "native_id" in row else "native_id is missing"


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def compute_metrics(root: Path) -> dict[str, Any]:
    """What metrics.json should say, from the stored rows."""
    manifest = read_manifest(root)
    tasks = {
        task: task_metrics(task_description(root / task / "task.json"), read_instances(root, task, manifest))
        for task in manifest["tasks"]
    }
    return {"format_version": 1, "tasks": tasks}


def rescore(root: Path) -> dict[str, Any]:
    """Recompute metrics.json; says whether it changed."""
    metrics = compute_metrics(root)
    path = root / "metrics.json"
    try:
        before = read_json(path) if path.is_file() else None
    except UserError:
        before = "damaged"
    if before == metrics:
        log.info("%s: unchanged", path)
        return metrics
    with recorded("catwalk-eval", "rescore", folder=root, config={"predictions": root}) as record:
        write_json(path, metrics)
        record.outputs.append(path)
    log.info("%s: written anew, %s", path, "there was none" if before is None else "it differed from the predictions")
    return metrics


def compare(a: Path, b: Path, config: CompareConfig) -> dict[str, Any]:
    """Paired comparison of two predictions artifacts on the tasks that both hold; differences are a − b.

    Accuracies: Bonett-Price interval and exact sign-flip test. Bits per byte: Student's paired t. p values are
    adjusted for the number of tasks (Holm 1979). With ``config.output`` it is written there, and its record beside it.
    """
    if config.output is None:
        return comparison(a, b, config.metric)
    with recorded("catwalk-eval", "compare", folder=config.output.parent, config=config, inputs=[a, b]) as record:
        result = comparison(a, b, config.metric)
        write_json(config.output, result)
        record.outputs.append(config.output)
        record.counts = {"tasks": len(result["rows"]), "instances": sum(row["instances"] for row in result["rows"])}
    return result


def comparison(a: Path, b: Path, metric: str | None) -> dict[str, Any]:
    """What ``compare`` says."""
    manifests = read_manifest(a), read_manifest(b)
    common = [task for task in manifests[0]["tasks"] if task in manifests[1]["tasks"]]
    if not common:
        raise UserError("the two have no task in common", where=b, fix="run both on the same tasks")
    for manifest, other in ((0, a), (1, b)):
        left_out = [task for task in manifests[manifest]["tasks"] if task not in common]
        if left_out:
            log.info("only in %s, not compared: %s", other, ", ".join(left_out))
    rows = [compare_task(task, a, b, manifests, metric) for task in common]
    adjusted = holm({row["task"]: row["p_value"] for row in rows if row["p_value"] is not None})
    for row in rows:
        row["p_value_holm"] = adjusted.get(row["task"])
    return {
        "format_version": 1,
        "a": manifests[0]["model"],
        "b": manifests[1]["model"],
        "confidence": CONFIDENCE,
        "rows": rows,
    }


def identities(instances: Instances) -> list[tuple[object, ...]]:
    """What must be the same in two runs for their rows to be pairs."""
    keys = ("doc_id", "native_id", "idx", "label", "characters", "bytes")
    return [tuple(row[key] for key in keys) for instance in instances for row in instance]


def compare_task(
    task: str, a: Path, b: Path, manifests: tuple[Mapping[str, Any], Mapping[str, Any]], metric: str | None
) -> dict[str, Any]:
    """One row of a comparison; instances, choices and dialect must be the same on both sides."""
    about = [task_description(root / task / "task.json") for root in (a, b)]
    for key in ("dialect", "shots"):
        if about[0][key] != about[1][key]:
            raise UserError(
                f"{task} has another {key} on each side ({about[0][key]}, {about[1][key]})",
                where=b / task / "task.json",
                fix="run both on the same requests",
            )
    left, right = (read_instances(root, task, manifest) for root, manifest in zip((a, b), manifests, strict=True))
    if identities(left) != identities(right):
        raise UserError(
            f"{task} was run on other instances", where=b / task, fix="run both on the same requests and --limit"
        )
    name = str(about[0]["primary_metric"]) if metric is None else metric
    if name == "bits_per_byte":
        bits = [[gold_bits_per_byte(instance) for instance in side] for side in (left, right)]
        differences = [x - y for x, y in zip(*bits, strict=True)]
        estimate = student_interval(differences)
        p, detectable = paired_t_p_value(differences), None
        values = [sum(side) / len(side) for side in bits]
        test = "paired t"
    else:
        for side, root in ((left, a), (right, b)):
            if not applies(name, [row for instance in side for row in instance]):
                raise UserError(f"{task} has no {name}", where=root / task, fix="choose another --metric")
        credits_ = [[credit(instance, ACCURACIES[name]) for instance in side] for side in (left, right)]
        paired: list[Fraction] = [x - y for x, y in zip(*credits_, strict=True)]
        estimate = paired_difference(paired)
        p, detectable = sign_flip_p_value(paired), detectable_difference(paired)
        values = [float(sum(side, Fraction(0)) / len(side)) for side in credits_]
        test = "sign flip, exact"
    return {
        "task": task,
        "metric": name,
        "instances": len(left),
        "a": values[0],
        "b": values[1],
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "interval": estimate.method,
        "p_value": p,
        "test": test,
        "detectable_difference": detectable,
    }
