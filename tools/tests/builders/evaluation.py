"""Small valid artifacts of evaluation, built by hand after docs/artifacts.md."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

from builders.corpus import tokenizer_file
from builders.files import EOS, Json, digest, read_json, write_json, write_rows

SUITE = {
    "val": [
        {"text": "Ein Text.", "id": "v1", "source": "wiki", "subdomain": "de", "metadata": {"page": "1"}},
        {"text": "A text.", "id": "v2", "source": "wiki", "subdomain": "en"},
    ],
    "test": [{"text": "Another text.", "id": "t1", "source": "wiki", "subdomain": "en"}],
}


def suite(root: Path, rows: dict[str, list[Json]] = SUITE) -> Path:
    """One source, two domains; the group of every document, and one held-out document outside the splits."""
    folder = root / "suite"
    splits = {}
    for split, documents in rows.items():
        path = f"wiki/{split}/{split}-00000000.jsonl.gz"
        write_rows(folder / path, documents)
        domains: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "bytes": 0})
        for document in documents:
            domains[document["subdomain"]]["documents"] += 1
            domains[document["subdomain"]]["bytes"] += len(document["text"].encode())
        total = {"documents": len(documents), "bytes": sum(domain["bytes"] for domain in domains.values())}
        splits[split] = {
            "files": [{"path": path, **total, "digest": digest(folder / path)}],
            **total,
            "domains": domains,
        }
    held_out = [("v1", "p1"), ("v2", "p2"), ("t1", "p3"), ("u1", "p3")]
    write_rows(folder / "held_out.jsonl.gz", [{"source": "wiki", "id": i, "group": g} for i, g in held_out])
    rule = {"domain_field": "metadata.language", "group_field": "metadata.page", "fraction": 0.5}
    counts = {"read": 9, "kept": 3, "dropped": 6, "failed": 0}
    manifest = {
        "artifact": "suite",
        "format_version": 1,
        "name": "tiny",
        "seed": 1,
        "rule": rule,
        "sources": {"wiki": splits},
    }
    write_json(folder / "suite.json", {**manifest, "counts": counts, "held_out_documents": 4})
    return folder


def windows(root: Path) -> Path:
    """Two documents; the first takes two windows."""
    folder = root / "windows"
    tokenizer = tokenizer_file(folder)
    rows: list[Json] = []
    size = 6
    for name, text in (("v1", "Ein Text."), ("v2", "ab")):
        ids = [EOS, *tokenizer.encode(text).ids]
        for k, start in enumerate(range(0, len(ids) - 1, size)):
            window = ids[start : start + size + 1]
            row = {"document": name, "source": "wiki", "domain": "de", "window": k, "ids": window}
            rows.append({**row, "scored": list(range(1, len(window))), "bytes": len(text.encode()) if k == 0 else 0})
    write_rows(folder / "windows.jsonl.gz", rows)
    manifest = {
        "artifact": "windows",
        "format_version": 1,
        "format": "paloma",
        "split": "val",
        "maximum_length": size,
    }
    manifest |= {"prefix_token_id": EOS, "vocab_size": tokenizer.get_vocab_size()}
    manifest |= {"tokenizer_digest": digest(folder / "tokenizer.json"), "suite_digest": "sha256:" + "0" * 64}
    manifest |= {"limit": None, "documents": 2, "windows": 3, "tokens": 11, "bytes": 11}
    write_json(folder / "manifest.json", manifest)
    return folder


def perplexity_results(root: Path) -> Path:
    folder = root / "results"
    rows = [
        {
            "id": "v1",
            "source": "wiki",
            "domain": "de",
            "tokens": 9,
            "bytes": 9,
            "characters": 9,
            "words": 2,
            "log_probability": -18.25,
        },
        {
            "id": "v2",
            "source": "wiki",
            "domain": "en",
            "tokens": 7,
            "bytes": 7,
            "characters": 7,
            "words": 2,
            "log_probability": -7.125,
        },
        {
            "id": "v1",
            "source": "code",
            "domain": "en",
            "tokens": 4,
            "bytes": 6,
            "characters": 4,
            "words": 1,
            "log_probability": -3.5,
        },
    ]
    write_rows(folder / "documents.jsonl.gz", rows)

    def measures(part: list[Json]) -> Json:
        total = {name: sum(row[name] for row in part) for name in ("tokens", "bytes", "log_probability")}
        bits = -total["log_probability"] / math.log(2) / total["bytes"]
        perplexity = math.exp(-total["log_probability"] / total["tokens"])
        interval = {
            "bits_per_byte_low": bits - 0.5,
            "bits_per_byte_high": bits + 0.5,
            "interval": "bootstrap over documents",
        }
        return {"documents": len(part), **total, "perplexity": perplexity, "bits_per_byte": bits, **interval}

    def where(**wanted: str) -> list[Json]:
        return [row for row in rows if all(row[name] == value for name, value in wanted.items())]

    places = [("wiki", "de"), ("wiki", "en"), ("code", "en")]
    sources = [{"source": name, **measures(where(source=name))} for name in ("wiki", "code")]
    domains = [{"source": s, "domain": d, **measures(where(source=s, domain=d))} for s, d in places]
    macro = {name: sum(row[name] for row in domains) / 3 for name in ("bits_per_byte", "perplexity")}
    macro |= {"bits_per_byte_low": None, "bits_per_byte_high": None}
    results = {
        "format_version": 1,
        "domains": domains,
        "sources": sources,
        "aggregates": [
            {"name": "micro", **measures(rows)},
            {"name": "macro", **measures(rows), **macro, "interval": "none: three documents"},
        ],
    }
    sums = [("v1", [6, 3], [6, 3], [-12.0, -6.25]), ("v2", [6, 1], [6, 1], [-5.0, -2.125]), ("v1", [4], [6], [-3.5])]
    kinds = ("id", "tokens", "bytes", "log_probabilities")
    singles = [
        {"source": source, "domain": domain, **dict(zip(kinds, values, strict=True))}
        for (source, domain), values in zip(places, sums, strict=True)
    ]
    write_rows(folder / "single_documents.jsonl.gz", singles)
    positions, results["positions"] = positions_of_windows()
    write_rows(folder / "positions.jsonl.gz", positions)
    write_json(folder / "results.json", results)
    types = [(5, 13, -18.875), (7, 7, -10.0)]
    write_rows(folder / "vocabulary.jsonl.gz", [{"token_id": v, "count": n, "log_probability": p} for v, n, p in types])
    by_domain = [([5, 7], [5, 4], [-10.0, -8.25]), ([5, 7], [5, 2], [-5.375, -1.75]), ([5, 7], [3, 1], [-3.5, 0.0])]
    names = ("token_ids", "counts", "log_probabilities")
    vocabularies = [
        {"source": source, "domain": domain, **dict(zip(names, lists, strict=True))}
        for (source, domain), lists in zip(places, by_domain, strict=True)
    ]
    write_rows(folder / "domain_vocabulary.jsonl.gz", vocabularies)
    shown = {"text": "Guten ä", "ends": [5, 6, 7, 7], "log_probabilities": [-5.5, -0.5, -2.5, -1.25]}
    bad = {"source": "wiki", "domain": "de", "id": "v1", "bits_per_byte": 2.5, "tokens": 9, **shown}
    write_rows(folder / "worst.jsonl.gz", [bad])
    order = [{"first_step": step, "fingerprint": "sha256:" + "5" * 64} for step in (1, 3)]
    manifest = {"artifact": "perplexity_results", "format_version": 1, "method": "model"}
    manifest |= {
        "model": {"name": "tiny", "digest": "sha256:" + "1" * 64, "step": 4, "training_order": order},
        "suite": "tiny",
        "suite_digest": "sha256:" + "0" * 64,
    }
    manifest |= {"split": "val", "format": "paloma", "maximum_length": 6, "tokenizer_digest": "sha256:" + "2" * 64}
    write_json(folder / "manifest.json", {**manifest, "dtype": "float32", "limit": None, "vocab_size": 16})
    return folder


def positions_of_windows() -> tuple[list[Json], list[Json]]:
    """Sums by position of the results, in windows of six ids, and the means that they give."""
    kinds = [("wiki", False, [3, 2, 2, 1], [-6.5, -4.0, -2.0, -1.0]), ("wiki", True, [2, 1, 2, 1, 1, 1], [-2.5, -3.125,
             -2.25, -1.5, -1.25, -1.25]), ("code", False, [1, 1, 1, 1], [-2.0, -0.5, -0.5, -0.5])]  # fmt: skip
    rows = [dict(zip(("source", "whole", "counts", "log_probabilities"), kind, strict=True)) for kind in kinds]
    means: list[Json] = []
    for source in (None, "wiki", "code"):
        for first, last in ((0, 0), (1, 1), (2, 3), (4, 5)):
            mean: Json = {"source": source, "first": first, "last": last}
            for whole, prefix in ((False, ""), (True, "whole_")):
                inside = [row for row in rows if source in (None, row["source"]) and whole in (False, row["whole"])]
                tokens = sum(sum(row["counts"][first : last + 1]) for row in inside)
                total = sum(sum(row["log_probabilities"][first : last + 1]) for row in inside)
                mean |= {f"{prefix}tokens": tokens, f"{prefix}loss": -total / tokens if tokens else None}
            means += [mean] if mean["tokens"] else []
    return rows, means


def unigram(root: Path) -> Path:
    path = root / "baseline" / "unigram.json"
    value = {"artifact": "unigram", "format_version": 1, "tokenizer_digest": "sha256:" + "2" * 64, "vocab_size": 4}
    return write_json(path, {**value, "smoothing": 1.0, "counts": [3, 0, 5, 1], "documents": 3, "tokens": 9})


def comparison(root: Path) -> Path:
    row = {
        "level": "source",
        "source": "wiki",
        "domain": None,
        "documents": 3,
        "a": 1.5,
        "b": 1.25,
        "difference": 0.25,
    }
    row |= {"low": 0.125, "high": 0.5, "interval": "paired bootstrap"}
    untested = {"domain": "en", "low": None, "high": None, "interval": "none: 3 documents", "p": None}
    domain = {**row, "level": "domain", "domain": "de"}
    order = "training order: unknown, not recorded for A"
    pairs = [
        {"a": "A", "b": b, "training_order": order, "rows": [row, {**domain, **tested}, {**domain, **untested}]}
        for b, tested in (("B", {"p": 0.01, "p_holm": 0.02}), ("C", {"p": 0.5, "p_holm": 0.5}))
    ]
    value: Json = {"format_version": 2, "models": ["A", "B", "C"], "metric": "bits_per_byte", "confidence": 0.95}
    made = {"format": "paloma", "maximum_length": 6, "dtype": "float32"}
    value |= {"results": [{"name": name, **made} for name in value["models"]], "limit": None}
    return write_json(root / "comparison.json", {**value, "comparisons": pairs})


def earlier_comparison(root: Path) -> Path:
    """As version 1 had it."""
    value = read_json(comparison(root))
    pair = value["comparisons"][0]
    kept = {name: value[name] for name in ("metric", "confidence")}
    return write_json(
        root / "comparison.json", {"format_version": 1, "a": "A", "b": "B", **kept, "rows": pair["rows"][:1]}
    )


def curves(root: Path) -> Path:
    row: Json = {"level": "source", "source": "wiki", "domain": None, "documents": 3, "bits_per_byte": [4.0, 2.0, 1.0]}
    row |= {"perplexity": [16.0, 4.0, 2.0], "rate": math.log(2.0), "rate_low": 0.5, "rate_high": 0.75}
    value: Json = {"format_version": 1, "artifact": "perplexity_curves", "over": "tokens", "confidence": 0.95}
    value["results"] = [{"name": f"run/step{n}", "at": float(n)} for n in (0, 100, 1000)]
    value |= {"rate_from": 100.0, "rate_to": 1000.0, "rows": [{**row, "interval": "bootstrap over documents"}]}
    return write_json(root / "curves.json", value)


def task(root: Path) -> Path:
    folder = root / "data" / "cloze"
    task = {
        "artifact": "task",
        "format_version": 1,
        "name": "cloze",
        "builder": "cloze",
        "context_field": "context",
    }
    task |= {"choices_field": "choices", "gold_field": "gold", "domain_field": "domain", "description": "words"}
    write_json(folder / "task.json", {**task, "primary_metric": "acc_per_char"})
    choices = ["river", "house", "stone", "bread"]
    record = {
        "context": "They swam in the",
        "choices": choices,
        "gold": 0,
        "source": "wiki",
        "domain": "en",
        "document": "v2",
    }
    write_rows(folder / "source" / "validation.jsonl.gz", [{"id": f"c{k}", **record} for k in range(2)])
    return folder


def requests(root: Path) -> Path:
    """One task, two instances with two and three choices, as text and as ids."""
    folder = root / "requests"
    tokenizer = tokenizer_file(folder)
    texts: list[Json] = []
    ids: list[Json] = []
    for doc_id, (context, choices, label) in enumerate(
        [("Question: Is it?\nAnswer:", [" yes", " no"], 1), ("The", [" übel", " with", " rest"], 0)]
    ):
        for idx, choice in enumerate(choices):
            request = {"context": context, "continuation": choice}
            row = {"request_type": "loglikelihood", "doc": {"query": context}, "request": request, "idx": idx}
            texts.append({**row, "task_name": "quiz", "doc_id": doc_id, "native_id": f"q{doc_id}", "label": label})
    twins = [{**row, "doc_id": 1_000_000 + row["doc_id"]} for row in texts]
    texts += [{**row, "request": {**row["request"], "context": "Answer:"}} for row in twins]
    for row in texts:
        context, choice = row["request"]["context"], row["request"]["continuation"]
        encoded = {"context_ids": tokenizer.encode(context).ids, "continuation_ids": tokenizer.encode(choice).ids}
        kind = "conditional" if row["doc_id"] < 1_000_000 else "unconditional"
        sizes = {"characters": len(choice), "bytes": len(choice.encode()), "kind": kind}
        ids.append({"doc_id": row["doc_id"] % 1_000_000, "idx": row["idx"], "label": row["label"], **encoded, **sizes})
    write_rows(folder / "quiz" / "requests.jsonl.gz", texts)
    write_rows(folder / "quiz" / "tokenized.jsonl.gz", ids)
    task = {"name": "quiz", "dialect": "olmo", "shots": 0, "split": "validation", "primary_metric": "acc_raw"}
    task |= {"boundary": "separate", "instances": 2, "requests": 10, "source_digest": "sha256:" + "3" * 64}
    write_json(folder / "quiz" / "task.json", task)
    manifest = {"artifact": "requests", "format_version": 1, "tasks": ["quiz"], "dialect": "olmo"}
    write_json(folder / "manifest.json", {**manifest, "tokenizer_digest": digest(folder / "tokenizer.json")})
    return folder


def predictions(root: Path) -> Path:
    """Two instances; the second is a tie of two under the raw score."""
    folder = root / "predictions"
    sizes = {"tokens": 2, "characters": 4, "bytes": 5, "greedy": False, "truncated": False, "domain": None}
    sizes |= {"log_probability_answer": -4.0, "log_probability_empty": None, "log_probability_unigram": -9.0}
    scores = [(0, 1, [-2.0, -1.5]), (1, 0, [-1.0, -1.0])]
    rows = [
        {"doc_id": doc, "native_id": doc, "idx": idx, "label": label, "log_probability": score, **sizes}
        for doc, label, values in scores
        for idx, score in enumerate(values)
    ]
    rows[0] |= {"tokens": 4, "characters": 8, "bytes": 8}
    for row in rows:
        row["domain"] = "x" if row["doc_id"] == 0 else "y"
    write_rows(folder / "quiz" / "predictions.jsonl.gz", rows)
    about = {"name": "quiz", "dialect": "olmo", "shots": 0, "split": "validation", "primary_metric": "acc_raw"}
    about |= {"boundary": "separate", "instances": 2, "requests": 4, "source_digest": "sha256:" + "3" * 64}
    write_json(folder / "quiz" / "task.json", about)
    soft = 1 / (1 + math.exp(-0.5))
    bits = (1.5 / 5 + 1.0 / 5) / 2 / math.log(2)
    values = {
        "acc_raw": 0.75,
        "acc_per_token": 0.25,
        "acc_per_char": 0.25,
        "acc_per_char_bare": 0.25,
        "acc_per_byte": 0.25,
        "acc_per_byte_bare": 0.25,
        "acc_uncond": 0.75,
    }
    metrics = {
        name: {
            "value": value,
            "low": value - 0.2,
            "high": value + 0.2,
            "standard_error": 0.1,
            "method": "bootstrap",
        }
        for name, value in {**values, "bits_per_byte": bits, "soft_score": (soft + 0.5) / 2}.items()
    }
    baselines = {
        "chance": {"value": 0.5},
        "majority": {"value": 0.5},
        "longest": {"value": 0.25, "difference": 0.5, "p_value": 0.5},
        "unigram": {"value": 0.5, "difference": 0.25, "p_value": 0.5},
    }
    task = {
        "dialect": "olmo",
        "shots": 0,
        "instances": 2,
        "clusters": None,
        "choices": 2,
        "primary_metric": "acc_raw",
        "metrics": metrics,
        "labels": [1, 1],
        "predicted": {"acc_raw": [0.5, 1.5]},
    }
    interval = {"low": None, "high": None, "standard_error": None, "method": "none"}
    domains = {"x": {"instances": 1, "value": 1.0, **interval}, "y": {"instances": 1, "value": 0.5, **interval}}
    task["macro"] = {"domains": domains, "value": 0.75, **interval}
    task |= {"baselines": baselines, "chance_p_value": 0.5}
    write_json(folder / "metrics.json", {"format_version": 2, "tasks": {"quiz": task}, "suite": None})
    manifest = {
        "artifact": "predictions",
        "format_version": 1,
        "model": {"name": "tiny", "digest": "sha256:" + "1" * 64},
    }
    manifest |= {
        "tokenizer_digest": "sha256:" + "2" * 64,
        "dtype": "float32",
        "maximum_length": 16,
        "boundary": "separate",
    }
    write_json(
        folder / "manifest.json",
        {**manifest, "tasks": ["quiz"], "counts": {"quiz": {"instances": 2, "requests": 4}}},
    )
    return folder


def predictions_comparison(root: Path) -> Path:
    row = {
        "run_a": 0,
        "run_b": 1,
        "task": "quiz",
        "metric": "acc_raw",
        "instances": 2,
        "clusters": None,
        "a": 0.75,
        "b": 0.5,
        "difference": 0.25,
        "low": -0.25,
        "high": 0.75,
    }
    row |= {
        "standard_error": 0.25,
        "interval": "bonett-price",
        "p_value": 0.5,
        "test": "sign flip, exact",
        "detectable_difference": 0.5,
        "p_value_holm": 0.5,
    }
    model = {"name": "tiny", "digest": "sha256:" + "1" * 64}
    suite = {key: value for key, value in row.items() if key not in ("task", "metric", "instances", "clusters", "test")}
    suite |= {"tasks": ["quiz", "other"], "interval": "student-t"}
    value = {"format_version": 2, "runs": [model, {**model, "name": "other"}], "confidence": 0.95, "rows": [row]}
    value["suites"] = [suite]
    return write_json(root / "predictions_comparison.json", value)
