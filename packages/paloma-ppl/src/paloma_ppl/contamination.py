"""Evaluation text in training data: what to keep out, and whether it was kept out.

Paloma (arXiv 2312.10523, control 1): a training document that holds an evaluation paragraph, a line of at least 13
words, is dropped as a whole. Evaluation sources that cannot be told apart line by line, such as code, can be exempt.
Besides, every document of a held-out group must stay out, by source and id.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]

from .config import CheckContaminationConfig, DecontaminationSetConfig
from .documents import Document, Tally, document_files, read_documents
from .errors import UserError
from .files import atomic_artifact, atomic_write, write_json
from .progress import Progress
from .provenance import recorded
from .suite import SPLITS, Suite, SuiteDocument, open_suite, read_held_out, read_split

log = logging.getLogger(__name__)
FORMAT_VERSION = 1
NAMED_FINDINGS = 10
WORD_BOUNDARY = regex.compile(r"(?w)\b")  # default word boundaries of Unicode's annex 29
LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")


def has_words(text: str, minimum: int) -> bool:
    """Whether the text holds at least ``minimum`` words: UAX-29 segments with a letter or digit in them."""
    if len(text) < minimum:
        return False
    words = 0
    start = 0
    for boundary in WORD_BOUNDARY.finditer(text):
        words += LETTER_OR_DIGIT.search(text, start, boundary.start()) is not None
        start = boundary.start()
        if words >= minimum:
            return True
    return words + (LETTER_OR_DIGIT.search(text, start) is not None) >= minimum


def paragraphs(text: str, minimum_words: int) -> Iterator[str]:
    """Newline-separated lines, white space at both ends removed, of at least ``minimum_words`` words."""
    for line in text.split("\n"):
        stripped = line.strip()
        if has_words(stripped, minimum_words):
            yield stripped


def check_sources(suite: Suite, exempt: Iterable[str], minimum_words: int) -> None:
    for source in exempt:
        if source not in suite.files:
            known = ", ".join(suite.files)
            raise UserError(f"the suite has no source {source!r}", where="exempt_source", fix=f"choose from: {known}")
    if minimum_words < 1:
        raise UserError("below one word", where="minimum_words", fix="give 1 or more")


def all_documents(suite: Suite) -> Iterator[SuiteDocument]:
    for split in SPLITS:
        if any(splits[split] for splits in suite.files.values()):
            yield from read_split(suite, split)


def write_decontamination_set(config: DecontaminationSetConfig) -> dict[str, Any]:
    """Write the decontamination set and return its manifest. A line that occurs often is listed once."""
    suite = open_suite(config.suite)
    check_sources(suite, config.exempt_source, config.minimum_words)
    seen: set[bytes] = set()
    counts: Counter[str] = Counter(paragraphs=0, documents=0)
    exempt = set(config.exempt_source)
    with recorded(
        "paloma-ppl", "decontamination-set", folder=config.output, config=config, inputs=[config.suite]
    ) as record:
        with atomic_artifact(config.output, "decontamination_set") as folder:
            with atomic_write(folder / "paragraphs.jsonl.gz") as stream:
                domains: dict[tuple[str, str], str] = {}
                for document in all_documents(suite):
                    domains[document.source, document.id] = document.domain
                    if document.source in exempt:
                        continue
                    for text in paragraphs(document.text, config.minimum_words):
                        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
                        if digest in seen:
                            continue
                        seen.add(digest)
                        unit = {"kind": "paragraph", "id": document.id, "source": document.source}
                        unit |= {"domain": document.domain, "text": text}
                        stream.write(json.dumps(unit, ensure_ascii=False).encode() + b"\n")
                        counts["paragraphs"] += 1
                for source, identity, _ in read_held_out(suite):
                    domain = domains.get((source, identity), source)
                    held = {"kind": "document", "id": identity, "source": source, "domain": domain, "text": None}
                    stream.write(json.dumps(held, ensure_ascii=False).encode() + b"\n")
                    counts["documents"] += 1
            manifest = {
                "artifact": "decontamination_set",
                "format_version": FORMAT_VERSION,
                "rule": {
                    "unit": "line",
                    "minimum_words": config.minimum_words,
                    "words": "unicode",
                    "exempt_sources": list(config.exempt_source),
                },
                "counts": dict(counts),
                "suite_digest": suite.digest,
            }
            write_json(folder / "manifest.json", manifest)
        record.outputs = [config.output]
        record.counts = dict(counts)
    return manifest


@dataclass
class Findings:
    """What of each evaluation source was seen in training documents."""

    paragraphs: Counter[str] = field(default_factory=Counter)  # distinct lines of the source
    held_out: Counter[str] = field(default_factory=Counter)
    found_paragraphs: dict[str, set[str]] = field(default_factory=dict)
    found_held_out: dict[str, set[str]] = field(default_factory=dict)
    occurrences: Counter[str] = field(default_factory=Counter)  # lines and documents of training, per source
    documents: int = 0  # training documents with any finding
    first: list[dict[str, Any]] = field(default_factory=list)

    def add(self, source: str, kind: str, name: str, document: Document) -> None:
        seen = self.found_paragraphs if kind == "paragraph" else self.found_held_out
        seen.setdefault(source, set()).add(name)
        self.occurrences[source] += 1
        if len(self.first) < NAMED_FINDINGS:
            place = {"file": document.file, "line": document.line, "id": document.id, "source": document.source}
            self.first.append({**place, "kind": kind, "evaluation_source": source, "text": name})

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "source": source,
                "paragraphs": self.paragraphs[source],
                "paragraphs_found": len(self.found_paragraphs.get(source, ())),
                "held_out_documents": self.held_out[source],
                "held_out_documents_found": len(self.found_held_out.get(source, ())),
                "occurrences": self.occurrences[source],
            }
            for source in sorted(self.paragraphs | self.held_out)
        ]


def find_contamination(suite: Suite, documents: Path, config: CheckContaminationConfig, tally: Tally) -> Findings:
    """Look every line and every id of the training documents up in those of the suite."""
    findings = Findings()
    lines: dict[str, tuple[str, ...]] = {}  # line -> evaluation sources that hold it
    for document in all_documents(suite):
        if document.source in config.exempt_source:
            continue
        for text in paragraphs(document.text, config.minimum_words):
            known = lines.get(text, ())
            if document.source not in known:
                lines[text] = (*known, document.source)
                findings.paragraphs[document.source] += 1
    held_out = set()
    for source, identity, _ in read_held_out(suite):
        held_out.add((source, identity))
        findings.held_out[source] += 1
    shortest = min(map(len, lines), default=0)
    with Progress("looking for evaluation text") as progress:
        for training in read_documents(documents, tally):
            before = findings.occurrences.total()
            if (training.source, training.id) in held_out:
                findings.add(training.source, "document", training.id, training)
            for line in training.text.split("\n"):
                if len(line) >= shortest and (sources := lines.get(stripped := line.strip())):
                    for source in sources:
                        findings.add(source, "paragraph", stripped, training)
            findings.documents += findings.occurrences.total() > before
            progress.advance()
    return findings


def check_contamination(config: CheckContaminationConfig) -> dict[str, Any]:
    """The report that ``--output`` takes."""
    suite = open_suite(config.suite)
    check_sources(suite, config.exempt_source, config.minimum_words)
    document_files(config.documents)
    tally = Tally()
    findings = find_contamination(suite, config.documents, config, tally)
    beside = config.output
    tally.settle(None if beside is None else beside.with_name(beside.name + ".quarantine.jsonl"), config.max_failed)
    report = {
        "format_version": FORMAT_VERSION,
        "suite_digest": suite.digest,
        "minimum_words": config.minimum_words,
        "exempt_sources": list(config.exempt_source),
        "documents_read": tally.read,
        "documents_contaminated": findings.documents,
        "sources": findings.rows(),
        "first": findings.first,
    }
    if config.output is not None:
        inputs = [config.suite, config.documents]
        with recorded(
            "paloma-ppl", "check-contamination", folder=config.output.parent, config=config, inputs=inputs
        ) as record:
            write_json(config.output, report)
            record.outputs = [config.output]
            record.counts = {"read": tally.read, "contaminated": findings.documents, "failed": tally.failed}
    return report
