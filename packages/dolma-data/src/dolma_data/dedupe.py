"""Exact deduplication of documents or paragraphs by 128-bit hashes.

Two passes: the first keeps a hash of every unit and finds, by sorting, which unit is the first of its kind in the order
of files and rows; the second writes attributes. The winner does not depend on the number of processes, a unit counts as
repeated only where it is (a filter as in Bloom 1970 errs at times), and it is known which document it repeats.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import __version__
from .annotate import Annotation, Chunk, Note, Scored, read_chunks, scored
from .attributes import MATCHES, check_folder_name, encode_json, encode_row
from .config.dedupe import DedupeConfig, DedupeRule
from .documents import DocumentFile, find_documents
from .errors import UserError
from .execute import map_ordered
from .files import atomic_write
from .hashes import as_hashes, first_copies, hash_texts
from .progress import Progress
from .taggers.length import has_words

KEY_PATH = re.compile(r"\$((?:\.[\w-]+)+)")
log = logging.getLogger(__name__)


class Units(NamedTuple):
    """Units of a document that count: their ``texts`` and spans in code points; ``skipped``: some were left alone."""

    texts: list[bytes]
    spans: list[tuple[int, int]]
    skipped: bool


class HashedChunk(NamedTuple):
    """Digests of the units of a chunk, end to end, and the number of units of each document."""

    file: int
    first_line: int
    digests: bytes
    units: list[int]


def check_rule(rule: DedupeRule) -> str:
    """Check the settings and return the name of the folder; raises UserError before any work."""
    if (rule.documents is None) == (rule.paragraphs is None):
        raise UserError(
            "dedupe needs one of documents and paragraphs",
            fix="give --dedupe.documents.attribute_name NAME or --dedupe.paragraphs.attribute_name NAME",
        )
    if rule.documents is not None:
        parse_key(rule.documents.key)
    if rule.paragraphs is not None and not rule.paragraphs.paragraph_separator:
        raise UserError("dedupe.paragraphs.paragraph_separator is empty", fix="leave it out for newlines")
    for name in ("min_length", "min_words"):
        if getattr(rule, name) < 0:
            raise UserError(f"dedupe.{name} is {getattr(rule, name)}", fix="give 0 or more")
    if not attribute_name(rule):
        raise UserError("the attribute name is empty", fix="give a name")
    return check_folder_name(rule.name or attribute_name(rule))


def attribute_name(rule: DedupeRule) -> str:
    """Key of the attributes."""
    chosen = rule.documents or rule.paragraphs
    assert chosen is not None
    return chosen.attribute_name


def parse_key(key: str) -> tuple[str, ...]:
    """Field names of a path such as ``$.metadata.url``; anything else is a UserError."""
    match = KEY_PATH.fullmatch(key)
    if match is None:
        near = "$." + re.sub(r"^\$?\.?", "", key)
        fix = f"did you mean {near}?" if KEY_PATH.fullmatch(near) else "write it as $.text or $.metadata.url"
        raise UserError(f"{key!r} is no path to a field", where="dedupe.documents.key", fix=fix)
    return tuple(match.group(1)[1:].split("."))


def find_units(rule: DedupeRule, document: dict[str, Any]) -> Units:
    """Units of a document, in order; those that the rule leaves alone are left out."""
    text = document["text"]
    if rule.documents is not None:
        value = value_at(document, rule.documents.key)
        if leave_alone(rule, value):
            return Units([], [], skipped=True)
        return Units([value.encode()], [(0, len(text))], skipped=False)
    assert rule.paragraphs is not None
    separator = rule.paragraphs.paragraph_separator
    units = Units([], [], skipped=False)
    start = 0
    for paragraph in text.split(separator) if text else ():
        end = min(start + len(paragraph) + len(separator), len(text))
        if not leave_alone(rule, paragraph):
            units.texts.append(paragraph.encode())
            units.spans.append((start, end))
        start = end
    return units


def value_at(document: dict[str, Any], key: str) -> str:
    """The string at ``key``; a document without one is a UserError, for it could silently pass as unique."""
    value: Any = document
    for name in parse_key(key):
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, str):
        raise UserError(
            f"document {document['id']!r} of {document['source']!r} has no text at {key}",
            where="dedupe.documents.key",
            fix="choose a key that all documents have",
        )
    return value


def leave_alone(rule: DedupeRule, unit: str) -> bool:
    """Whether the rule sets this unit aside."""
    if rule.skip_empty and not unit.strip():
        return True
    if len(unit) < rule.min_length:
        return True
    return not has_words(unit, rule.min_words)


def hash_chunk(rule: DedupeRule, chunk: Chunk) -> HashedChunk:
    """First pass over a chunk."""
    _, documents = chunk.documents()
    units = [find_units(rule, document).texts for document in documents]
    digests = hash_texts(text for texts in units for text in texts).astype(">u8").tobytes()
    return HashedChunk(chunk.file, chunk.first_line, digests, [len(texts) for texts in units])


class Repetitions:
    """What the first pass found: for every unit the document of its first copy, in arrays; texts are not kept."""

    def __init__(self, chunks: Iterator[HashedChunk]) -> None:
        self._starts: dict[tuple[int, int], tuple[int, int]] = {}
        digests: list[bytes] = []
        counts: list[npt.NDArray[np.int64]] = []
        units = documents = 0
        for chunk in chunks:
            self._starts[chunk.file, chunk.first_line] = (units, documents)
            digests.append(chunk.digests)
            counts.append(np.array(chunk.units, dtype=np.int64))
            units += sum(chunk.units)
            documents += len(chunk.units)
        self.units, self.documents = units, documents
        first = first_copies(as_hashes(b"".join(digests)))
        digests.clear()
        self._units_before = np.zeros(documents + 1, dtype=np.int64)
        if counts:
            np.cumsum(np.concatenate(counts), out=self._units_before[1:])
        repeated = first != np.arange(units)
        self.repeated = int(repeated.sum())
        # The document of the first copy, -1 for units that are first copies themselves.
        self._first = np.full(units, -1, dtype=np.int64)
        self._first[repeated] = np.searchsorted(self._units_before, first[repeated], side="right") - 1
        self._is_first = np.zeros(documents, dtype=bool)
        self._is_first[self._first[repeated]] = True

    def of(self, chunk: Chunk) -> tuple[int, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Number of the chunk's first document, which documents are repeated elsewhere, first copies of its units."""
        units, documents = self._starts[chunk.file, chunk.first_line]
        count = len(chunk.documents()[1])
        last = self._units_before[documents + count]
        return documents, self._is_first[documents : documents + count], self._first[units:last]


