"""First pass of ``tokens``: documents encoded unit by unit into scratch files, each in the order of the shuffle.

A document's place in the order is a number drawn from the seed, its file and its line, so that units can be sorted by
themselves and be merged later, and nothing depends on how many processes there are or where a unit ends. A finished
unit is kept when the run is interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from ..config.tokens import FieldSettings
from ..documents import DocumentFile, Failure, encode_json, is_blank, parse_object
from ..files import PARTIAL, digest_file
from ..kernels.token_rows import lay_out, row_lengths
from ..reading import Block, read_blocks
from ..resuming import save_array, write_buffers
from .byte_pairs import Encoder, Tables
from .tokenizer import SpecialIds, load_tokenizer

Ids = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

SMALLEST_UNIT = 2 << 20  # bytes of lines
LARGEST_UNIT = 64 << 20
MOST_UNIT_ROWS = 1 << 19  # each may fail, and is then listed
MOST_UNITS = 1 << 12  # aimed at: every unit is a file that is mapped in the second pass
PACKED_TIMES = 4  # how much text grows when it is unpacked, roughly
ROW = np.dtype(
    [
        ("key", "<u8"),  # place in the order
        ("hash", "<u8"),  # first eight bytes of SHA-256 of the id
        ("start", "<u8"),  # first token in the unit
        ("id_start", "<u8"),  # first byte of the id in the unit's ids
        ("line", "<u8"),
        ("tokens", "<u4"),
        ("file", "<u4"),
        ("id_bytes", "<u4"),
    ]
)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SEGMENT = re.compile(rb"(^\n*|\n+)[^\n]*")


@dataclass(frozen=True)
class Work:
    """What every unit is encoded with."""

    tokenizer: Path
    tokenizer_digest: str
    tables: Path | None
    """Tables of the encoder; None: the library encodes."""
    special: SpecialIds
    dtype: str
    seed: int
    fields: FieldSettings
    segment: bool
    strip: bool
    special_is_text: bool
    names: tuple[str, ...]
    """Path of every document file as it was given."""
    scratch: Path


@dataclass(frozen=True)
class Unit:
    """Blocks of lines that are encoded together, each with the number of its file."""

    number: int
    blocks: tuple[tuple[int, Block], ...]


@dataclass
class Encoded:
    """What became of a unit."""

    number: int
    read: int = 0
    kept: int = 0
    tokens: int = 0
    text_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)


def unit_bytes(files: Sequence[DocumentFile]) -> int:
    """Bytes of lines of a unit, by the size of the files alone."""
    size = sum(file.path.stat().st_size for file in files)
    return min(max(SMALLEST_UNIT, PACKED_TIMES * size // MOST_UNITS), LARGEST_UNIT)


def read_units(files: Sequence[DocumentFile], size: int) -> Iterator[Unit]:
    """Cut the lines of all files into units of about ``size`` bytes, or ``MOST_UNIT_ROWS`` lines."""
    blocks: list[tuple[int, Block]] = []
    number = held = rows = 0
    for index, file in enumerate(files):
        for block in read_blocks(file.path, size):
            blocks.append((index, block))
            held += len(block.data)
            rows += block.rows
            if held >= size or rows >= MOST_UNIT_ROWS:
                yield Unit(number, tuple(blocks))
                blocks, held, rows, number = [], 0, 0, number + 1
    if blocks:
        yield Unit(number, tuple(blocks))


def encode_unit(unit: Unit, work: Work) -> Encoded:
    """Encode a unit into ``N.tokens`` (ids), ``N.rows.npy`` (``ROW`` of each document), ``N.ids`` (UTF-8); ``N.json``
    at last says what they hold, with their digests."""
    encoded = Encoded(unit.number)
    texts: list[bytes] = []
    places: list[tuple[int, int]] = []
    identifiers: list[bytes] = []
    take = reader(work.fields)
    for file, block in unit.blocks:
        failed = dict(block.failed)
        for position, line in enumerate(lines_of(block.data)):
            encoded.read += 1
            found = failed.get(position) or take(line)
            if isinstance(found, str):
                encoded.failures.append(Failure(work.names[file], block.first_line + position, found))
                continue
            identifier, text = found
            if is_blank(text):
                continue
            number = block.first_line + position
            texts.append((text.strip() if work.strip else text).encode())
            del found, text  # the largest document may take four bytes a character
            places.append((file, number))
            identifiers.append((path_id(work.names[file], number) if identifier is None else identifier).encode())
    ids, firsts = encode_texts(texts, work)
    bos, eos = (-1 if token is None else token for token in (work.special.bos, work.special.eos))
    lengths = np.zeros(len(texts), dtype=np.int64)
    row_lengths(ids, firsts, bos, eos, lengths)
    table = np.zeros(len(texts), dtype=ROW)
    table["file"], table["line"] = np.array(places, dtype=np.int64).reshape(-1, 2).T
    table["key"] = order_keys(work.seed, table["file"], table["line"])
    name_rows(table, identifiers)
    table["tokens"] = lengths
    order = np.argsort(table["key"], kind="stable")
    table = table[order]
    table["start"] = np.cumsum(lengths[order]) - lengths[order]
    laid = np.empty(int(lengths.sum()), dtype="<u2" if work.dtype == "uint16" else "<u4")
    lay_out(ids, firsts, bos, eos, order, laid)
    paths = unit_paths(work.scratch, unit.number)
    write_buffers(paths[0], laid.data)
    save_array(paths[1], table)
    write_buffers(paths[2], *identifiers)
    encoded.kept = len(texts)
    encoded.tokens = len(laid)
    encoded.text_bytes = sum(len(block.data) for _, block in unit.blocks)
    _write_result(encoded, paths, work.scratch)
    return encoded


def lines_of(data: bytes) -> Iterator[memoryview]:
    """Lines of a block without their newlines, not copied."""
    view = memoryview(data)
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield view[start:end]
        start = end + 1


def unit_paths(scratch: Path, number: int) -> tuple[Path, Path, Path]:
    """Tokens, rows and ids of a unit."""
    return scratch / f"{number}.tokens", scratch / f"{number}.rows.npy", scratch / f"{number}.ids"


def _write_result(encoded: Encoded, paths: Sequence[Path], scratch: Path) -> None:
    """Say that a unit is finished. Nothing waits for the disk: what a machine loses when it stops, a digest shows."""
    row = msgspec.to_builtins(encoded) | {"digests": [digest_file(path) for path in paths]}
    path = scratch / f"{encoded.number}.json"
    unfinished = path.with_name(path.name + PARTIAL)
    write_buffers(unfinished, encode_json(row))
    os.replace(unfinished, path)


def finished_unit(scratch: Path, number: int) -> Encoded | None:
    """The result of a unit that an interrupted run finished and whose files are as it left them."""
    try:
        row = json.loads((scratch / f"{number}.json").read_bytes())
        if [digest_file(path) for path in unit_paths(scratch, number)] != row.pop("digests"):
            return None
        return msgspec.convert(row, Encoded)
    except (OSError, ValueError):
        return None


def name_rows(table: np.ndarray, identifiers: Sequence[bytes]) -> None:
    """Fill the columns of ``table`` (``ROW``) that stand for the ids of its documents, laid end to end."""
    hashes = b"".join(hashlib.sha256(identifier).digest()[:8] for identifier in identifiers)
    table["hash"] = np.frombuffer(hashes, dtype="<u8")
    table["id_bytes"] = [len(identifier) for identifier in identifiers]
    table["id_start"] = np.cumsum(table["id_bytes"]) - table["id_bytes"]


def order_keys(seed: int, files: npt.NDArray[Any], lines: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Random numbers of documents, [D]: the finaliser of SplitMix64 (Steele et al. 2014) over seed, file and line."""
    keys = np.full(len(files), np.uint64(seed & (1 << 64) - 1))
    for column in (files, lines):
        keys = keys + _MIX[0] * (column.astype(np.uint64) + np.uint64(1))
        keys = (keys ^ (keys >> np.uint64(30))) * _MIX[1]
        keys = (keys ^ (keys >> np.uint64(27))) * _MIX[2]
        keys ^= keys >> np.uint64(31)
    return keys


