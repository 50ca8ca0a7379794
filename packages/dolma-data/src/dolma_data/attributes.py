"""The attributes artifact: scores of documents in files of their own, row for row beside the documents.

What joins both (:mod:`dolma_data.mix.chunks`) stops with file and line where a row is missing, extra or belongs to
another document; a document never passes for unscored because of that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from .batch import Spans
from .documents import (
    ATTRIBUTES,
    FORMAT_VERSION,
    MANIFEST,
    SUFFIXES,
    check_attributes_manifest,
)
from .errors import UserError
from .file_trees import files_below
from .reading import read_lines

MATCHES = "matches.jsonl.gz"
DECIMALS = 5  # of scores, as allenai/dolma rounds them
PART_SPANS = 1 << 18  # that are encoded at a time, where a chunk has more
NO_DOCUMENT, NO_KEY = {"id": "", "source": ""}, "k"
BEFORE_SPANS, AFTER_SPANS = b'{"id":"","attributes":{"k":[', b']},"source":""}\n'
Span = tuple[int, int, float]
Row = TypeVar("Row")
encode_json = msgspec.json.Encoder().encode


class AttributeRow(msgspec.Struct, omit_defaults=True):
    """One row: spans ``[start, end, score]`` by key, or a tombstone with the reason in ``quarantined``."""

    id: str | None
    attributes: dict[str, list[Span]]
    source: str | None = msgspec.field(default=msgspec.UNSET)  # type: ignore[assignment]  # Dolma's deduper leaves it out
    quarantined: str | None = None


_decode_row = msgspec.json.Decoder(AttributeRow).decode


def clean_name(name: str) -> str:
    """A name as part of a key: every character outside A-Z, a-z, 0-9 and ``_`` becomes ``_``.

    A name that is empty or begins with a digit is a UserError.
    """
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not cleaned or cleaned[0].isdigit():
        raise UserError(f"{name!r} cannot be a name of attributes", fix="begin it with a letter")
    return cleaned


def check_folder_name(name: str) -> str:
    """The name of an attributes folder; UserError for one that is no plain folder name."""
    if not re.fullmatch(r"[\w+@-][\w.+@-]*", name) or name.endswith(".partial"):
        raise UserError(f"{name!r} cannot be the name of a folder of attributes", fix="use letters, digits, _ and -")
    return name


def encode_row(document: dict[str, Any], attributes: dict[str, Any]) -> bytes:
    """The line, newline included, of ``document`` with spans ``{key: [[start, end, score], …]}``."""
    return encode_json({"id": document["id"], "attributes": attributes, "source": document["source"]}) + b"\n"


def encode_rows(
    documents: Sequence[dict[str, Any]], columns: Sequence[tuple[str, Spans]], always: Sequence[str] = ()
) -> list[bytes]:
    """The lines of documents with their spans as ``(key, spans)``, scores rounded to ``DECIMALS``.

    Keys stand in a row in the order in which they first occur in ``columns``; those of ``always``, which go first, are
    there with an empty list where a document has no span of theirs.
    """
    from .kernels.rows import LARGEST_SCORE, encode_spans

    if sum(len(spans.documents) for _, spans in columns) > PART_SPANS:
        return _encode_in_parts(documents, columns, always)
    keys = {key: number for number, key in enumerate(dict.fromkeys([*always, *(key for key, _ in columns)]))}
    ordered = sorted(columns, key=lambda column: keys[column[0]])
    owners, starts, ends = (
        np.concatenate([np.empty(0, np.int64), *(getattr(spans, name) for _, spans in ordered)]).astype(np.int64)
        for name in ("documents", "starts", "ends")
    )
    scores = np.concatenate([np.empty(0), *(spans.scores for _, spans in ordered)])
    if len(scores) and (np.abs(scores).max() >= LARGEST_SCORE or min(starts.min(), ends.min()) < 0):
        return _encode_one_by_one(documents, ordered, always)
    numbers = np.repeat(
        np.array([keys[key] for key, _ in ordered], dtype=np.int64), [len(spans.documents) for _, spans in ordered]
    )
    order = np.argsort(owners, kind="stable")  # of spans in order of keys
    first = np.searchsorted(owners[order], np.arange(len(documents) + 1))
    heads = [b'{"id":' + encode_json(document["id"]) + b',"attributes":{' for document in documents]
    tails = [b'},"source":' + encode_json(document["source"]) + b"}\n" for document in documents]
    names = [encode_json(key) + b":" for key in keys]
    present = np.arange(len(keys)) < len(set(always))
    data, row_ends = encode_spans(
        *_laid_out(heads),
        *_laid_out(tails),
        *_laid_out(names),
        present,
        first,
        numbers[order],
        starts[order],
        ends[order],
        _scaled(scores)[order].astype(np.int64),
    )
    joined = data.tobytes()
    return [joined[start:end] for start, end in pairwise([0, *row_ends.tolist()])]


def _encode_in_parts(
    documents: Sequence[dict[str, Any]], columns: Sequence[tuple[str, Spans]], always: Sequence[str]
) -> list[bytes]:
    """Giant rows in less memory: document by document, and of one the spans of each key a part at a time."""
    rows = []
    bounds = [np.searchsorted(spans.documents, np.arange(len(documents) + 1)).tolist() for _, spans in columns]
    for number, document in enumerate(documents):
        places = zip(columns, bounds, strict=True)
        own = [(key, spans, at[number], at[number + 1]) for (key, spans), at in places]
        if sum(end - begin for _, _, begin, end in own) <= PART_SPANS:
            rows += encode_rows([document], [(key, _part(*place)) for key, *place in own], always)
            continue
        values: dict[str, list[bytes]] = {key: [] for key in [*always, *(key for key, _ in columns)]}
        for key, spans, begin, end in own:
            for at in range(begin, end, PART_SPANS):
                part = _part(spans, at, min(end, at + PART_SPANS))
                (row,) = encode_rows([NO_DOCUMENT], [(NO_KEY, part)])
                values[key].append(row[len(BEFORE_SPANS) : -len(AFTER_SPANS)])
        head = b'{"id":' + encode_json(document["id"]) + b',"attributes":{'
        kept = ((key, parts) for key, parts in values.items() if parts or key in always)
        pieces = [encode_json(key) + b":[" + b",".join(parts) + b"]" for key, parts in kept]
        rows.append(head + b",".join(pieces) + b'},"source":' + encode_json(document["source"]) + b"}\n")
    return rows


def _part(spans: Spans, begin: int, end: int) -> Spans:
    """Spans of one document as those of document 0."""
    owners = np.zeros(end - begin, dtype=np.int64)
    return Spans(spans.type, owners, spans.starts[begin:end], spans.ends[begin:end], spans.scores[begin:end])


def _scaled(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Whole numbers of ``10 ** -DECIMALS``, as Python's ``round`` decides: by the exact value, halves to even."""
    scale = 10.0**DECIMALS
    exact = scores * scale
    scaled = np.rint(exact)
    moved = np.abs(exact) * 2.0**-50 + 1e-9  # more than the product can be off: it may have crossed the half
    close = np.flatnonzero(np.abs(np.abs(exact - scaled) - 0.5) < moved)
    scaled[close] = [round(round(score, DECIMALS) * scale) for score in scores[close].tolist()]
    return scaled


