"""Files of hand-made artifacts: written, read back, damaged."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

EOS, PAD = 0, 1
Json = Any


def digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    elif path.name.endswith(".zst"):
        content = zstandard.compress(content)
    path.write_bytes(content)


def read(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        return gzip.decompress(content)
    if path.name.endswith(".zst"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


def write_json(path: Path, value: Json) -> Path:
    write(path, json.dumps(value, ensure_ascii=False, indent=2).encode())
    return path


def read_json(path: Path) -> Json:
    return json.loads(path.read_bytes())


def write_rows(path: Path, rows: list[Json]) -> Path:
    write(path, b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    return path


def read_rows(path: Path) -> list[Json]:
    return [json.loads(line) for line in read(path).splitlines()]


def edit_json(path: Path, edit: Callable[[Json], Json]) -> None:
    """Change a JSON file in place."""
    value = read_json(path)
    edit(value)
    write_json(path, value)


def edit_rows(path: Path, edit: Callable[[list[Json]], Json]) -> None:
    """Change the rows of a JSON Lines file in place."""
    rows = read_rows(path)
    edit(rows)
    write_rows(path, rows)
