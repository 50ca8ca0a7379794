"""One chunk of ``mix``: from lines of documents and attributes to the lines that are kept.

Attributes are decoded as far as the rules look. Only documents that are kept are put together anew, of the pieces of
their line, so that fields which nothing touches come out as they went in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, cast

import msgspec
from msgspec import Raw

from ..config.mix import MixStream
from ..documents import Failure, Shard, parse_document, parse_object
from ..errors import UserError
from ..reading import pack, split_lines
from .finished import Digests, digests_of
from .reading import REMAKE, MixChunk, WholeFile, paths_of, read_chunks
from .rules import Funnel, Rules, apply_rules, compile_rules, count

Fields = dict[str, Any]
encode = msgspec.json.Encoder().encode
Pieces = dict[str, Raw]
_decode_pieces = msgspec.json.Decoder(Pieces).decode
Spans = list[tuple[int, int, int | float]]
_decode_spans = msgspec.json.Decoder(Spans).decode
_decode = msgspec.json.Decoder().decode
PROVENANCE = "provenance"
NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class Program:
    """A stream, compiled: its rules, and what they look at."""

    rules: Rules
    looked_at: frozenset[str] | None  # keys of attributes; None: all
    spans: frozenset[str]  # keys of attributes that are looked at for their spans alone
    write_attributes: bool
    decode_looked_at: Callable[[bytes], AttributeRow] | None  # a row without anything else; None: all are looked at

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


class AttributeRow(msgspec.Struct, gc=False):
    """A row of attributes, in pieces or as far as they are looked at."""

    attributes: Fields
    id: Any = None
    quarantined: str | None = None


class QuarantinedError(Exception):
    """The attributes of a document could not be made, so that it counts as failed here too."""


class PieceRow(AttributeRow, gc=False):
    """A row of attributes in pieces."""

    attributes: Pieces


_decode_row = msgspec.json.Decoder(PieceRow).decode
_programs: dict[str, Program] = {}  # streams hold lists and cannot be keys themselves


def program_of(stream: MixStream, compat: str | None) -> Program:
    """The compiled program, made once in each process."""
    key = f"{stream!r} {compat}"
    if key not in _programs:
        _programs[key] = compile_program(stream, compat)
    return _programs[key]


def compile_program(stream: MixStream, compat: str | None) -> Program:
    """What chunks of a stream are worked on with: its rules, and which attributes they look at."""
    rules = compile_rules(stream, compat)
    needs = rules.needs()
    write_attributes = "attributes" not in rules.discard
    spans = rules.keys_of_spans()
    return Program(rules, needs.attributes, spans, write_attributes, _row_decoder(needs.attributes, spans))


def _row_decoder(looked_at: frozenset[str] | None, spans: frozenset[str]) -> Callable[[bytes], AttributeRow] | None:
    """Decodes of a row of attributes what is looked at and passes over the rest; ValidationError for other spans."""
    if looked_at is None:
        return None
    keys = cast(Any, TypedDict)("Keys", {key: Spans if key in spans else Any for key in sorted(looked_at)}, total=False)
    row = msgspec.defstruct("LookedAtRow", [("attributes", keys)], bases=(AttributeRow,), gc=False)
    return cast(Callable[[bytes], AttributeRow], msgspec.json.Decoder(row).decode)


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
        if len(total.shard.failures) > piece.most_failed:
            break
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
    columns = [(path, split_lines(rows)) for path, rows in zip(chunk.attribute_paths, chunk.attributes, strict=True)]
    lines = split_lines(chunk.documents)
    mixed.shard.read = len(lines)
    for place, raw in enumerate(lines):
        line = chunk.first_line + place
        reason = chunk.failed.get(place)
        document, reason = (None, reason) if reason else _parse(raw, dolma)
        if document is None and dolma:
            raise UserError(reason or "", where=chunk.path, line=line, fix="mend the line")
        rows = [(path, column[place]) for path, column in columns if place < len(column)]  # all of them, but for compat
        try:
            _join(chunk, line, rows, raw if document is None else document, program)
        except QuarantinedError as error:
            if dolma:
                raise UserError(str(error), where=chunk.path, line=line, fix=REMAKE) from error
            document, reason = None, str(error)
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
        pieces: Fields = _decode_pieces(raw)
        if document["text"] is not text:
            pieces["text"] = document["text"]
        if columns and program.write_attributes:
            pieces["attributes"] = _merge(pieces.get("attributes"), rows)
        mixed.lines.append(_put_together(pieces, f"{name}:{line}", program.rules))
    for source, documents in mixed.funnel.kept.items():
        mixed.shard.count(source, mixed.funnel.kept_bytes[source], documents)
    if packing is not None and mixed.lines:
        mixed.packed = pack(b"".join(mixed.lines), packing)
        mixed.lines = []
    return mixed


def _parse(raw: bytes, dolma: bool) -> tuple[Fields | None, str | None]:
    """As :func:`documents.parse_document`; Dolma's mixer asks less of a document."""
    if not dolma:
        return parse_document(raw)
    document, reason = parse_object(raw)
    if document is None or type(document.get("text")) is str:
        if document is not None and type(document.get("source")) is not str:
            document["source"] = str(document.get("source") or "")
        return document, reason
    return parse_document(raw)


def _join(
    chunk: MixChunk, line: int, rows: Sequence[tuple[Path, bytes]], document: Fields | bytes, program: Program
) -> None:
    """Put what is looked at of a line's attributes into ``document``, the line itself where it is none.

    UserError for rows that do not belong there.
    """
    found: Fields = {}
    for path, raw in rows:
        try:
            if not raw.isascii():
                raw.decode()
            row = _decode_looked_at(raw, program)
        except NO_JSON as error:
            raise UserError(f"not a row of attributes: {error}", where=path, line=line, fix=REMAKE) from error
        if isinstance(document, bytes):
            # other tools score lines of which a part that they do not look at is broken
            if row.id is not None and encode(row.id) not in document:
                problem = f"the attributes of id {row.id!r} stand beside a line of {chunk.path} that is no document"
                raise UserError(problem, where=path, line=line, fix=REMAKE)
            continue
        if row.quarantined is not None:
            raise QuarantinedError(f"not scored in {path}: {row.quarantined}")
        expected = document.get("id")
        if row.id != expected or type(row.id) is not type(expected):
            problem = f"the attributes of id {row.id!r} stand beside the document {expected!r} of {chunk.path}"
            raise UserError(problem, where=path, line=line, fix=REMAKE)
        found.update(row.attributes)
    if chunk.attributes and not isinstance(document, bytes):
        own = document.get("attributes")
        document["attributes"] = {**own, **found} if type(own) is dict else found


def _decode_looked_at(raw: bytes, program: Program) -> AttributeRow:
    if program.decode_looked_at is not None:
        with suppress(msgspec.ValidationError):
            return program.decode_looked_at(raw)
    row = _decode_row(raw)
    return AttributeRow(program.attributes(row.attributes), row.id, row.quarantined)


def _merge(own: Raw | None, rows: Sequence[tuple[Path, bytes]]) -> Fields:
    """All attributes in pieces, as they are written again."""
    found = None if own is None else _decode(own)
    merged: Fields = found if type(found) is dict else {}
    for _, raw in rows:
        merged.update(_decode_row(raw).attributes)
    return merged


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
