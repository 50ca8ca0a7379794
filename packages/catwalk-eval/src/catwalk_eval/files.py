"""Reading and writing files: compression by suffix, whole-or-nothing writes, content digests."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from .errors import UserError

PARTIAL = ".partial"  # suffix of everything that is not finished yet
# what reading a damaged or cut compressed file raises (BadGzipFile is an OSError)
DAMAGE = (EOFError, OSError, zlib.error, zstandard.ZstdError)
NOT_CONTENT = ("provenance",)  # folders that are no part of an artifact's content
NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}  # raised by a write, without the file's name


class ZstandardReader(io.RawIOBase):
    """Frames one after another, decompressed; a file cut inside a frame is an EOFError.

    The library's own ``stream_reader`` ends silently there, and whatever followed would be lost unseen.
    """

    def __init__(self, source: BinaryIO) -> None:
        self.source = source
        self.frame: zstandard.ZstdDecompressionObj | None = None
        self.packed = b""
        self.ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self.ready:
            if self.frame is not None and self.frame.eof:
                self.packed, self.frame = self.frame.unused_data, None
            self.packed = self.packed or self.source.read(1 << 17)
            if not self.packed:
                if self.frame is None:
                    return 0
                raise EOFError("the file ends inside a frame")
            self.frame = self.frame or zstandard.ZstdDecompressor().decompressobj()
            self.ready = memoryview(self.frame.decompress(self.packed))
            self.packed = b""
        taken = min(len(target), len(self.ready))
        target[:taken] = self.ready[:taken]
        self.ready = self.ready[taken:]
        return taken

    def close(self) -> None:
        self.source.close()
        super().close()


def open_read(path: str | Path) -> BinaryIO:
    """Open for reading as bytes, decompressing ``.gz`` and ``.zst`` by suffix."""
    name = str(path)
    if not Path(name).exists():
        raise UserError("no such file", where=name, fix="check the path")
    if name.endswith(".gz"):
        return cast(BinaryIO, gzip.open(name, "rb"))
    if name.endswith((".zst", ".zstd")):
        return cast(BinaryIO, io.BufferedReader(ZstandardReader(open(name, "rb")), 1 << 17))
    return open(name, "rb")


def read_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number from 1, line without its newline)``; a damaged archive is a UserError."""
    number = 0
    with open_read(path) as stream:
        try:
            for line in stream:
                number += 1
                yield number, line.rstrip(b"\r\n")
        except DAMAGE as error:
            raise UserError(
                f"the compressed file is damaged or cut off: {error}",
                where=path,
                line=number + 1,
                fix="fetch or make the file again",
            ) from error


def beside(path: Path, suffix: str) -> Path:
    """``path`` with ``suffix`` behind its name; UserError for the working folder and the root, which have none."""
    if not path.name:
        raise UserError(
            "an output needs a name of its own", where=str(path), fix=f"give a folder in it: {path / 'NAME'}"
        )
    return path.with_name(path.name + suffix)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Inside the block ``path`` is written: an error for want of room names it, which the system leaves out."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM or (error.filename is not None and error.filename2 is None):
            raise  # a copy that fails names what it copies first
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def atomic_write(path: str | Path, packed: bool = False) -> Iterator[BinaryIO]:
    """Write bytes to ``path`` whole or not at all, compressing by suffix (unless they are ``packed`` already); same
    bytes for same content.

    The file is written beside its place and renamed at the end; after an exception nothing is left.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(target, PARTIAL)
    try:
        with writing(target), open(partial, "wb") as raw:
            if packed:
                yield raw
            elif target.name.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as stream:
                    yield cast(BinaryIO, stream)
            elif target.name.endswith((".zst", ".zstd")):
                with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as frame:
                    yield cast(BinaryIO, frame)
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: str | Path, value: object) -> None:
    """Write indented JSON whole or not at all, keys in the order given."""
    with atomic_write(path) as stream:
        stream.write(json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; what is not JSON is a UserError that names the line."""
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise UserError("no such file", where=path, fix="check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise UserError("not valid JSON", where=path, line=line, fix="make the file again") from error


@contextmanager
def atomic_artifact(path: str | Path, artifact: str, manifest_name: str = "manifest.json") -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of ``path`` at the end, or leaves nothing.

    An existing ``path`` is replaced only where its manifest (``manifest_name``) says it is an ``artifact`` of the same
    kind (its provenance records are kept); any other non-empty folder is a UserError, so that no user's
    files are ever removed.
    """
    target = Path(path)
    check_replaceable(target, artifact, manifest_name)
    partial = beside(target, PARTIAL)
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        replace_artifact(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_replaceable(target: Path, artifact: str, manifest_name: str = "manifest.json") -> None:
    """UserError where ``target`` is there and no ``artifact``; one that a killed run had set aside is put back."""
    replaced = _replaced(target)
    if replaced.exists() and not target.exists():
        os.replace(replaced, target)  # stopped between the two renames of replace_artifact
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        manifest = target / manifest_name
        stated = read_json(manifest) if manifest.is_file() else None
        if not (isinstance(stated, dict) and stated.get("artifact") == artifact):
            article = "an" if artifact[0] in "aeio" else "a"
            what = f"the output exists and is not {article} {artifact} artifact"
            raise UserError(what, where=target, fix="give another output")


def replace_artifact(folder: Path, target: Path) -> None:
    """Put a finished ``folder`` in the place of ``target``, whose provenance records are kept."""
    replaced = _replaced(target)
    old = target / "provenance"
    if old.is_dir():
        shutil.copytree(old, folder / "provenance", dirs_exist_ok=True)
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.replace(target, replaced)
    os.replace(folder, target)
    shutil.rmtree(replaced, ignore_errors=True)


def _replaced(target: Path) -> Path:
    return beside(target, ".replaced" + PARTIAL)


def digest_file(path: str | Path) -> str:
    """``sha256:…`` of the file's bytes as they lie on disk."""
    with open(path, "rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def digest(path: str | Path, known: Mapping[str, str] | None = None) -> str:
    """Content digest of a file, or of a folder (sorted relative paths and file digests).

    ``known`` are digests of files by path that need not be taken again. Folders named in ``NOT_CONTENT`` do not count,
    nor do unfinished files and whatever an unfinished folder holds.
    """
    root = Path(path)
    known = known or {}
    if not root.is_dir():
        return known.get(str(root)) or digest_file(root)
    total = hashlib.sha256()
    for file in sorted(root.rglob("*")):
        relative = file.relative_to(root)
        unfinished = any(part.endswith(PARTIAL) for part in relative.parts)
        if not file.is_file() or unfinished or set(relative.parts) & set(NOT_CONTENT):
            continue
        total.update(f"{relative.as_posix()}\0{known.get(str(file)) or digest_file(file)}\n".encode())
    return "sha256:" + total.hexdigest()
