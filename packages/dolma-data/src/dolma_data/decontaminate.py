"""Find evaluation text in training documents: lines that equal a line of an evaluation document, and the documents
themselves (Paloma, Magnusson et al. 2023, arXiv 2312.10523, control 1)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from . import __version__
from .annotate import Annotation, Chunk, Note, Scored, scored
from .attributes import MATCHES, check_folder_name, encode_json, encode_row
from .config.decontaminate import DecontaminateConfig
from .documents import MANIFEST, find_documents
from .errors import UserError
from .files import atomic_write, digest, read_json, read_lines
from .hashes import HashIndex, hash_texts

KIND = "decontamination_set"
UNITS = "paragraphs.jsonl.gz"
PARAGRAPH, DOCUMENT = "paragraph", "document"
SELF_TEST_BATCH = 10_000
log = logging.getLogger(__name__)


class Unit(msgspec.Struct, frozen=True):
    """A unit of evaluation text; see the decontamination set in the contract."""

    kind: str
    id: str
    source: str
    domain: str
    text: str | None


class Hit(NamedTuple):
    """``unit`` (its number in the set) found in code points ``start`` to ``end`` of document ``document`` of a list."""

    document: int
    start: int
    end: int
    unit: int


@dataclass(frozen=True)
class Matcher:
    """Hashes of the units of a set, by kind; results are numbers of units."""

    paragraphs: HashIndex
    paragraph_units: Any  # [P] number of the unit for each position in ``paragraphs``
    documents: HashIndex
    document_units: Any
    shortest: int  # code points of the shortest paragraph

    def find(self, documents: Sequence[dict[str, Any]]) -> list[Hit]:
        """All hits, in the order of documents; hits of the whole document come before those of its lines."""
        keys = hash_texts(_document_key(document["source"], document["id"]) for document in documents)
        places: list[tuple[int, int, int]] = []
        lines: list[bytes] = []
        for number, document in enumerate(documents):
            start = 0
            text = document["text"]
            for line in text.split("\n"):
                end = min(start + len(line) + 1, len(text))
                if len(line) >= self.shortest:
                    stripped = line.strip()
                    if len(stripped) >= self.shortest:
                        places.append((number, start, end))
                        lines.append(stripped.encode())
                start = end
        hits = [
            Hit(number, 0, len(documents[number]["text"]), int(self.document_units[at]))
            for number, at in enumerate(self.documents.find(keys).tolist())
            if at >= 0
        ]
        found = self.paragraphs.find(hash_texts(lines)).tolist()
        hits += [Hit(*place, int(self.paragraph_units[at])) for place, at in zip(places, found, strict=True) if at >= 0]
        return sorted(hits, key=lambda hit: hit.document)


def read_set(folder: Path) -> list[Unit]:
    """Units of a decontamination set; what breaks its contract, or is empty, is a UserError."""
    manifest_path = folder / MANIFEST
    if not manifest_path.is_file():
        raise UserError("no decontamination set here", where=folder, fix="make one with paloma-ppl decontamination-set")
    manifest = read_json(manifest_path)
    if not isinstance(manifest, dict) or manifest.get("artifact") != KIND or manifest.get("format_version") != 1:
        raise UserError(
            "not a decontamination set that this program reads",
            where=manifest_path,
            fix="make one with paloma-ppl decontamination-set",
        )
    decode = msgspec.json.Decoder(Unit).decode
    units: list[Unit] = []
    for line, raw in read_lines(folder / UNITS):
        try:
            unit = decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"no unit of evaluation text: {error}", where=folder / UNITS, line=line, fix="make the set again"
            ) from error
        if unit.kind not in (PARAGRAPH, DOCUMENT) or (unit.text is None) != (unit.kind == DOCUMENT):
            raise UserError("a unit without its text", where=folder / UNITS, line=line, fix="make the set again")
        units.append(unit)
    if not units:
        raise UserError("the decontamination set is empty", where=folder, fix="give a set with units")
    counted = {kind + "s": sum(unit.kind == kind for unit in units) for kind in (PARAGRAPH, DOCUMENT)}
    if manifest.get("counts") != counted:
        raise UserError(
            f"the set holds {counted}, its manifest says {manifest.get('counts')}",
            where=folder,
            fix="make the set again",
        )
    return units


def make_matcher(units: Sequence[Unit]) -> Matcher:
    """Index the units; of equal ones the first is named by hits."""
    texts = [(number, unit.text) for number, unit in enumerate(units) if unit.text is not None]
    whole = [(number, unit) for number, unit in enumerate(units) if unit.text is None]
    return Matcher(
        HashIndex(hash_texts(text.encode() for _, text in texts)),
        [number for number, _ in texts],
        HashIndex(hash_texts(_document_key(unit.source, unit.id) for _, unit in whole)),
        [number for number, _ in whole],
        min((len(text) for _, text in texts), default=0),
    )


def _document_key(source: str, name: str) -> bytes:
    return f"{source}\0{name}".encode()


def self_test(matcher: Matcher, units: Sequence[Unit], where: Path) -> None:
    """Plant every unit in a document and look for it; one that is not found is a UserError, before any work."""
    for begin in range(0, len(units), SELF_TEST_BATCH):
        batch = units[begin : begin + SELF_TEST_BATCH]
        found: dict[int, set[str | None]] = {}
        for hit in matcher.find([_plant(number, unit) for number, unit in enumerate(batch)]):
            found.setdefault(hit.document, set()).add(units[hit.unit].text)
        for number, unit in enumerate(batch):
            if unit.text not in found.get(number, set()):
                raise UserError(
                    f"self-test: the unit of {unit.id!r} ({unit.source}) is not found where it is planted; "
                    "a paragraph must be one line without white space at its ends",
                    where=where / UNITS,
                    line=begin + number + 1,
                    fix="make the set again",
                )


def _plant(number: int, unit: Unit) -> dict[str, Any]:
    if unit.text is None:
        return {"id": unit.id, "source": unit.source, "text": "planted"}
    # No source can hold a NUL of ours, so that a planted paragraph is never hit as a document.
    return {"id": str(number), "source": "\0planted", "text": f"before\n\t{unit.text} \nafter"}


@cache
def load_matcher(folder: Path, content: str) -> Matcher:
    """The matcher of a set, made once per process; ``content`` is the set's digest."""
    return make_matcher(read_set(folder))


