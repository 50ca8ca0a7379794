"""The folder that a recipe leaves, small, with every artifact that the report page reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def put(root: Path, path: str, value: object) -> None:
    """A JSON file; a list becomes JSON Lines where the name says so."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if ".jsonl" in path:
        assert isinstance(value, list)
        text = "".join(json.dumps(row) + "\n" for row in value)
    else:
        text = json.dumps(value)
    file.write_bytes(gzip.compress(text.encode()) if path.endswith(".gz") else text.encode())


def score(bits: float, documents: int, low: float | None, high: float | None) -> dict[str, Any]:
    why = "bootstrap-t over documents" if low is not None else "none: 3 documents, at least 10 are needed"
    return {
        "documents": documents, "tokens": 1000, "bytes": 4321, "log_probability": -1.0, "perplexity": 23.456,
        "bits_per_byte": bits, "bits_per_byte_low": low, "bits_per_byte_high": high, "interval": why,
    }  # fmt: skip


def results(base: float) -> dict[str, Any]:
    return {
        "format_version": 1,
        "domains": [
            {"source": "docs", "domain": "json", **score(base + 0.2, 40, base + 0.1, base + 0.3)},
            {"source": "docs", "domain": "email", **score(base - 0.2, 3, None, None)},
        ],
        "sources": [{"source": "docs", **score(base, 43, base - 0.05, base + 0.05)}],
        "aggregates": [
            {"name": "micro", **score(base, 43, base - 0.05, base + 0.05)},
            {"name": "macro", **score(base, 43, base - 0.05, base + 0.05)},
        ],
    }


def comparison(model: float, other: float, low: float, high: float) -> dict[str, Any]:
    row = {"documents": 43, "a": model, "b": other, "difference": model - other, "low": low, "high": high}
    why = {"interval": "bootstrap-t over documents"}
    return {
        "format_version": 1, "a": "run", "b": "baseline", "metric": "bits_per_byte", "confidence": 0.95,
        "rows": [
            {"level": "aggregate", "source": None, "domain": "micro", **row, **why},
            {"level": "source", "source": "docs", "domain": None, **row, **why},
        ],
    }  # fmt: skip


def metric(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.04, "high": value + 0.04, "standard_error": 0.02, "method": "wilson"}


def task() -> dict[str, Any]:
    return {
        "dialect": "cloze", "shots": 0, "instances": 612, "choices": 4, "primary_metric": "acc_per_char",
        "metrics": {"acc_raw": metric(0.387), "acc_per_char": metric(0.412), "bits_per_byte": metric(1.812)},
        "baselines": {
            "chance": {"value": 0.25}, "majority": {"value": 0.268},
            "longest": {"value": 0.291, "difference": 0.121, "p_value": 0.00004},
            "unigram": {"value": 0.405, "difference": 0.007, "p_value": 0.4321},
        },
        "chance_p_value": 0.0071,
    }  # fmt: skip


