"""Small inputs that several test files share."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from object_storage import Bucket, Endpoint

WriteDocuments = Callable[..., Path]
Dolma = Callable[..., int]


# A process with threads cannot fork workers; started anew they load everything again. The command sets the first too.
for name, value in {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}.items():
    os.environ.setdefault(name, value)

# The first call of a compiled function compiles it; speed is measured in benchmarks, not in tests.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the S3 server comes last: server and clients leave threads, and then no worker begins as a copy."""
    items.sort(key=lambda item: "endpoint" in getattr(item, "fixturenames", ()))


@pytest.fixture
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


@pytest.fixture
def read_jsonl() -> Callable[[Path], list[Any]]:
    """Read a JSON Lines file, gzip by suffix."""

    def read(path: Path) -> list[Any]:
        data = path.read_bytes()
        return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]

    return read


@pytest.fixture
def dolma() -> Dolma:
    """Run a command line in this process; returns its exit status."""
    from dolma_data.cli import app, execute

    def command(*arguments: object) -> int:
        try:
            return execute([str(argument) for argument in arguments])
        finally:
            app.config = ()  # a file given with -c stays with the application otherwise

    return command


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Relative paths and bytes of all files of a folder, provenance left out."""

    def read(root: Path) -> dict[str, bytes]:
        files = (path for path in sorted(root.rglob("*")) if path.is_file())
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in files
            if "provenance" not in path.relative_to(root).parts
        }

    return read


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data; tests that need it are skipped without it."""
    if "DATA_DIR" not in os.environ:
        pytest.skip("DATA_DIR is not set")
    return Path(os.environ["DATA_DIR"])


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    """An S3 server on loopback behind a proxy that can be told to fail; one for all tests."""
    from object_storage import serve

    with serve() as served:
        yield served


@pytest.fixture
def bucket(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, with the environment that leads commands to it."""
    from object_storage import Bucket

    (tmp_path / "temporary").mkdir()
    for name, value in (endpoint.environment() | {"TMPDIR": str(tmp_path / "temporary")}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    endpoint.faults.clear()
    yield Bucket(endpoint)
    endpoint.faults.clear()
