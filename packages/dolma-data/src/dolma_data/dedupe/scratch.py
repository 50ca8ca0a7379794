"""Columns of chunks between the two halves of deduplication: on disk, so that memory does not grow with the corpus."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from ..attributes import encode_json
from ..batch import Integers
from ..files import PARTIAL
from ..hashes import Hashes
from .units import UnitChunk

NAME = re.compile(r"\d{8}\.npz")
ARRAYS = ("flags", "spans", "starts", "ends", "hashes", "hash_counts", "counted", "last_decides")
IN_MEMORY = 1 << 23  # longer arrays over all hashes lie in files


class Meta(msgspec.Struct):
    """What is kept in memory of a chunk."""

    file: int
    first_line: int
    last: bool
    rows: int
    failures: list[tuple[int, str]]
    documents: int
    hashes: int


class Before(NamedTuple):
    """Documents and hashes of all chunks before one."""

    documents: int
    hashes: int


def write_chunk(folder: Path, chunk: UnitChunk, more: dict[str, npt.NDArray[Any]]) -> tuple[Path, Meta]:
    """Write the columns of a chunk, and further ones, into ``folder``, under a name of the chunk's own."""
    meta = Meta(
        chunk.file, chunk.first_line, chunk.last, len(chunk.ids), chunk.failures, chunk.documents, len(chunk.hashes)
    )
    arrays: dict[str, Any] = {name: getattr(chunk, name) for name in ARRAYS if getattr(chunk, name) is not None}
    arrays["meta"] = _bytes(encode_json(meta))
    # neither an encoded string nor a tombstone holds a raw newline
    arrays["ids"] = _bytes(b"\n".join(name or b"" for name in chunk.ids))
    arrays["sources"] = _bytes(b"\n".join(source.rstrip(b"\n") for source in chunk.sources))
    path = folder / f"{chunk.file}-{chunk.first_line}.npz{PARTIAL}"
    with open(path, "wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays, **more)
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
        while (path := self._path(len(self.metas))).is_file():
            with np.load(path) as stored:
                self.metas.append(msgspec.json.decode(stored["meta"].tobytes(), type=Meta))
            if self.metas[-1].last:
                kept = self.metas[:]
        for path in folder.iterdir():
            if not NAME.fullmatch(path.name) or int(path.stem) >= len(kept):
                path.unlink()
        self.metas = kept

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.npz"

    def append(self, chunk: UnitChunk, **more: npt.NDArray[Any]) -> None:
        """Add the next chunk, with further arrays of the caller."""
        self.adopt(*write_chunk(self.folder, chunk, more))

    def adopt(self, path: Path, meta: Meta) -> None:
        """Add the next chunk, which :func:`write_chunk` has written into the folder."""
        os.replace(path, self._path(len(self.metas)))
        self.metas.append(meta)

    def chunks(self) -> Iterator[tuple[int, Before]]:
        """Number of each chunk and what comes before it."""
        documents = hashes = 0
        for number, meta in enumerate(self.metas):
            yield number, Before(documents, hashes)
            documents += meta.documents
            hashes += meta.hashes

    @property
    def documents(self) -> int:
        return sum(meta.documents for meta in self.metas)

    @property
    def hashes(self) -> int:
        return sum(meta.hashes for meta in self.metas)

    def array(self, number: int, name: str) -> Any:
        """One column of a chunk; None where it has none."""
        with np.load(self._path(number)) as stored:
            return stored[name] if name in stored.files else None

    def hashes_of(self, number: int) -> Hashes:
        hashes: Hashes = self.array(number, "hashes")
        return hashes

    def load(self, number: int) -> UnitChunk:
        """A chunk as it was added."""
        meta = self.metas[number]
        with np.load(self._path(number)) as stored:
            arrays: dict[str, Any] = {name: stored[name] if name in stored.files else None for name in ARRAYS}
        ids, sources = self.identities(number)
        return UnitChunk(meta.file, meta.first_line, meta.last, meta.failures, ids, sources, **arrays)

    def identities(self, number: int) -> tuple[list[bytes | None], list[bytes]]:
        """Encoded ids and sources of the rows; no id and the whole line for a tombstone."""
        with np.load(self._path(number)) as stored:
            ids = stored["ids"].tobytes().split(b"\n") if self.metas[number].rows else []
            sources = stored["sources"].tobytes().split(b"\n") if self.metas[number].rows else []
        return [name or None for name in ids], sources

    def hashes_before_document(self) -> Integers:
        """[D + 1]: the hashes of document d of all are those from ``[d]`` to ``[d + 1]``."""
        counts = [np.zeros(1, dtype=np.int64)]
        for number in range(len(self.metas)):
            spans, per_span = self.array(number, "spans"), self.array(number, "hash_counts")
            if per_span is not None:
                edges = np.concatenate([[0], np.cumsum(spans)])
                before = np.concatenate([[0], np.cumsum(per_span)])
                spans = np.diff(before[edges])
            counts.append(spans)
        return np.cumsum(np.concatenate(counts))

    def new_column(self, name: str, length: int, fill: int) -> Integers:
        """A column over all documents or hashes; in a file where it is long."""
        if length <= IN_MEMORY:
            return np.full(length, fill, dtype=np.int64)
        column: Integers = np.memmap(self._column(name), dtype=np.int64, mode="w+", shape=(length,))
        for begin in range(0, length, IN_MEMORY):
            column[begin : begin + IN_MEMORY] = fill
        return column

    def save_column(self, name: str, column: npt.NDArray[Any]) -> None:
        """Put a column into a file for :func:`part_of_column`, which may be asked elsewhere."""
        if isinstance(column, np.memmap):
            column.flush()
        else:
            column.tofile(self._column(name))

    def part_of_column(self, name: str, kind: type[np.generic], begin: int, end: int) -> npt.NDArray[Any]:
        """``[begin:end]`` of a saved column."""
        offset = begin * np.dtype(kind).itemsize
        return np.fromfile(self._column(name), dtype=kind, count=end - begin, offset=offset)

    def _column(self, name: str) -> Path:
        return self.folder / f"{name}.column"


def _bytes(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)