def build(root: Path, text: str = "") -> Path:
    """A whole run, small, with ``text`` wherever a run holds text of others."""
    put(root, "recipe.json", {
        "recipe": "small" + text, "started": "2026-01-02T03:04:05+00:00", "finished": None, "stages": [
            {"name": "extract", "description": "Read." + text, "seconds": 61.4, "skipped": True,
             "peak_memory_bytes": 123_456_789, "command": ["dolma-data", "extract", "a folder", "it's" + text]},
            {"name": "train", "description": "Train.", "seconds": 125.0, "skipped": False,
             "command": ["olmo-model", "train", str(root / "configs" / "train.yaml")]},
            {"name": "late", "command": ["dolma-data", "late"]},
        ]})  # fmt: skip
    (root / "configs").mkdir(exist_ok=True)
    (root / "configs" / "train.yaml").write_text("preset: tiny\n" + text.replace("\ud800", ""))
    counts = {"read": 12345, "kept": 12000, "dropped": 340, "failed": 5}
    put(root, "raw/manifest.json", {"artifact": "documents", "counts": counts})
    put(root, "suite/suite.json", {"artifact": "suite", "counts": {"read": 9, "kept": 1, "dropped": 1, "failed": 1}})
    rule = "$.attributes[?(@.rules__gopher_v2__word_count[0][2] < 20)]"
    put(root, "mixed/funnel.json", {
        "format_version": 1, "read": {"docs" + text: 9000, "code": 3000}, "kept": {"docs" + text: 7500, "code": 2900},
        "rules": [
            {"rule": rule, "stream": "s", "dropped": {"docs" + text: 1234}, "matched": {"docs" + text: 1300}},
            {"rule": "other" + text, "stream": "s", "dropped": {"docs" + text: 266, "code": 100}, "matched": {}},
            {"rule": "idle", "stream": "s", "dropped": {}, "matched": {}},
        ],
        "replaced_spans": {"addresses" + text: 88, "$.attributes.r__pii__EMAIL": 7, "$.attributes.repeated": 9},
        "text_bytes": {"read": {"docs" + text: 4_000_000, "code": 6_000_000},
                       "kept": {"docs" + text: 3_000_000, "code": 5_500_000}},
    })  # fmt: skip
    put(root, "contamination.json", {
        "documents_read": 10400, "documents_contaminated": 0, "minimum_words": 13, "exempt_sources": [], "sources": [
            {"paragraphs": 1203, "paragraphs_found": 0, "held_out_documents": 971, "held_out_documents_found": 0}
        ]})  # fmt: skip
    put(root, "statistics/summaries.jsonl.gz", [
        {"name": "r__char_length_v1__length/score", "counts": [5, 10, 5], "bins": [1, 10, 20, 30],
         "total": 20, "sum": 300},
        {"name": "r__c4__curly" + text + "/score", "counts": [7], "bins": [0, 1], "total": 7, "sum": 3.5},
        {"name": "r__c4__lines" + text + "/length", "counts": [1, 2], "bins": [0, 1, 2], "total": 3, "sum": 4},
    ])  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"step": step, "time": 0, "train/CrossEntropyLoss": 10 - step / 20, "optim/learning_rate": 0.001,
         "optim/total_grad_norm": 1.5, "throughput/tokens_per_second": 8000, "throughput/total_tokens": step * 4096}
        for step in range(1, 101)
    ]  # fmt: skip
    rows[-1] |= {"eval/perplexity/all/CrossEntropyLoss": 3.5, "eval/perplexity/all/bits_per_byte": 1.6789,
                 "eval/downstream/cloze_acc_raw": 0.375,
                 "eval/perplexity/docs" + text + "/bits_per_byte": 1.5}  # fmt: skip
    put(root, "run/metrics.jsonl", rows)
    put(root, "run/manifest.json", {"run_name": "r", "parameters": 3_214_592, "tokenizer_digest": digest("a"),
                                    "tokens_fingerprint": digest("b")})  # fmt: skip
    (root / "run" / "latest").write_text("step100\n")
    put(root, "run/step100/manifest.json", {"step": 100, "tokens_seen": 409_600, "dtype": "float32",
                                            "tokenizer_digest": digest("a")})  # fmt: skip
    put(root, "tokens/manifest.json", {"tokenizer_digest": digest("a"), "fingerprint": digest("b"),
                                       "counts": {"read": 3, "kept": 3, "dropped": 0, "failed": 0}})  # fmt: skip
    for folder, base in (("perplexity", 1.9), ("baseline/unigram", 3.3), ("baseline/xz", 2.6)):
        table = results(base)
        table["domains"][0]["domain"] += text
        put(root, f"{folder}/results.json", table)
    put(root, "perplexity/manifest.json", {"split": "test" + text, "maximum_length": 256, "dtype": "float32",
                                           "limit": None, "tokenizer_digest": digest("a"),
                                           "model": {"name": "step100", "digest": digest("f")}})  # fmt: skip
    put(root, "comparison-unigram.json", comparison(1.9, 3.3, -1.4567, -1.3456))
    put(root, "comparison-xz.json", comparison(1.9, 2.6, -0.75, -0.65))
    put(root, "predictions/metrics.json", {"format_version": 1, "tasks": {"cloze": task()}})
    for folder in ("predictions", "predictions-core"):
        put(root, f"{folder}/manifest.json", {"model": {"digest": digest("f")}})
    put(root, "predictions-core/metrics.json", {"format_version": 1, "tasks": {"arc" + text: task()}})
    put(root, "generations/1.json", {"prompt": "def read" + text, "text": "(self):" + text, "tokens": [1], "seed": 7})
    put(root, "which-data.json", {"run": "run", "steps": [{"step": 50, "documents": [
        {"id": "docs/queue" + text, "src": "documents/docs/f.jsonl.gz" + text, "loc": 17,
         "document_tokens": [0, 1500], "document_length": 2345, "instance": 1},
        {"id": "docs/queue" + text, "src": "documents/docs/f.jsonl.gz" + text, "loc": 17,
         "document_tokens": [1500, 1512], "document_length": 2345, "instance": 2},
        *({"id": f"docs/d{n}", "src": "documents/docs/f.jsonl.gz", "loc": n, "document_tokens": [0, 10],
           "document_length": 10} for n in range(20)),
    ]}]})  # fmt: skip
    put(root, "raw/provenance/1.json", {
        "package": "dolma-data" + text, "package_version": "0.1.0", "command": "extract", "arguments": ["x" + text],
        "config": {"a": text}, "seed": 1, "inputs": {"in" + text: digest("d")}, "outputs": {},
        "counts": {"read": 12345},
        "started": "2026-01-02T03:04:05.000+00:00", "python": "3.11.2", "machine": "Linux" + text,
    })  # fmt: skip
    return root