class BatchEncoder(Protocol):
    """Encodes texts; see :meth:`byte_pairs.Encoder.encode`."""

    def encode(self, texts: Sequence[bytes]) -> tuple[Ids, Offsets]:
        """Ids of the texts (UTF-8), one text behind the other, and the place where each begins, [N + 1]."""
        ...


class LibraryEncoder:
    """Encode with the tokenizers library."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, texts: Sequence[bytes]) -> tuple[Ids, Offsets]:
        """As :meth:`BatchEncoder.encode`; special tokens that a text spells are text."""
        with _one_thread():
            encodings = self.tokenizer.encode_batch_fast([text.decode() for text in texts], add_special_tokens=False)
        firsts = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(encoding) for encoding in encodings], out=firsts[1:])
        ids = chain.from_iterable(encoding.ids for encoding in encodings)
        return np.fromiter(ids, dtype=np.uint32, count=int(firsts[-1])), firsts


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have the tokenizers library use the thread that calls it: there are as many workers as processors."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@lru_cache(maxsize=1)
def encoder_of(tokenizer: Path, digest: str, tables: Path | None, special_is_text: bool) -> BatchEncoder:
    """The encoder of this process for the tokenizer of this digest."""
    if tables is None:
        return LibraryEncoder(load_tokenizer(tokenizer, special_is_text))
    return Encoder(Tables.load(tables), lambda: load_tokenizer(tokenizer, special_is_text))


def encode_texts(texts: Sequence[bytes], work: Work) -> tuple[Ids, Offsets]:
    """Ids of the texts and where those of each begin, line by line where that is asked for."""
    encoder = encoder_of(work.tokenizer, work.tokenizer_digest, work.tables, work.special_is_text)
    if not work.segment:
        return encoder.encode(texts)
    segments = [[match.group() for match in _SEGMENT.finditer(text)] for text in texts]
    ids, firsts = encoder.encode(list(chain.from_iterable(segments)))
    ends = np.cumsum([0, *map(len, segments)])
    return ids, firsts[ends]


def path_id(name: str, line: int) -> str:
    """The id of a document that has none."""
    return f"{hashlib.sha256(name.encode()).hexdigest()}-{line}"


def reader(fields: FieldSettings) -> Callable[[memoryview], tuple[str | None, str] | str]:
    """A function that gives id and text of a line, or the reason why it has none."""
    text_names = fields.text_field_name.split(".")
    id_names = fields.id_field_name.split(".") if fields.id_field_name is not None else None
    id_type = {"i": int, "s": str}.get(fields.id_field_type[0], float)
    wanted: dict[str, Any] = {}
    for names, kind in ((text_names, str), (id_names, id_type)):
        place = wanted
        for name in (names or ())[:-1]:
            place = place.setdefault(name, {})
        if names:
            place[names[-1]] = kind
    wants = _struct(wanted)
    text_of = attrgetter(".".join(map(_attribute, text_names)))
    id_of = None if id_names is None else attrgetter(".".join(map(_attribute, id_names)))

    def take(line: memoryview) -> tuple[str | None, str] | str:
        row, reason = parse_object(line)
        if row is None:
            return str(reason)
        try:
            document = msgspec.convert(row, wants)
        except msgspec.ValidationError as error:
            return str(error)[0].lower() + str(error)[1:]
        return None if id_of is None else str(id_of(document)), text_of(document)

    return take


def _struct(wanted: dict[str, Any]) -> Any:
    fields_of = [(_attribute(name), _struct(kind) if isinstance(kind, dict) else kind) for name, kind in wanted.items()]
    names = {_attribute(name): name for name in wanted}
    return msgspec.defstruct("Wanted", fields_of, rename=names)


def _attribute(name: str) -> str:
    """A field's name as that of an attribute, whatever characters it holds."""
    return "field_" + name.encode().hex()
