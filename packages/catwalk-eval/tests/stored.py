"""Predictions folders written by hand, so that what is made of them needs no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from catwalk_eval.files import write_json
from catwalk_eval.predictions import ROWS, write_rows
from catwalk_eval.requests import ROWS as REQUESTS

DIGEST = "sha256:" + "0" * 64


def prediction(doc_id: int, idx: int, label: int, log_probability: float, **others: Any) -> dict[str, Any]:
    """A row whose choice has the text " " and ``idx + 2`` letters."""
    size = idx + 2
    return {
        "doc_id": doc_id, "native_id": f"q{doc_id}", "idx": idx, "label": label, "log_probability": log_probability,
        "tokens": size, "characters": size + 1, "bytes": size + 1, "characters_bare": size, "bytes_bare": size,
        "log_probability_answer": -3.0, "log_probability_empty": -4.0, "greedy": False, "truncated": False,
        "log_probability_unigram": None, "domain": None, "cluster": None,
    } | others  # fmt: skip


def instance(doc_id: int, label: int, scores: Sequence[float], **others: Any) -> list[dict[str, Any]]:
    return [prediction(doc_id, idx, label, score, **others) for idx, score in enumerate(scores)]


def answered(rights: Iterable[bool], **others: Sequence[Any]) -> list[dict[str, Any]]:
    """Instances of two choices, the first of them chosen, that are right or wrong as ``rights`` say."""
    return [
        row
        for doc_id, right in enumerate(rights)
        for row in instance(doc_id, 0 if right else 1, (-1.0, -9.0), **{key: v[doc_id] for key, v in others.items()})
    ]


def write_predictions(
    root: Path,
    tasks: Mapping[str, list[dict[str, Any]]],
    *,
    name: str = "tiny",
    about: Mapping[str, Any] | None = None,
    requests: Mapping[str, list[dict[str, Any]]] | None = None,
    version: int = 2,
) -> Path:
    """A predictions artifact without metrics.json."""
    counts = {}
    for task, rows in tasks.items():
        counts[task] = {"instances": len({row["doc_id"] for row in rows}), "requests": len(rows)}
        write_rows(root / task / ROWS, rows)
        source = "sha256:" + sha256(task.encode()).hexdigest()
        description = {
            "name": task, "dialect": "olmo-inloop", "shots": 0, "split": "validation", "primary_metric": "acc_raw",
            "boundary": "separate", "source_digest": source, **counts[task], **(about or {}),
        }  # fmt: skip
        write_json(root / task / "task.json", description)
        if requests is not None:
            write_rows(root / task / REQUESTS, requests[task])
    manifest = {
        "artifact": "predictions", "format_version": version, "model": {"name": name, "digest": DIGEST},
        "tokenizer_digest": DIGEST, "dtype": "float32", "maximum_length": 128, "boundary": "separate",
        "tasks": list(tasks), "counts": counts,
    }  # fmt: skip
    write_json(root / "manifest.json", manifest)
    return root
