"""The records of one input file: text, Markdown, JSON Lines, HTML and web archives."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..documents import is_blank, read_physical_lines
from ..errors import UserError
from ..file_trees import check_name, files_below
from ..files import PARTIAL
from ..reading import DAMAGE, MAX_LINE_BYTES, open_read
from ..remote import shown
from .web import MAX_PAGE_BYTES, WebRecord, clean_text, decode_html, main_text, read_captures, with_text

log = logging.getLogger(__name__)

KINDS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "lines",
    ".html": "html",
    ".htm": "html",
    ".warc": "archive",
    ".wet": "archive",
    ".arc": "archive",
}
PACKED = (".gz", ".zst")
ACCEPTED = f"accepted are {', '.join(KINDS)}, each also with {' or '.join(PACKED)}"
# Fields of a row that keep their place, with the types they must have; all others go to metadata.
OWN_FIELDS: dict[str, tuple[type, ...]] = {
    "added": (str,),
    "created": (str,),
    "version": (str, type(None)),
    "attributes": (dict,),
}
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class InputFile:
    """A file to read: where it lies, its ``name`` for ids, its kind and the source of its documents."""

    path: Path
    name: str
    kind: str
    source: str


class Record(NamedTuple):
    """A ``document``, or why there is none; ``line`` counts the records of the file from 1."""

    line: int
    document: dict[str, Any] | None = None
    dropped: str | None = None
    failed: str | None = None


def find_input_files(path: Path, source: str | None) -> Iterator[InputFile]:
    """List what can be read at ``path``, sorted by name; another kind of file named by itself is a UserError."""
    if not path.exists():
        raise UserError("no such file or folder", where=path, fix="check the path")
    if path.is_file():
        kind, stem = _kind(path)
        if kind is None:
            raise UserError("a file of unknown kind", where=path, fix=ACCEPTED)
        check_name(path)
        yield InputFile(path, path.name, kind, source or stem)
        return
    found = other = 0
    for file in files_below(path, lambda name: not name.endswith(PARTIAL)):
        kind, stem = _kind(file)
        if kind is None:
            other += 1
            continue
        found += 1
        stem = stem if kind == "lines" else path.resolve().name
        yield InputFile(file, file.relative_to(path).as_posix(), kind, source or stem)
    if not found:
        raise UserError("the folder holds no file that can be read", where=path, fix=ACCEPTED)
    if other:
        log.info("%s: %d files of other kinds are left out", path, other)


def _kind(path: Path) -> tuple[str | None, str]:
    """The kind of file, None for one that is not read, and its name without suffixes."""
    name = path.name
    for packed in PACKED:
        name = name.removesuffix(packed)
    for suffix, kind in KINDS.items():
        if name.lower().endswith(suffix):
            return kind, name[: -len(suffix)]
    return None, name


class Line(NamedTuple):
    """A physical line by its number from 1; ``damage`` says why it cannot be read."""

    number: int
    content: bytes
    damage: str | None


Raw = Line | WebRecord | None  # what a record is made of; None is the whole file


def read_raw(file: InputFile) -> Iterator[Raw]:
    """Read and unpack what stands in ``file``, without making anything of it."""
    if file.path.stat().st_size == 0:
        log.warning("%s is empty", file.path)
    elif file.kind == "lines":
        yield from map(Line._make, read_physical_lines(file.path))
    elif file.kind == "archive":
        yield from read_captures(file.path)
    else:
        yield None


def size_of_raw(file: InputFile, raw: Raw) -> int:
    """Bytes that there are to work on, about."""
    if raw is None:
        return file.path.stat().st_size
    if isinstance(raw, Line):
        return len(raw.content)
    return len(raw.page or raw.text)


def make_record(file: InputFile, raw: Raw, text_field: str) -> Record:
    """A document, or why there is none."""
    if raw is None:
        record = _read_whole(file)
    elif isinstance(raw, Line):
        record = _record_of_line(file, text_field, raw)
    else:
        record = _record_of_capture(file, raw)
    if record.document is not None and is_blank(record.document["text"]):
        return Record(record.line, dropped="blank text")
    return record


def _read_whole(file: InputFile) -> Record:
    try:
        most = MAX_LINE_BYTES if file.kind == "text" else MAX_PAGE_BYTES
        with open_read(file.path) as stream:
            content = stream.read(most + 1)
        if len(content) > most:
            return Record(1, failed=f"more than {most >> 20} MiB, unpacked")
        text = content.decode("utf-8-sig") if file.kind == "text" else main_text(decode_html(content))
    except DAMAGE as error:
        return Record(1, failed=f"the compressed file is damaged or cut off: {error}")
    except UnicodeDecodeError as error:
        return Record(1, failed=f"invalid UTF-8 at byte {error.start}")
    except UserError:
        raise
    except Exception as error:  # the extraction library may raise anything on an odd page
        return Record(1, failed=f"no text from the page: {type(error).__name__}: {error}")
    if file.kind == "html" and is_blank(text):
        return Record(1, dropped="no main text")
    metadata = {"file": shown(str(file.path))}
    return Record(1, {"id": file.name, "text": clean_text(text), "source": file.source, "metadata": metadata})


def _record_of_line(file: InputFile, text_field: str, line: Line) -> Record:
    if line.damage is not None:
        return Record(line.number, failed=line.damage)
    if not line.content.strip():
        return Record(line.number, dropped="blank line")
    raw = line.content.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.content
    return _read_line(file, text_field, line.number, raw)


def _read_line(file: InputFile, text_field: str, line: int, raw: bytes) -> Record:
    try:
        row = _decode_leniently(raw)
    except UnicodeDecodeError:
        return Record(line, failed="invalid UTF-8")
    except msgspec.ValidationError:
        return Record(line, failed="a number out of range")
    except RecursionError:
        return Record(line, failed="nested too deep")
    except ValueError as error:
        return Record(line, failed=f"not JSON: {error}")
    if type(row) is not dict:
        return Record(line, failed="not a JSON object")
    text = row.pop(text_field, None)
    if type(text) is not str:
        return Record(line, failed=f"no {text_field}" if text is None else f"{text_field} is not a string")
    identifier = row.pop("id", None)
    if identifier is None:
        identifier = f"{file.name}:{line}"
    elif type(identifier) is not str:
        identifier = encode_id(identifier)
    source = row.pop("source", None)
    document: dict[str, Any] = {
        "id": clean_text(identifier),
        "text": clean_text(text),
        "source": clean_text(source) if isinstance(source, str) and source else file.source,
    }
    metadata = row.pop("metadata", None)
    kept = dict(metadata) if isinstance(metadata, dict) else {} if metadata is None else {"metadata": metadata}
    for name, value in row.items():
        if name in OWN_FIELDS and isinstance(value, OWN_FIELDS[name]):
            document[name] = value
        else:
            kept.setdefault(name, value)
    kept.update(file=shown(str(file.path)), line=line)
    return Record(line, {**document, "metadata": kept})


def encode_id(identifier: Any) -> str:
    """An id that is a number or the like, as its JSON text."""
    return msgspec.json.encode(identifier).decode()


def _decode_leniently(raw: bytes) -> Any:
    """Decode JSON; lone surrogates, which Python's own encoder writes, become U+FFFD."""
    try:
        return _decode(raw)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"\\ud" not in raw.lower():
            raise
    return _without_surrogates(json.loads(raw, parse_constant=_refuse_constant, parse_float=_decode))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _record_of_capture(file: InputFile, capture: WebRecord) -> Record:
    record = capture if capture.page is None else with_text(capture, main_text)
    if record.failed is not None or record.dropped is not None:
        return Record(record.number, dropped=record.dropped, failed=record.failed)
    document = {"id": record.id, "text": record.text, "source": file.source}
    if record.created:
        document["created"] = record.created
    metadata = {**record.metadata, "file": shown(str(file.path))}
    return Record(record.number, {**document, "metadata": metadata})
