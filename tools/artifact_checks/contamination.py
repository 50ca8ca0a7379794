"""Whether evaluation text stands in training documents: the lines of a suite and its held-out identities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from artifact_checks.documents import document_files
from artifact_checks.identities import Identities, key
from artifact_checks.reading import DOCUMENT_SUFFIXES, files_under, rows
from artifact_checks.report import Report
from artifact_checks.suite import SPLITS, count_words


@dataclass
class Found:
    """A line of training that looks like a held-out one: where it was met first, and in how many documents."""

    path: Path
    number: int
    document: str
    documents: int = 1


def stripped_lines(text: str) -> list[str]:
    """The newline-separated lines of a text, white space at both ends removed."""
    return [line.strip() for line in text.split("\n")]


def held_out_lines(suite: Path, minimum_words: int, exempt: set[str]) -> Iterator[tuple[Path, int, Any, str]]:
    """(file, its line, document, line of the text) of every line of the splits with enough words."""
    for path in files_under(suite):
        if path.parent.name not in SPLITS or not path.name.endswith(DOCUMENT_SUFFIXES):
            continue
        for number, row in rows(path, "suite_document", Report(quiet=True)):
            if row["source"] not in exempt:
                for line in stripped_lines(row["text"]):
                    if count_words(line) >= minimum_words:
                        yield path, number, row, line


def check_contamination(suite: Path, mixed: Path, minimum_words: int, exempt: set[str], report: Report) -> str:
    """No line of the suite with so many words, and no held-out document, is among the training documents.

    Lines and identities are held as hashes of eight bytes and the documents are streamed; what equals a hash is held
    against the text itself in a second reading of the suite, which only happens where something was found. What
    breaks a schema is passed over here: the checks of the suite and of the documents name it.
    """
    lines, identities = Identities(), Identities()
    shortest: int | None = None
    for _, _, _, line in held_out_lines(suite, minimum_words, exempt):
        lines.add(line)
        shortest = len(line) if shortest is None else min(shortest, len(line))
    for _, row in rows(suite / "held_out.jsonl.gz", "held_out", Report(quiet=True)):
        identities.add(row["source"], row["id"])
    found: dict[str, Found] = {}
    documents = 0
    for path in document_files(mixed):
        for number, row in rows(path, "document", Report(quiet=True)):
            documents += 1
            if key(row["source"], row["id"]) in identities:
                report.problem(path, f"the training document {row['id']!r} of {row['source']!r} is held out", number)
            if shortest is not None:
                look_up(row, path, number, lines, shortest, found)
    confirm(found, suite, minimum_words, exempt, report)
    distinct = len(np.unique(lines.sorted()))
    return f"{distinct:,} held-out lines and {len(identities):,} documents not in {documents:,} of training"


def look_up(row: Any, path: Path, number: int, lines: Identities, shortest: int, found: dict[str, Found]) -> None:
    """Note the lines of one training document whose hash is that of a held-out line."""
    texts = list(dict.fromkeys(line for line in stripped_lines(row["text"]) if len(line) >= shortest))
    held_out = lines.holds(np.fromiter(map(key, texts), dtype=np.uint64, count=len(texts)))
    for text in compress(texts, held_out):
        if text in found:
            found[text].documents += 1
        else:
            found[text] = Found(path, number, row["id"])


def confirm(found: dict[str, Found], suite: Path, minimum_words: int, exempt: set[str], report: Report) -> None:
    """Report what the suite really holds, with both places."""
    if not found:
        return
    for path, number, row, line in held_out_lines(suite, minimum_words, exempt):
        hit = found.pop(line, None)
        if hit is not None:
            more = f" and of {hit.documents - 1:,} more" if hit.documents > 1 else ""
            report.problem(
                hit.path,
                f"a line of the training document {hit.document!r}{more} is held out: "
                f"{row['id']!r} of {row['source']!r}, {path.relative_to(suite)}:{number}, has {line!r}",
                hit.number,
            )
