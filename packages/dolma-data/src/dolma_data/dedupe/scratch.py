"""Columns of chunks between the two halves of deduplication: on disk, so that memory does not grow with the corpus."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from ..attributes import encode_json
from ..files import PARTIAL
from ..resuming import write_buffers
from .columns import Columns, Gathered, write_columns
from .units import UnitChunk

NAME = re.compile(r"\d{8}\.columns")
ARRAYS = ("flags", "spans", "starts", "ends", "hash_counts", "counted", "last_decides")
METAS = "metas.json"


class Meta(msgspec.Struct):
    """What is kept in memory of a chunk."""

    file: int
    first_line: int
    last: bool
    rows: int
    failures: list[tuple[int, str]]
    documents: int
    spans: int
    hashes: int
    keyless: int
    first_keyless: int


class Before(NamedTuple):
    """Documents, spans and hashes of all chunks before one."""

    documents: int
    spans: int
    hashes: int


def write_chunk(folder: Path, chunk: UnitChunk, more: Mapping[str, npt.NDArray[Any] | Gathered]) -> tuple[Path, Meta]:
    """Write the columns of a chunk, and further ones, into ``folder``, under a name of the chunk's own."""
    meta = Meta(
        file=chunk.file,
        first_line=chunk.first_line,
        last=chunk.last,
        rows=len(chunk.ids),
        failures=chunk.failures,
        documents=chunk.documents,
        spans=len(chunk.starts),
        hashes=chunk.hashes,
        keyless=chunk.keyless,
        first_keyless=chunk.first_keyless,
    )
    columns: dict[str, Any] = {name: getattr(chunk, name) for name in ARRAYS if getattr(chunk, name) is not None}
    columns["meta"] = _bytes(encode_json(meta))
    # neither an encoded string nor a tombstone holds a raw newline
    columns["ids"] = _bytes(b"\n".join(name or b"" for name in chunk.ids))
    columns["sources"] = _bytes(b"\n".join(source.rstrip(b"\n") for source in chunk.sources))
    path = folder / f"{chunk.file}-{chunk.first_line}.columns{PARTIAL}"
    write_columns(path, columns | dict(more))
    return path, meta


class Scratch:
    """Chunks in the order of documents, those of ``metas``: where these are not given, of the whole files that an
    interrupted run left in the folder; the rest of it is removed."""

    def __init__(self, folder: Path, metas: Sequence[Meta] | None = None) -> None:
        self.folder = folder
        self.metas: list[Meta] = []
        if metas is None:
            self._find_again()
        else:
            self.metas += metas
        self.finished = {meta.file for meta in self.metas}

    def _find_again(self) -> None:
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        kept: list[Meta] = []
        while self._path(len(self.metas)).is_file():
            meta = self.array(len(self.metas), "meta").tobytes()
            self.metas.append(msgspec.json.decode(meta, type=Meta))
            if self.metas[-1].last:
                kept = self.metas[:]
        for path in folder.iterdir():
            if not NAME.fullmatch(path.name) or int(path.stem) >= len(kept):
                path.unlink()
        self.metas = kept

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.columns"

    def append(self, chunk: UnitChunk, more: Mapping[str, npt.NDArray[Any] | Gathered]) -> None:
        """Add the next chunk, with further arrays of the caller."""
        self.adopt(*write_chunk(self.folder, chunk, more))

    def adopt(self, path: Path, meta: Meta) -> None:
        """Add the next chunk, which :func:`write_chunk` has written into the folder."""
        os.replace(path, self._path(len(self.metas)))
        self.metas.append(meta)

    def save(self) -> None:
        """Let :func:`saved_scratch` find these chunks, here and in workers that begin later."""
        write_buffers(self.folder / METAS, encode_json(self.metas))
        saved_scratch.cache_clear()

    def chunks(self) -> Iterator[tuple[int, Before]]:
        """Number of each chunk and what comes before it."""
        documents = spans = hashes = 0
        for number, meta in enumerate(self.metas):
            yield number, Before(documents, spans, hashes)
            documents += meta.documents
            spans += meta.spans
            hashes += meta.hashes

    @property
    def hashes(self) -> int:
        """Hashes of all chunks."""
        return sum(meta.hashes for meta in self.metas)

    def columns(self, number: int) -> Columns:
        """All columns of a chunk, to be closed."""
        return Columns(self._path(number))

    def array(self, number: int, name: str) -> Any:
        """One column of a chunk."""
        with self.columns(number) as columns:
            return columns.read(name)

    def load(self, number: int) -> UnitChunk:
        """A chunk as it was added."""
        meta = self.metas[number]
        with self.columns(number) as columns:
            arrays: dict[str, Any] = {name: columns.read(name) if name in columns else None for name in ARRAYS}
            ids, sources = _identities(columns, meta.rows)
        return UnitChunk(meta.file, meta.first_line, meta.last, meta.failures, ids, sources, **arrays)

    def identities(self, number: int) -> tuple[list[bytes | None], list[bytes]]:
        """Encoded ids and sources of the rows; no id and the whole line for a tombstone."""
        with self.columns(number) as columns:
            return _identities(columns, self.metas[number].rows)

    def save_column(self, name: str, column: npt.NDArray[Any]) -> None:
        """Put a column over all chunks into a file for :func:`part_of_column`, which may be asked elsewhere."""
        write_buffers(self.column_path(name), np.ascontiguousarray(column).data)

    def part_of_column(self, name: str, kind: type[np.generic], begin: int, end: int) -> npt.NDArray[Any]:
        """``[begin:end]`` of a saved column."""
        offset = begin * np.dtype(kind).itemsize
        return np.fromfile(self.column_path(name), dtype=kind, count=end - begin, offset=offset)

    def column_path(self, name: str) -> Path:
        """Where a column over all chunks lies."""
        return self.folder / f"{name}.column"


@lru_cache(maxsize=1)
def saved_scratch(folder: Path) -> Scratch:
    """The chunks that :meth:`Scratch.save` wrote down, kept from unit to unit."""
    return Scratch(folder, msgspec.json.decode((folder / METAS).read_bytes(), type=list[Meta]))


def _identities(columns: Columns, rows: int) -> tuple[list[bytes | None], list[bytes]]:
    if not rows:
        return [], []
    ids = columns.read("ids").tobytes().split(b"\n")
    return [name or None for name in ids], columns.read("sources").tobytes().split(b"\n")


def _bytes(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)
