"""Deduplication by dolma and by dolma-data on the same configurations, compared row by row."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .attribution import Account, attribute
from .commands import ROOT, Command, must_run, read_rows, write_rows
from .corpus import Document
from .dedupe_model import conditions, mark

FILES = ("a.jsonl.gz", "b.jsonl.gz", "c.jsonl.gz")
EVERY = 6  # of the documents, one of so many where words are told apart, which takes the model long
FALSE_POSITIVES = 1e-12  # so few that none is met


def whole(key: str = "$.text", **more: Any) -> dict[str, Any]:
    return {"name": "marked", "documents": {"attribute_name": "marked", "key": key}, **more}


def pieces(by_ngram: dict[str, Any] | None = None, separator: str | None = None, **more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"attribute_name": "marked"}
    settings |= {"by_ngram": by_ngram} if by_ngram else {}
    settings |= {"paragraph_separator": separator} if separator else {}
    return {"name": "marked", "paragraphs": settings, **more}


def ngrams(length: int, stride: int, threshold: float, skip_short: bool) -> dict[str, Any]:
    return {
        "ngram_length": length,
        "stride": stride,
        "overlap_threshold": threshold,
        "skip_short_paragraphs": skip_short,
    }


CASES: dict[str, dict[str, Any]] = {
    "paragraphs": pieces(),
    "paragraphs, skip_empty": pieces(skip_empty=True),
    "paragraphs, min_length": pieces(min_length=12),
    "paragraphs, min_words": pieces(min_words=3),
    "paragraphs, two newlines between": pieces(separator="\n\n", skip_empty=True),
    "paragraphs, separator beyond ASCII": pieces(separator="。"),
    "paragraphs, 3-grams": pieces(ngrams(3, 0, 0.5, False), skip_empty=True),
    "paragraphs, 1-grams, all scores": pieces(ngrams(1, 1, 0.0, False)),
    "paragraphs, 4-grams, stride 3": pieces(ngrams(4, 3, 0.4, False), skip_empty=True),
    "paragraphs, 5-grams, stride 2, long ones": pieces(ngrams(5, 2, 0.3, True), min_length=20),
    "paragraphs, 3-grams, min_words": pieces(ngrams(3, 0, 0.5, True), min_words=4),
    "documents by $.text": whole(),
    "documents by $.text, skip_empty, min_length": whole(skip_empty=True, min_length=30),
    "documents by $.text, min_words": whole(min_words=6),
    "documents by $.metadata.url": whole("$.metadata.url", skip_empty=True),
    "documents by $.metadata.url, min_length": whole("$.metadata.url", min_length=20),
    "documents by $.source": whole("$.source"),
}


def with_copies(documents: Sequence[Document]) -> list[Document]:
    """Documents, then a third of them again: as they are, with another last paragraph, and their ends alone."""
    found = [
        {**each, "metadata": {**(each.get("metadata") or {}), "url": (each.get("metadata") or {}).get("url") or ""}}
        for each in documents
    ]
    for k, document in enumerate(found[::3]):
        text = document["text"]
        half = text[len(text) // 2 :]
        changed = (text, text + "\nsomething else", half, text + "\n", half + "ß")[k % 5]
        found.append({**document, "id": f"again-{k}", "text": changed})
    return found


def compare(
    documents: Sequence[Document], runners: Mapping[str, Command], report: Callable[[str, Account], None]
) -> None:
    """Run every case with the three commands; each account goes to ``report``."""
    given = {"all": with_copies(documents), "few": with_copies(documents[::EVERY])}
    for folder, chosen in given.items():
        share = -(-len(chosen) // len(FILES))
        for command in runners.values():
            for number, name in enumerate(FILES):
                path = command.root / folder / "documents" / name
                write_rows(path, chosen[number * share : (number + 1) * share])
    for name, rule in CASES.items():
        folder = "few" if "min_words" in rule or "by_ngram" in rule.get("paragraphs", {}) else "all"
        chosen = given[folder]
        rows = {who: _run(command, folder, rule, chosen) for who, command in runners.items()}
        account = attribute(
            [each["id"] for each in chosen],
            rows["dolma"],
            rows["default"],
            rows["compat"],
            lambda ways, rule=rule, chosen=chosen: mark(chosen, rule, ways),
            conditions(chosen, rule),
        )
        report(f"dedupe: {name}", account)


def _run(command: Command, folder: str, rule: dict[str, Any], documents: Sequence[Document]) -> list[Any]:
    """The attributes of every document; the whole row where it is not laid out as it should be."""
    (command.root / "filter.bin").unlink(missing_ok=True)
    attributes = command.root / folder / "attributes" / rule["name"]
    shutil.rmtree(attributes, ignore_errors=True)
    settings = {
        "documents": [f"{ROOT}/{folder}/documents/*.gz"],
        "dedupe": rule,
        "bloom_filter": {
            "file": f"{ROOT}/filter.bin",
            "read_only": False,
            "estimated_doc_count": 2_000_000,
            "desired_false_positive_rate": FALSE_POSITIVES,
        },
        "processes": 1,  # with more, which copy survives is left to chance in dolma
    }
    must_run(command, "dedupe", settings)
    rows = read_rows([attributes / name for name in FILES])
    return [_content(row, document) for row, document in zip(rows, documents, strict=True)]


def _content(row: dict[str, Any], document: Document) -> Any:
    fits = row.get("id") == document["id"] and row.get("source", document["source"]) == document["source"]
    return row["attributes"] if fits and row.keys() <= {"id", "source", "attributes"} else row
