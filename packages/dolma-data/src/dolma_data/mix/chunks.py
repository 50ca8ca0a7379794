"""One chunk of ``mix``: from lines of documents and attributes to the lines that are kept.

A line is decoded as far as the rules look; only documents that are kept are put together anew, of the pieces of their
line, so that fields which nothing touches come out as they went in.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from ..config.mix import MixStream
from ..documents import Failure, Shard, parse_document
from ..errors import UserError
from ..reading import pack
from .finished import Digests, digests_of
from .reading import REMAKE, MixChunk, WholeFile, paths_of, read_chunks
from .rules import Funnel, Rules, apply_rules, compile_rules, count

Fields = dict[str, Any]
encode = msgspec.json.Encoder().encode
Pieces = dict[str, Raw]
_decode_pieces = msgspec.json.Decoder(Pieces).decode
_decode_spans = msgspec.json.Decoder(list[tuple[int, int, int | float]]).decode
_decode = msgspec.json.Decoder().decode
PROVENANCE = "provenance"
NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class Program:
    """A stream, compiled: its rules, and what they look at."""

    rules: Rules
    fields: frozenset[str] | None  # of documents; None: all
    looked_at: frozenset[str] | None  # keys of attributes; None: all
    spans: frozenset[str]  # keys of attributes that are looked at for their spans alone
    write_attributes: bool

    def document(self, pieces: Pieces) -> Fields:
        """Decode what the rules look at. DecodeError and UnicodeDecodeError for what is no JSON."""
        fields = pieces if self.fields is None else self.fields
        return {name: _decode(pieces[name]) for name in fields if name in pieces}

    def attributes(self, pieces: Pieces) -> Fields:
        """Decode what the rules look at; spans become tuples, whose types the decoder has looked at."""
        found: Fields = {}
        for name in pieces if self.looked_at is None else self.looked_at:
            piece = pieces.get(name)
            if piece is None:
                continue
            if name in self.spans:
                with suppress(msgspec.ValidationError):
                    found[name] = _decode_spans(piece)
                    continue
            found[name] = _decode(piece)
        return found


class AttributeRow(msgspec.Struct):
    """A row of attributes, in pieces."""

    attributes: Pieces
    id: Any = None


_decode_row = msgspec.json.Decoder(AttributeRow).decode
_programs: dict[str, Program] = {}  # streams hold lists and cannot be keys themselves


def program_of(stream: MixStream, compat: str | None) -> Program:
    """The compiled program, made once in each process."""
    key = f"{stream!r} {compat}"
    if key not in _programs:
        _programs[key] = compile_program(stream, compat)
    return _programs[key]


def compile_program(stream: MixStream, compat: str | None) -> Program:
    rules = compile_rules(stream, compat)
    needs = rules.needs()
    write_attributes = "attributes" not in rules.discard
    fields = None if needs.fields is None else needs.fields | {"id", "text", "source", "attributes"}
    return Program(rules, fields, needs.attributes, rules.keys_of_spans(), write_attributes)


@dataclass
class Mixed:
    """What became of a chunk, or of a whole file."""

    number: int
    stream: int
    lines: list[bytes] = field(default_factory=list)
    packed: bytes = b""  # the lines, where they come back packed
    shard: Shard = field(default_factory=Shard)
    funnel: Funnel = field(default_factory=Funnel)
    digests: Digests = field(default_factory=dict)  # of what a whole file was made from

    def add(self, other: Mixed) -> None:
        """Take what comes after this, packed."""
        self.packed += other.packed
        self.shard.add(other.shard)
        self.funnel.add(other.funnel)
        self.digests.update(other.digests)


def mix_piece(
    piece: MixChunk | WholeFile, streams: Sequence[MixStream], compat: str | None, packings: Sequence[str | None]
) -> Mixed:
    """Mix a chunk, or read a whole file and mix its chunks; the packed lines are the same. See :func:`mix_chunk`."""
    if isinstance(piece, MixChunk):
        return mix_chunk(piece, streams, compat, packings)
    stream = streams[piece.stream]
    total = Mixed(piece.number, piece.stream)
    parts = []
    packing, dolma = stream.compression.input, compat == "dolma"
    for chunk in read_chunks(piece.file, stream.attributes, packing, dolma, piece.chunk_bytes):
        mixed = mix_chunk(replace(chunk, stream=piece.stream, number=piece.number), streams, compat, packings)
        parts.append(mixed.packed)
        mixed.packed = b""
        total.add(mixed)
    total.packed = b"".join(parts)
    total.digests = digests_of(paths_of(piece.file, stream.attributes))
    return total


def mix_chunk(
    chunk: MixChunk, streams: Sequence[MixStream], compat: str | None, packings: Sequence[str | None]
) -> Mixed:
    """Mix a chunk of one of the streams. UserError for rows that do not fit.

    ``packings`` says for every stream how the lines come back packed (gz, zst, ""), or that they come as they are.
    """
    program, packing = program_of(streams[chunk.stream], compat), packings[chunk.stream]
    mixed = Mixed(chunk.number, chunk.stream)
    dolma = compat == "dolma"
    name = chunk.path.name
    for place, raw in enumerate(chunk.documents):
        mixed.shard.read += 1
        line = chunk.first_line + place
        reason = chunk.failed.get(place)
        document, pieces, reason = (None, {}, reason) if reason else _parse(raw, program, dolma)
        if document is None and dolma:
            raise UserError(reason or "", where=chunk.path, line=line, fix="mend the line")
        attributes = _join(chunk, place, document, program, dolma)
        if document is None:
            mixed.shard.failures.append(Failure(str(chunk.path), line, reason or ""))
            continue
        text = document["text"]
        try:
            dropped = apply_rules(program.rules, document, mixed.funnel)
        except ValueError as error:
            raise UserError(str(error), where=chunk.path, line=line, fix="mend the rule or the attributes") from error
        if dropped is not None:
            count(mixed.shard.dropped, dropped)
            continue
        new = document["text"]
        provenance = f"{name}:{line}"
        if new is not text:
            pieces["text"] = new
        if attributes is not None:
            pieces["attributes"] = attributes
        mixed.lines.append(_put_together(pieces, provenance, program.rules))
    for source, documents in mixed.funnel.kept.items():
        mixed.shard.count(source, mixed.funnel.kept_bytes[source], documents)
    if packing is not None and mixed.lines:
        mixed.packed = pack(b"".join(mixed.lines), packing)
        mixed.lines = []
    return mixed


def _parse(raw: bytes, program: Program, dolma: bool) -> tuple[Fields | None, Fields, str | None]:
    """As :func:`documents.parse_document`, decoding what the rules look at, with all fields as pieces of the line.

    Dolma's mixer asks less of a document.
    """
    try:
        pieces = _decode_pieces(raw)
        document = program.document(pieces)
        if not raw.isascii():
            for name, piece in pieces.items():
                if name not in document:
                    bytes(piece).decode()  # the decoder does not look at text that it passes over
    except NO_JSON:
        document = {}
    if type(document.get("text")) is str:
        if type(document.get("source")) is str and type(document.get("id")) is str:
            return document, pieces, None
        if dolma:
            document["source"] = str(document.get("source") or "")
            return document, pieces, None
    _, reason = parse_document(raw)
    return None, {}, reason


def _join(chunk: MixChunk, place: int, document: Fields | None, program: Program, dolma: bool) -> Fields | None:
    """Put the attributes of a line into ``document``; returns all of them in pieces where they are written again."""
    if not chunk.attributes:
        return None
    expected = None if document is None else document.get("id")
    merged: Fields = {}
    for path, rows in zip(chunk.attribute_paths, chunk.attributes, strict=True):
        if dolma and place >= len(rows):
            break  # Dolma reads no attributes that are named later either
        raw = rows[place]
        try:
            if not raw.isascii():
                raw.decode()
            row = _decode_row(raw)
        except NO_JSON as error:
            raise _no_row(chunk, place, path, error) from error
        if row.id != expected or type(row.id) is not type(expected):
            raise UserError(
                f"the attributes of id {row.id!r} stand beside the document {expected!r} of {chunk.path}",
                where=path,
                line=chunk.first_line + place,
                fix=REMAKE,
            )
        merged.update(row.attributes)
    if document is None:
        return None
    own = document.get("attributes")
    own = own if type(own) is dict else {}
    try:
        document["attributes"] = own | program.attributes(merged)
    except NO_JSON:
        for path, rows in zip(chunk.attribute_paths, chunk.attributes, strict=True):
            try:
                program.attributes(_decode_row(rows[place]).attributes)
            except NO_JSON as error:
                raise _no_row(chunk, place, path, error) from error
        raise
    if not program.write_attributes:
        return None
    return {**own, **merged} if own else merged


def _no_row(chunk: MixChunk, place: int, path: Path, error: Exception) -> UserError:
    return UserError(f"not a row of attributes: {error}", where=path, line=chunk.first_line + place, fix=REMAKE)


def _put_together(pieces: Fields, provenance: str, rules: Rules) -> bytes:
    """The new line: the pieces of the old one, with provenance put in."""
    for name in rules.discard:
        pieces.pop(name, None)
    metadata = pieces.get("metadata")
    # a piece may go on into the line's memory, so that it is looked at as bytes
    piece = b"" if metadata is None else bytes(metadata).strip()
    if piece[:1] != b"{" or piece[1:-1].isspace() or len(piece) == 2:
        pieces["metadata"] = {PROVENANCE: provenance}
    elif b'"provenance"' in piece or b"\\" in piece:
        pieces["metadata"] = {**_decode_pieces(piece), PROVENANCE: provenance}
    else:
        pieces["metadata"] = Raw(piece[:-1] + b',"provenance":' + encode(provenance) + b"}")
    return encode(pieces) + b"\n"