def _laid_out(parts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    bounds = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=bounds[1:])
    return np.frombuffer(b"".join(parts), dtype=np.uint8), bounds


def _encode_one_by_one(
    documents: Sequence[dict[str, Any]], columns: Sequence[tuple[str, Spans]], always: Sequence[str]
) -> list[bytes]:
    """For scores whose fifth decimal float64 cannot hold and places before the text (allenai/dolma's)."""
    attributes: list[dict[str, Any]] = [{key: [] for key in always} for _ in documents]
    for key, spans in columns:
        scores = [round(score, DECIMALS) for score in spans.scores.tolist()]
        places = zip(spans.documents.tolist(), spans.starts.tolist(), spans.ends.tolist(), scores, strict=True)
        for document, start, end, score in places:
            attributes[document].setdefault(key, []).append((start, end, score))
    return [encode_row(document, spans) for document, spans in zip(documents, attributes, strict=True)]


def encode_tombstone(reason: str) -> bytes:
    """The line that keeps the place of a document that could not be read."""
    return encode_json({"id": None, "attributes": {}, "source": None, "quarantined": reason}) + b"\n"


def read_attribute_rows(path: str | Path) -> Iterator[tuple[int, AttributeRow]]:
    """Yield ``(line number from 1, row)``; a line that is no row of attributes is a UserError."""
    return decode_rows(path, read_lines(path))


def decode_rows(path: str | Path, lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, AttributeRow]]:
    """The same of numbered lines of ``path``."""
    for line, raw in lines:
        yield line, decode_row(path, line, raw, _decode_row)


def decode_row(path: str | Path, line: int, raw: bytes, decode: Callable[[bytes], Row]) -> Row:
    """What ``decode`` makes of one line of ``path``; UserError where it is no row of attributes."""
    try:
        return decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"not a row of attributes: {error}", where=path, line=line, fix="make the attributes again"
        ) from error


def find_attributes(folders: Sequence[str | Path]) -> list[Path]:
    """The attribute files of folders ``X/attributes/NAME``, sorted within each; UserError where there are none."""
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError("no such folder of attributes", where=folder, fix="give X/attributes/NAME")
        check_attributes_manifest(folder)
        files = [
            path
            for path in files_below(folder, lambda name: name.endswith(SUFFIXES) and name != MANIFEST)
            if not (path.parent == folder and path.name == MATCHES)
            and "provenance" not in path.relative_to(folder).parts
        ]
        if not files:
            raise UserError("no attribute files here", where=folder, fix="give X/attributes/NAME")
        found.update(dict.fromkeys(files))
    return list(found)


def make_manifest(
    name: str, files: Sequence[tuple[str, int, int]], taggers: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Manifest of attributes ``name``; ``files`` are ``(path, rows, quarantined rows)``."""
    read = sum(rows for _, rows, _ in files)
    failed = sum(quarantined for _, _, quarantined in files)
    return {
        "artifact": ATTRIBUTES,
        "format_version": FORMAT_VERSION,
        "name": name,
        "files": [{"path": path, "rows": rows, "quarantined": quarantined} for path, rows, quarantined in files],
        "taggers": list(taggers),
        "counts": {"read": read, "kept": read - failed, "dropped": 0, "failed": failed},
    }
