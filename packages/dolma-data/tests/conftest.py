"""Small inputs that several test files share."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

WriteDocuments = Callable[..., Path]


@pytest.fixture()
def write_documents(tmp_path: Path) -> WriteDocuments:
    """Write rows (objects, or bytes as they are) to ``ROOT/documents/NAME`` and return the root."""

    def write(rows: Sequence[dict[str, Any] | bytes], name: str = "a.jsonl.gz", root: str = "corpus") -> Path:
        path = tmp_path / root / "documents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
        data = b"".join(line + b"\n" for line in lines)
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        return tmp_path / root

    return write


@pytest.fixture()
def read_jsonl() -> Callable[[Path], list[Any]]:
    """Read a JSON Lines file, gzip by suffix."""

    def read(path: Path) -> list[Any]:
        data = path.read_bytes()
        return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]

    return read