def mark_chunk(rule: DedupeRule, chunk: Chunk) -> Scored:
    """Second pass over a chunk: spans of repeated units, notes of what they repeat."""
    rows, documents = chunk.documents()
    number, is_first, firsts = chunk.attached
    key = attribute_name(rule)
    lines: list[bytes] = []
    notes: list[Note] = []
    at = 0
    for k, document in enumerate(documents):
        units = find_units(rule, document)
        if is_first[k]:
            notes.append(["first", number + k, document["id"], document["source"]])
        spans = []
        for (start, end), first in zip(units.spans, firsts[at : at + len(units.spans)].tolist(), strict=True):
            if first >= 0:
                spans.append((start, end, 1))
                notes.append(["match", document["id"], document["source"], start, end, first])
        at += len(units.spans)
        always = rule.paragraphs is not None or units.skipped
        lines.append(encode_row(document, {key: spans} if spans or always else {}))
    return scored(chunk, rows, [lines], [notes])


def dedupe(config: DedupeConfig) -> tuple[list[Path], dict[str, int]]:
    """Run ``dedupe``; returns the folders written and the counts of rows."""
    rule = config.dedupe
    name = check_rule(rule)
    files = find_documents(config.documents)
    work = Annotation("dedupe", files, [name], [__version__, asdict(rule)], depends_on_all=True)
    with work.recorded("dedupe", config):
        found = Repetitions(_hashed(rule, files, config.processes))
        work.run(partial(mark_chunk, rule), config.processes, attach=found.of)
        work.check(config.max_failed)
        write_matches(work, name)
        unit = "documents" if rule.documents is not None else "paragraphs"
        source = f"exact, xxh3-128 of {rule.documents.key if rule.documents else 'paragraphs'}; the first copy is kept"
        described = {"name": name, "keys": [attribute_name(rule)], "source": source, "digest": None}
        written = work.commit(name, [described])
    log.info("dedupe: %d of %d %s repeat an earlier one", found.repeated, found.units, unit)
    return written, work.counts()


def _hashed(rule: DedupeRule, files: Sequence[DocumentFile], processes: int) -> Iterator[HashedChunk]:
    with Progress("dedupe: hashes") as progress:
        for chunk in map_ordered(partial(hash_chunk, rule), read_chunks(list(enumerate(files))), processes):
            progress.advance(len(chunk.units))
            yield chunk


def write_matches(work: Annotation, name: str) -> None:
    """Write ``matches.jsonl.gz`` into each folder: which earlier document every repeated unit repeats."""
    firsts: dict[int, tuple[str, str]] = {}
    with ExitStack() as stack:
        streams = {
            output.target: stack.enter_context(atomic_write(output.folder / MATCHES))
            for output in work.outputs.values()
        }
        for file, note in work.notes(name):
            if note[0] == "first":
                firsts[note[1]] = (note[2], note[3])
                continue
            _, document, source, start, end, first = note
            first_id, first_source = firsts[first]
            row = {"id": document, "source": source, "start": start, "end": end}
            row |= {"first_id": first_id, "first_source": first_source}
            streams[work.of(file, name).target].write(encode_json(row) + b"\n")
