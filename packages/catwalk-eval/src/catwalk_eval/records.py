"""Source records: where the files of a task lie, and reading them, JSON Lines or Parquet."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import UserError
from .fields import MissingFieldError
from .files import read_json, read_lines

SOURCE = "source/validation.jsonl.gz"
SUFFIXES = (".jsonl.gz", ".jsonl.zst", ".jsonl", ".parquet")
PARQUET_ROWS = 1024  # read at a time


def nearest(name: str, known: Sequence[str]) -> str:
    """The mend for a misspelt name."""
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)


def at(path: Path, number: int) -> dict[str, Any]:
    """Where record ``number`` of a file is, for a UserError: Parquet has rows, not lines."""
    return {"where": f"{path}, row {number}"} if path.suffix == ".parquet" else {"where": path, "line": number}


def split_file(folder: Path, split: str) -> Path | None:
    """The records of a split, in ``folder/source`` or ``folder`` itself; two files of one split are a UserError."""
    found = [
        place / (split + suffix)
        for place in (folder / "source", folder)
        for suffix in SUFFIXES
        if (place / (split + suffix)).is_file()
    ]
    if len(found) > 1:
        names = " and ".join(str(path.relative_to(folder)) for path in found)
        raise UserError(f"two files hold the split {split}: {names}", where=folder, fix="remove one")
    return found[0] if found else None


def splits_of(folder: Path) -> list[str]:
    """Names of the splits that a folder holds."""
    files = [path for place in (folder / "source", folder) if place.is_dir() for path in place.iterdir()]
    names = {path.name.removesuffix(suffix) for path in files for suffix in SUFFIXES if path.name.endswith(suffix)}
    return sorted(names)


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """``(line or row from 1, record)`` of a file of records; what is none is a UserError with its place."""
    if not path.name.endswith(SUFFIXES):
        known = ", ".join(SUFFIXES)
        raise UserError("records are JSON Lines or Parquet", where=path, fix=f"known endings: {known}")
    if not path.is_file():
        raise UserError("no such file", where=path, fix="check the path")
    return parquet_rows(path) if path.suffix == ".parquet" else json_rows(path)


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """``(line, object)`` of a JSON Lines file; what is no JSON object is a UserError with its line."""
    for number, line in read_lines(path):
        if not line:
            continue
        try:
            row = json.loads(line)
            if b"\\u" in line:
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            what = "the line holds half a surrogate pair"
            raise UserError(what, where=path, line=number, fix="mend or remove the line") from error
        except (ValueError, RecursionError) as error:
            raise UserError("not valid JSON", where=path, line=number, fix="mend or remove the line") from error
        if not isinstance(row, dict):
            raise UserError("the line is no JSON object", where=path, line=number, fix="mend or remove the line")
        yield number, row


def parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """``(row from 1, record)`` of a Parquet file; a value that JSON does not have is a UserError with its row."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UserError("reading Parquet needs pyarrow", where=path, fix="pip install 'catwalk-eval[data]'") from error
    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, jsonable(row, path, number)
    except (ArrowException, OSError) as error:
        raise UserError(f"the Parquet file does not read: {error}", where=path, fix="fetch it again") from error


def jsonable(row: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    """``row`` itself."""
    try:
        json.dumps(row)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the record has a value that is neither text, number, list nor object: {error}",
            **at(path, number),
            fix="convert the column",
        ) from error
    return row


def json_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; anything else is a UserError."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError("the file holds no JSON object", where=path, fix="make it again")
    return value


def unfit(error: Exception, name: str, path: Path, number: int) -> UserError:
    """The UserError for a record that a task's builder refuses."""
    if isinstance(error, KeyError):
        fix = error.fix if isinstance(error, MissingFieldError) else "mend it"
        return UserError(f"the record has no field {error}", **at(path, number), fix=fix)
    what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return UserError(f"the record does not fit {name}: {what}", **at(path, number), fix="mend it")


REFUSALS = (Exception,)  # what a builder makes of a wrong record: those of the user's own may raise anything


def keys_of(value: Mapping[str, Any], known: Sequence[str], where: Path, what: str) -> None:
    """A key that is none of ``known`` is a UserError with the nearest one."""
    for key in value:
        if key not in known:
            raise UserError(f"{what} has no key {key!r}", where=where, fix=nearest(str(key), list(known)))
