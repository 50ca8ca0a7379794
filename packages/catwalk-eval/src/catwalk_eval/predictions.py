"""The predictions artifact: writing its rows, reading them as columns, and recomputing metrics.json from them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .files import DAMAGE, atomic_write, open_read, read_json, write_json
from .metrics import suite_average, task_metrics
from .provenance import recorded
from .records import json_rows
from .requests import task_description
from .scores import Choices, Floats, Ints

ROWS = "predictions.jsonl.gz"
VERSIONS = (1, 2)
METRICS_VERSION = 2
AGAIN = "run the evaluation again"
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
    if manifest.get("format_version") not in VERSIONS:
        raise UserError(f"format_version {manifest.get('format_version')!r} is not read", where=root, fix=AGAIN)
    tasks, counts, model = (manifest.get(key) for key in ("tasks", "counts", "model"))
    if (
        not isinstance(tasks, list)
        or not isinstance(counts, dict)
        or not isinstance(model, dict)
        or not isinstance(model.get("name"), str)
        or not tasks
        or not all(isinstance(task, str) and isinstance(counts.get(task), dict) for task in tasks)
    ):
        raise UserError("the manifest is not whole: model, tasks, counts", where=where, fix=AGAIN)
    return manifest


def read_choices(root: Path, task: str, manifest: Mapping[str, Any]) -> Choices:
    """Rows of one task as columns; a damaged row, or a number other than the manifest's, is a UserError.

    Rows of format version 1 have no lengths without the leading space: they are one less, as every choice had one.
    """
    path = root / task / ROWS
    bare = manifest["format_version"] > 1
    rows = rows_at_once(path)
    if rows is None:
        rows = [row for _, row in json_rows(path)]
    choices = columns(rows, bare)
    if choices is None:
        raise damage_of(path, bare)
    counted = {"instances": len(choices), "requests": len(rows)}
    if any(manifest["counts"][task].get(key) != value for key, value in counted.items()):
        raise UserError("the rows are not those that the manifest counts", where=path, fix=AGAIN)
    return choices


def rows_at_once(path: Path) -> list[dict[str, Any]] | None:
    """All objects of a packed JSON Lines file, faster than line by line; None where one is odd or damaged."""
    with open_read(path) as stream:
        try:
            lines = stream.read().decode().split("\n")
        except (*DAMAGE, UnicodeDecodeError):
            return None
    decode = json.JSONDecoder().raw_decode
    try:
        found = [decode(line) for line in lines if line]
    except (ValueError, RecursionError):
        return None
    whole = all(end == len(line) for (_, end), line in zip(found, filter(None, lines), strict=True))
    rows = [row for row, _ in found]
    return rows if whole and set(map(type, rows)) <= {dict} else None


def damage_of(path: Path, bare: bool) -> UserError:
    """What is wrong with the rows of a file, looked for line by line."""
    rows = []
    for line, row in json_rows(path):
        problem = row_problem(row, bare)
        if problem is not None:
            return UserError(problem, where=path, line=line, fix=AGAIN)
        rows.append(row)
    return UserError(whole_problem(rows), where=path, fix=AGAIN)


def columns(rows: Sequence[Mapping[str, Any]], bare: bool = True) -> Choices | None:
    """Prediction rows as columns; None where there are none or any is damaged. ``bare``: they have the bare lengths."""
    try:
        doc_id, idx, label = (integers(rows, key, 0) for key in ("doc_id", "idx", "label"))
        tokens, characters, size = (integers(rows, key, 1) for key in ("tokens", "characters", "bytes"))
        if bare:
            characters_bare, bytes_bare = (integers(rows, key, 0) for key in ("characters_bare", "bytes_bare"))
        else:
            characters_bare, bytes_bare = np.maximum(characters - 1, 1), np.maximum(size - 1, 1)
        log_probability = numbers(rows, "log_probability")
        answer, empty, unigram = (numbers(rows, f"log_probability_{kind}") for kind in ("answer", "empty", "unigram"))
        starts = np.flatnonzero(np.append(True, doc_id[1:] != doc_id[:-1])) if rows else np.empty(0, dtype=np.int64)
        first = starts.tolist()
        native_id, domain, cluster = [row["native_id"] for row in rows], names(rows, "domain"), names(rows, "cluster")
        choices = Choices(
            doc_id=doc_id[starts],
            native_id=[native_id[start] for start in first],
            domain=[domain[start] for start in first],
            cluster=[cluster[start] for start in first],
            label=label[starts],
            starts=starts,
            log_probability=np.empty(0) if log_probability is None else log_probability,
            tokens=tokens,
            characters=characters,
            bytes=size,
            characters_bare=characters_bare,
            bytes_bare=bytes_bare,
            greedy=np.array([row.get("greedy") is True for row in rows], dtype=np.bool_),
            truncated=np.array([row.get("truncated") is True for row in rows], dtype=np.bool_),
            answer=answer,
            empty=empty,
            unigram=unigram,
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    counts = choices.counts
    whole = (
        log_probability is not None
        and len(np.unique(choices.doc_id)) == len(starts)
        and np.array_equal(idx, np.arange(len(rows)) - np.repeat(starts, counts))
        and np.array_equal(label, np.repeat(choices.label, counts))
        and bool((choices.label < counts).all())
    )
    return choices if rows and whole else None


def integers(rows: Sequence[Mapping[str, Any]], key: str, least: int) -> Ints:
    """A column of whole numbers, none below ``least``; TypeError or ValueError for anything else."""
    values = [row[key] for row in rows]
    if not set(map(type, values)) <= {int}:
        raise TypeError(key)
    column = np.array(values, dtype=np.int64)
    if len(column) and column.min() < least:
        raise ValueError(key)
    return column


def numbers(rows: Sequence[Mapping[str, Any]], key: str) -> Floats | None:
    """A column of finite numbers, None where a row has null; TypeError or ValueError for anything else."""
    values = [row[key] for row in rows]
    kinds = set(map(type, values))
    if not kinds <= {int, float, type(None)}:
        raise TypeError(key)
    column = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
    if not np.isfinite(column).all():
        raise ValueError(key)
    return None if type(None) in kinds else column


def names(rows: Sequence[Mapping[str, Any]], key: str) -> list[str | None]:
    """A column of texts or nulls; TypeError for anything else."""
    values = [row.get(key) for row in rows]
    if not set(map(type, values)) <= {str, type(None)}:
        raise TypeError(key)
    return values


def row_problem(row: Mapping[str, Any], bare: bool) -> str | None:
    """What is wrong with a prediction row, if anything."""
    counted = [("doc_id", 0), ("idx", 0), ("label", 0), ("tokens", 1), ("characters", 1), ("bytes", 1)]
    for key, least in counted + ([("characters_bare", 0), ("bytes_bare", 0)] if bare else []):
        if type(row.get(key)) is not int or not least <= row[key] < 2**63:
            return f"{key} is no whole number from {least}"
    for key in ("log_probability_answer", "log_probability_empty", "log_probability_unigram"):
        if not is_number(row.get(key, "missing")) and row.get(key, "missing") is not None:
            return f"{key} is neither a finite number nor null"
    if not is_number(row.get("log_probability")):
        return "log_probability is no finite number"
    for key in ("domain", "cluster"):
        if not isinstance(row.get(key), str | None):
            return f"{key} is neither a text nor null"
    return None if "native_id" in row else "native_id is missing"


def whole_problem(rows: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with rows that are sound one by one."""
    if not rows:
        return "the rows are not those that the manifest counts"
    seen: set[int] = set()
    start = 0
    for end in range(1, len(rows) + 1):
        doc_id = rows[start]["doc_id"]
        if end < len(rows) and rows[end]["doc_id"] == doc_id:
            continue
        part = rows[start:end]
        labels = {row["label"] for row in part}
        if [row["idx"] for row in part] != list(range(len(part))) or len(labels) > 1 or min(labels) >= len(part):
            return f"the choices of instance {doc_id} are not whole, or the right one is none of them"
        if doc_id in seen:
            return f"the choices of instance {doc_id} do not stand together"
        seen.add(doc_id)
        start = end
    raise AssertionError("these rows are whole")


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Run:
    """A predictions artifact: where it lies, what its manifest says, and a name that tells it from others."""

    root: Path
    manifest: Mapping[str, Any]
    name: str = ""
    known: dict[str, tuple[dict[str, Any], Choices]] = field(default_factory=dict, compare=False, repr=False)

    def task(self, task: str) -> tuple[dict[str, Any], Choices]:
        """``task.json`` and the rows of a task, read once."""
        if task not in self.known:
            about = task_description(self.root / task / "task.json")
            self.known[task] = about, read_choices(self.root, task, self.manifest)
        return self.known[task]


def load_runs(roots: Sequence[Path]) -> list[Run]:
    """Predictions artifacts by folder. Runs of equal model names are told apart by their folders."""
    manifests = [read_manifest(root) for root in roots]
    models = [str(manifest["model"]["name"]) for manifest in manifests]
    labels = [
        f"{model} ({root})" if models.count(model) > 1 else model for root, model in zip(roots, models, strict=True)
    ]
    return [Run(*run) for run in zip(roots, manifests, labels, strict=True)]


def metrics_of(run: Run) -> dict[str, Any]:
    """What metrics.json should say of a run."""
    rows = {task: run.task(task) for task in run.manifest["tasks"]}
    tasks = {task: task_metrics(*found, where=run.root / task) for task, found in rows.items()}
    return {"format_version": METRICS_VERSION, "tasks": tasks, "suite": suite_average(tasks, rows)}


def compute_metrics(root: Path) -> dict[str, Any]:
    """What metrics.json should say, from the stored rows."""
    return metrics_of(Run(root, read_manifest(root)))


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
