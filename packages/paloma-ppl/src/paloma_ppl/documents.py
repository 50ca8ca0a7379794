"""Reading documents: Dolma's layout, with malformed rows counted and set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import atomic_write, read_json, read_lines

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True, slots=True)
class Document:
    """One row of a documents file."""

    id: str
    text: str
    source: str
    row: dict[str, Any]
    file: str  # relative to the root of the artifact
    line: int  # from 1


@dataclass
class Tally:
    """What was read: ``read = documents yielded + blank + failed``."""

    read: int = 0
    blank: int = 0
    quarantine: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return len(self.quarantine)

    def settle(self, quarantine_file: Path | None, max_failed: int) -> None:
        """Write the quarantine beside the output; a UserError where more rows failed than are tolerated."""
        if quarantine_file is not None:
            quarantine_file.unlink(missing_ok=True)
        if quarantine_file is not None and self.failed:
            with atomic_write(quarantine_file) as stream:
                for row in self.quarantine:
                    stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        if self.failed > max_failed:
            first = self.quarantine[0]
            look = "" if quarantine_file is None else f"see {quarantine_file}, "
            raise UserError(
                f"{self.failed} malformed rows, {max_failed} are tolerated; the first: {first['reason']}",
                where=first["file"],
                line=first["line"],
                fix=f"{look}mend the rows or raise --max-failed",
            )


def document_files(path: Path) -> tuple[Path, list[Path]]:
    """Root and sorted files of a documents artifact, a folder of .jsonl files, or a single file.

    With a manifest, the files on disk must be those it lists.
    """
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise UserError("not a documents file", where=path, fix="give a .jsonl, .jsonl.gz or .jsonl.zst file")
        return path.parent, [path]
    if not path.is_dir():
        raise UserError("no such documents", where=path, fix="check the path")
    folder = path / "documents" if (path / "documents").is_dir() else path
    files = sorted(
        (file for file in folder.rglob("*") if file.is_file() and file.name.endswith(SUFFIXES)),
        key=lambda file: file.relative_to(path).as_posix(),
    )
    files = [file for file in files if file != path / "quarantine.jsonl"]
    manifest_file = path / "manifest.json"
    if manifest_file.is_file():
        manifest = read_json(manifest_file)
        if not isinstance(manifest, dict):
            raise UserError("no JSON object", where=manifest_file, fix="make the documents again")
        kind, version = manifest.get("artifact"), manifest.get("format_version")
        if kind != "documents":
            raise UserError(f"this is a {kind} artifact", where=path, fix="give a documents artifact")
        if version != 1:
            raise UserError(f"format version {version} is not known", where=manifest_file, fix="update paloma-ppl")
        try:
            listed = {str(row["path"]) for row in manifest["files"]}
        except (KeyError, TypeError) as error:
            raise UserError(
                "the manifest does not list the files", where=manifest_file, fix="make the documents again"
            ) from error
        present = {file.relative_to(path).as_posix() for file in files}
        if listed != present:
            odd = sorted(listed ^ present)[0]
            what = "is listed but missing" if odd in listed else "is not listed in manifest.json"
            raise UserError(f"{odd} {what}", where=path, fix="make the documents again")
    if not files:
        raise UserError("no .jsonl files", where=folder, fix="give a folder that holds documents/**/*.jsonl.gz")
    return path, files


def read_documents(path: Path, tally: Tally) -> Iterator[Document]:
    """Yield the documents in the order of the sorted files; blank and malformed rows are only counted."""
    root, files = document_files(path)
    for file in files:
        name = file.relative_to(root).as_posix()
        for line, data in read_lines(file):
            tally.read += 1
            try:
                row = parse_row(data)
            except ValueError as error:
                tally.quarantine.append({"file": name, "line": line, "reason": str(error)})
                continue
            if not row["text"].strip():
                tally.blank += 1
                continue
            yield Document(row["id"], row["text"], row["source"], row, name, line)


def parse_row(data: bytes) -> dict[str, Any]:
    """A row with string ``id``, ``text`` and ``source``; anything else is a ValueError that says why."""
    try:
        row = json.loads(data)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    for key in ("id", "text", "source"):
        value = row.get(key)
        if not isinstance(value, str):
            raise ValueError(f"{key} is {'missing' if key not in row else 'not a string'}")
        if not is_unicode(value):
            raise ValueError(f"{key} holds half a surrogate pair")
    if not row["source"] or not row["id"]:
        raise ValueError("id or source is empty")
    return row


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8 (JSON escapes can name lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def field_value(row: dict[str, Any], name: str) -> str | None:
    """Value of a dotted field as a string; None where it is missing, null or empty."""
    value: Any = row
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    if value is None or value == "" or isinstance(value, dict | list):
        return None
    text = str(value)
    return text if is_unicode(text) else None