def mark_chunk(folder: Path, content: str, name: str, chunk: Chunk) -> Scored:
    """Spans and notes of a chunk."""
    rows, documents = chunk.documents()
    hits: dict[int, list[Hit]] = {}
    notes: list[Note] = []
    for hit in load_matcher(folder, content).find(documents):
        hits.setdefault(hit.document, []).append(hit)
        document = documents[hit.document]
        notes.append(["match", document["id"], document["source"], hit.start, hit.end, hit.unit])
    seen: dict[str, list[int]] = {}
    lines: list[bytes] = []
    for number, document in enumerate(documents):
        spans = [(hit.start, hit.end, 1.0) for hit in hits.get(number, ())]
        lines.append(encode_row(document, {name: spans} if spans else {}))
        total = seen.setdefault(document["source"], [0, 0, 0, 0])
        total[0] += 1
        total[1] += bool(spans)
        total[2] += len(document["text"])
        total[3] += _covered(spans)
    notes += (["seen", source, *total] for source, total in seen.items())
    return scored(chunk, rows, [lines], [notes])


def _covered(spans: Iterable[tuple[int, int, float]]) -> int:
    covered = reached = 0
    for start, end, _ in sorted(spans):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def decontaminate(config: DecontaminateConfig) -> tuple[list[Path], dict[str, int]]:
    """Run ``decontaminate``; returns the folders written and the counts of rows."""
    name = check_folder_name(config.name)
    folder = config.decontamination_set
    units = read_set(folder)
    self_test(make_matcher(units), units, folder)
    log.info("self-test: all %d units of %s are found where they are planted", len(units), folder)
    files = find_documents(config.documents)
    content = digest(folder)
    work = Annotation("decontaminate", files, [name], [__version__, name, content])
    with work.recorded("decontaminate", config, [folder]):
        work.run(partial(mark_chunk, folder, content, name), config.processes)
        work.check(config.max_failed)
        hits = write_matches(work, name, units)
        source = "lines and documents of a decontamination set (arXiv 2312.10523, control 1)"
        written = work.commit(name, [{"name": name, "keys": [name], "source": source, "digest": content}])
    for line in hits:
        log.info("%s", line)
    return written, work.counts()


def write_matches(work: Annotation, name: str, units: Sequence[Unit]) -> list[str]:
    """Write ``matches.jsonl.gz`` into each folder; returns the summary by source, one line each."""
    sources: dict[str, list[int]] = {}
    with ExitStack() as stack:
        streams = {
            output.target: stack.enter_context(atomic_write(output.folder / MATCHES))
            for output in work.outputs.values()
        }
        for file, note in work.notes(name):
            if note[0] == "seen":
                total = sources.setdefault(note[1], [0, 0, 0, 0])
                sources[note[1]] = [before + now for before, now in zip(total, note[2:], strict=True)]
                continue
            _, document, source, start, end, number = note
            unit = units[number]
            row = {"id": document, "source": source, "start": start, "end": end, "unit_id": unit.id}
            row |= {"unit_source": unit.source, "unit_domain": unit.domain, "kind": unit.kind}
            streams[work.of(file, name).target].write(encode_json(row) + b"\n")
    return [
        f"{source}: {hit} of {documents} documents hit ({hit / documents:.3%}), "
        f"{covered} of {characters} characters ({covered / max(characters, 1):.3%})"
        for source, (documents, hit, characters, covered) in sorted(sources.items())
    ]
