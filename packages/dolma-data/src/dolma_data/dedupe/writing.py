"""Second half of deduplication: rows of attributes out of marked spans, and what each of them repeats.

Workers make and pack the rows of a chunk from its columns; what they need to know of all chunks lies in a file beside
these. This process lays the rows down in the order of documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from ..annotate import Annotation, DigestedWriter
from ..attributes import MATCHES, encode_json
from ..batch import Integers
from ..documents import DocumentFile
from ..execute import map_ordered
from ..files import atomic_write
from ..kernels.marked_rows import BARE, LISTED, TOMBSTONE, encode_marked, encode_pairs
from ..progress import Progress
from ..reading import pack, packing_of
from ..remote import shown
from ..resuming import write_buffers
from .by_hash import Marker, Marks
from .scratch import Before, Scratch, saved_scratch
from .units import NO_KEY, SKIPPED, UnitChunk

FILES = "files.json"
AGAINST = -1  # corpus of the files that are only compared with
CHUNKS_IN_MEMORY = 256  # whose names a worker keeps


class FileName(msgspec.Struct):
    """What is said of a file: ``tree`` is its path in ``folder``, ``corpus`` is equal for files of one root."""

    folder: str
    tree: str
    corpus: int


@dataclass(frozen=True)
class RowSettings:
    """What the rows of all chunks have in common; ``folder`` is that of the scratch."""

    folder: Path
    key: str
    always: bool
    matches: bool
    marker: Marker | None


@dataclass(frozen=True)
class RowUnit:
    """A chunk, with its marks where the worker has no marker."""

    number: int
    before: Before
    marks: Marks | None


@dataclass(frozen=True)
class Rows:
    """Packed rows of attributes and of matches of a chunk."""

    number: int
    attributes: bytes
    matches: bytes
    marked: int


def write_attributes(
    work: Annotation,
    scratch: Scratch,
    files: Sequence[DocumentFile],
    name: str,
    key: str,
    marks: Marker | Callable[[int, Before], Marks],
    processes: int,
    *,
    always: bool,
    matches: bool,
) -> int:
    """Write the rows of all of ``files`` and, with ``matches``, what each marked span repeats; returns marked spans.

    ``marks`` are of a chunk by its number. ``always``: documents without a marked span have an empty list under
    ``key``. Files of ``scratch`` that ``work`` does not annotate come before the others, and are only named.
    """
    old = len(files) - len(work.files)
    write_files(scratch, files, old)
    scratch.save()
    held = marks if callable(marks) else None
    settings = RowSettings(scratch.folder, key, always, matches, None if callable(marks) else marks)

    def units() -> Iterator[RowUnit]:
        for number, before in scratch.chunks():
            if scratch.metas[number].file >= old:
                yield RowUnit(number, before, held(number, before) if held else None)

    total = rows = 0
    failures: list[tuple[int, str]] = []
    with ExitStack() as stack:
        streams = {}
        if matches:
            for output in work.outputs.values():
                stream = stack.enter_context(atomic_write(output.folder / MATCHES, packed=True))
                streams[output.target] = DigestedWriter(stream)
        progress = stack.enter_context(Progress("dedupe: attributes"))
        current = -1
        for made in map_ordered(partial(make_rows, settings), units(), processes):
            meta = scratch.metas[made.number]
            file = files[meta.file]
            output = work.of(file, name)
            if meta.file != current:
                current, rows, failures = meta.file, 0, []
                output.begin(file)
            output.write(made.attributes, [])
            if matches:
                streams[output.target].write(made.matches)
            total += made.marked
            rows += meta.rows
            failures += meta.failures
            progress.advance(meta.documents)
            if meta.last:
                output.end(file, work.digests[meta.file - old], rows, failures)
    for target, written in streams.items():
        work.outputs[target].digests[MATCHES] = written.digest
    return total


def write_files(scratch: Scratch, files: Sequence[DocumentFile], old: int) -> None:
    """Write what workers need to know of all files into the folder of ``scratch``."""
    roots: dict[Path, int] = {}
    names = [
        FileName(_folder_of(file), file.tree, AGAINST if k < old else roots.setdefault(file.root, len(roots)))
        for k, file in enumerate(files)
    ]
    write_buffers(scratch.folder / FILES, encode_json(names))
    read_firsts.cache_clear()


def _folder_of(file: DocumentFile) -> str:
    return shown(str(file.root / file.folder if file.in_artifact else file.root))


@lru_cache(maxsize=1)
def read_firsts(folder: Path) -> Firsts:
    """Names of the documents of the scratch in ``folder``, kept from chunk to chunk."""
    names = msgspec.json.decode((folder / FILES).read_bytes(), type=list[FileName])
    return Firsts(saved_scratch(folder), names)


def make_rows(settings: RowSettings, unit: RowUnit) -> Rows:
    """Rows of a chunk."""
    scratch, firsts = saved_scratch(settings.folder), read_firsts(settings.folder)
    chunk = scratch.load(unit.number)
    marks = unit.marks
    if marks is None:
        assert settings.marker is not None
        marks = settings.marker.marks_of(scratch, unit.number, chunk, unit.before)
    tree = firsts.files[chunk.file].tree
    rows = pack(encode_rows(chunk, settings.key, marks, settings.always), packing_of(tree))
    pairs = pack(encode_matches(chunk, marks, firsts), packing_of(MATCHES)) if settings.matches else b""
    return Rows(unit.number, rows, pairs, len(marks.owners))


def encode_rows(chunk: UnitChunk, key: str, marks: Marks, always: bool) -> bytes:
    """Lines of a chunk."""
    opening = b"{" + encode_json(key) + b":["
    documents = np.array([name is not None for name in chunk.ids], dtype=np.bool_)
    edges = np.searchsorted(marks.owners, np.arange(chunk.documents + 1))
    listed = (np.diff(edges) > 0) | (chunk.flags == SKIPPED) | (always & (chunk.flags != NO_KEY))
    kinds = np.full(len(documents), TOMBSTONE, dtype=np.uint8)
    kinds[documents] = np.where(listed, LISTED, BARE)
    rows = zip(chunk.ids, chunk.sources, strict=True)
    heads = [b'{"id":' + name + b',"attributes":' if name is not None else source + b"\n" for name, source in rows]
    tails = [
        b',"source":' + source + b"}\n" if name is not None else b""
        for name, source in zip(chunk.ids, chunk.sources, strict=True)
    ]
    if marks.scores is not None:
        return _encode_scored(heads, tails, kinds.tolist(), opening, edges.tolist(), marks)
    first = np.concatenate([[0], np.cumsum(_per_row(documents, np.diff(edges)))])
    rows_of = encode_marked(
        *_laid_out(heads), *_laid_out(tails), kinds, _bytes(opening), first, marks.starts, marks.ends
    )
    return bytes(rows_of.tobytes())


def _per_row(documents: npt.NDArray[np.bool_], values: Integers) -> Integers:
    """Values of documents at the rows they stand in, 0 at the others."""
    rows = np.zeros(len(documents), dtype=np.int64)
    rows[documents] = values
    return rows


def _encode_scored(
    heads: list[bytes], tails: list[bytes], kinds: list[int], opening: bytes, edges: list[int], marks: Marks
) -> bytes:
    """Lines whose spans have scores of their own, which are written in full."""
    assert marks.scores is not None
    columns = zip(marks.starts.tolist(), marks.ends.tolist(), marks.scores.tolist(), strict=True)
    spans = [b"[%d,%d,%b]" % (start, end, encode_json(score)) for start, end, score in columns]
    lines: list[bytes] = []
    document = 0
    for head, tail, kind in zip(heads, tails, kinds, strict=True):
        if kind == TOMBSTONE:
            lines.append(head)
            continue
        inner = b"{}" if kind == BARE else opening + b",".join(spans[edges[document] : edges[document + 1]]) + b"]}"
        lines.append(head + inner + tail)
        document += 1
    return b"".join(lines)


def encode_matches(chunk: UnitChunk, marks: Marks, firsts: Firsts) -> bytes:
    """Lines of ``matches.jsonl.gz`` for the marked spans of a chunk."""
    if not len(marks.owners):
        return b""
    file = b',"file":' + encode_json(firsts.files[chunk.file].tree) + b',"line":'
    heads = [
        b'{"id":' + name + b',"source":' + source + file + b'%d,"start":' % line
        for line, (name, source) in enumerate(zip(chunk.ids, chunk.sources, strict=True), start=chunk.first_line)
        if name is not None
    ]
    named, numbers = np.unique(marks.firsts, return_inverse=True)
    pairs = encode_pairs(
        *_laid_out(heads), *_laid_out(firsts.tails(named, chunk.file)), marks.owners, marks.starts, marks.ends, numbers
    )
    return bytes(pairs.tobytes())


def _bytes(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _laid_out(parts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], Integers]:
    bounds = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=bounds[1:])
    return _bytes(b"".join(parts)), bounds


class Firsts:
    """Names of documents by their number among all."""

    def __init__(self, scratch: Scratch, files: Sequence[FileName]) -> None:
        self.files = files
        self._edges = np.array([0, *np.cumsum([meta.documents for meta in scratch.metas])], dtype=np.int64)
        self._files_of_chunks = [meta.file for meta in scratch.metas]
        self._names_of = lru_cache(maxsize=CHUNKS_IN_MEMORY)(partial(_names_of_documents, scratch, files))

    def tails(self, documents: Integers, file: int) -> list[bytes]:
        """End of a row of matches for each of ``documents``, in rising order; -1 is one that nobody can name.

        A first copy that lies in another corpus than ``file`` is named with the folder of its documents.
        """
        tails: list[bytes] = []
        numbers = np.searchsorted(self._edges, documents, side="right") - 1
        here, names, number, end = 0, [], -1, b""
        for document, chunk in zip(documents.tolist(), numbers.tolist(), strict=True):
            if document < 0:
                tails.append(b',"first_id":null,"first_source":null}\n')
                continue
            if chunk != number:
                number, names, here = chunk, self._names_of(chunk), int(self._edges[chunk])
                other = self.files[self._files_of_chunks[chunk]]
                foreign = other.corpus == AGAINST or other.corpus != self.files[file].corpus
                end = b',"first_corpus":' + encode_json(other.folder) + b"}\n" if foreign else b"}\n"
            tails.append(names[document - here] + end)
        return tails


def _names_of_documents(scratch: Scratch, files: Sequence[FileName], number: int) -> list[bytes]:
    ids, sources = scratch.identities(number)
    meta = scratch.metas[number]
    file = b',"first_file":' + encode_json(files[meta.file].tree) + b',"first_line":'
    return [
        b',"first_id":' + name + b',"first_source":' + source + file + b"%d" % line
        for line, (name, source) in enumerate(zip(ids, sources, strict=True), start=meta.first_line)
        if name is not None
    ]
