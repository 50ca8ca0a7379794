"""Reading JSON and JSON Lines against their schemas, with the line of every mistake; content digests."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import fastjsonschema
import orjson
import zstandard

from artifact_checks.report import Report
from shared.files import ZstandardReader

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
DOCUMENT_SUFFIXES = tuple(kind + packed for kind in (".jsonl", ".json") for packed in ("", ".gz", ".zst", ".zstd"))
PARTIAL = ".partial"
NOT_CONTENT = "provenance"


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """The JSON Schema ``docs/schemas/NAME.schema.json``."""
    return cast(dict[str, Any], json.loads((SCHEMAS / f"{name}.schema.json").read_bytes()))


@functools.cache
def compiled(name: str) -> Callable[[Any], Any]:
    """A fast validator: raises where a value breaks the schema. The schemas keep to what it knows (there is a test)."""
    return cast(Callable[[Any], Any], fastjsonschema.compile(schema(name), use_default=False))


def complaint(name: str, value: Any) -> str | None:
    """What is wrong with a value by the schema, or None."""
    try:
        compiled(name)(value)
    except fastjsonschema.JsonSchemaException as error:
        import jsonschema

        best = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema(name)).iter_errors(value))
        if best is None:
            return str(error)
        place = "/".join(str(part) for part in best.absolute_path)
        return f"{place}: {best.message}" if place else best.message
    return None


def open_read(path: Path) -> BinaryIO:
    """Open for reading, decompressing ``.gz`` and ``.zst`` by suffix."""
    if path.name.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.name.endswith((".zst", ".zstd")):
        return cast(BinaryIO, io.BufferedReader(ZstandardReader(open(path, "rb")), 1 << 20))
    return open(path, "rb")


def lines(path: Path, report: Report, *, ours: bool = True) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line); a file that is missing or damaged is a problem.

    So is one of ours that would not come out the same again; files without a manifest may come from anywhere.
    """
    number = 0
    try:
        if ours and path.name.endswith(".gz"):
            with open(path, "rb") as raw:
                head = raw.read(10)
            if head[3:4] not in (b"\0", b"") or head[4:8] not in (b"\0\0\0\0", b""):
                report.problem(path, "the gzip header holds a time stamp or a name, so equal content gives other bytes")
        with open_read(path) as stream:
            for line in stream:
                number += 1
                yield number, line.rstrip(b"\r\n")
    except FileNotFoundError:
        report.problem(path, "missing")
    except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
        report.problem(path, f"damaged or cut off: {error}", number + 1)


def parse(line: bytes) -> tuple[Any, str | None]:
    """(value, None) or (None, what is wrong)."""
    try:
        return orjson.loads(line), None
    except orjson.JSONDecodeError as error:
        return None, f"not valid JSON: {error}"


def rows(path: Path, schema_name: str, report: Report, *, ours: bool = True) -> Iterator[tuple[int, Any]]:
    """Yield (line, row) of every row that keeps its schema; the others are problems."""
    validate = compiled(schema_name)
    for number, line in lines(path, report, ours=ours):
        row, wrong = parse(line)
        if wrong is None:
            try:
                validate(row)
            except fastjsonschema.JsonSchemaException:
                wrong = complaint(schema_name, row)
        if wrong is None:
            yield number, row
        else:
            report.problem(path, wrong, number)


def load(path: Path, schema_name: str, report: Report) -> Any:
    """A JSON file that keeps its schema, or None and a problem."""
    try:
        value, wrong = parse(path.read_bytes())
    except OSError as error:
        report.problem(path, "missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}")
        return None
    wrong = wrong or complaint(schema_name, value)
    if wrong is not None:
        report.problem(path, wrong)
        return None
    return value


def files_under(folder: Path) -> list[Path]:
    """All finished files below a folder, sorted, provenance left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.endswith(PARTIAL) or part == NOT_CONTENT for part in path.relative_to(folder).parts)
    )


def only(folder: Path, allowed: set[str], report: Report) -> None:
    """Every file of the folder that the contract does not name is a problem."""
    for path in files_under(folder):
        if path.relative_to(folder).as_posix() not in allowed:
            report.problem(path, "this file is no part of the artifact")


def listed(folder: Path, paths: list[str], manifest: Path, report: Report) -> None:
    """The paths that a manifest lists must be distinct and lead nowhere outside."""
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            report.problem(manifest, f"lists {path} twice")
        seen.add(path)
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            report.problem(manifest, f"the path {path} leads out of the artifact")


def digest_file(path: Path) -> str:
    """``sha256:…`` of the bytes on disk."""
    with open(path, "rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def digest_folder(folder: Path) -> str:
    """``sha256:…`` over lines ``path NUL digest-of-file LF``, sorted part by part, provenance left out."""
    total = hashlib.sha256()
    for path in files_under(folder):
        total.update(f"{path.relative_to(folder).as_posix()}\0{digest_file(path)}\n".encode())
    return "sha256:" + total.hexdigest()


def check_digest(path: Path, stated: str, what: str, where: Path, report: Report) -> None:
    """A problem where the file is missing or its digest is not the stated one."""
    if not path.is_file():
        report.problem(path, "missing")
    elif (found := digest_file(path)) != stated:
        report.problem(where, f"{what} is {stated[:19]}…, but {path.name} has {found[:19]}…")


def check_counts(counts: dict[str, int], path: Path, report: Report) -> None:
    """Nothing lost: kept + dropped + failed = read."""
    total = counts["kept"] + counts["dropped"] + counts["failed"]
    if total != counts["read"]:
        report.problem(path, f"counts: kept + dropped + failed = {total}, but read = {counts['read']}")


def close(a: float, b: float, relative: float = 1e-9, absolute: float = 1e-12) -> bool:
    """Equal but for the order in which floating-point numbers were added."""
    return math.isclose(a, b, rel_tol=relative, abs_tol=absolute)
