"""Second half of deduplication: rows of attributes out of marked spans, and what each of them repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from ..annotate import Annotation
from ..attributes import MATCHES, encode_json
from ..batch import Integers
from ..documents import DocumentFile
from ..files import atomic_write
from ..kernels.marked_rows import BARE, LISTED, TOMBSTONE, encode_marked, encode_pairs
from ..progress import Progress
from ..reading import pack, packing_of
from .by_hash import Marks
from .scratch import Before, Scratch
from .units import NO_KEY, SKIPPED, UnitChunk


def write_attributes(
    work: Annotation,
    scratch: Scratch,
    files: Sequence[DocumentFile],
    name: str,
    key: str,
    marks_of: Callable[[UnitChunk, int, Before], Marks],
    *,
    always: bool,
    matches: bool,
) -> int:
    """Write the rows of all of ``files`` and, with ``matches``, what each marked span repeats; returns marked spans.

    ``always``: documents without a marked span have an empty list under ``key``. Files of ``scratch`` that ``work``
    does not annotate come before the others, and are only named.
    """
    old = len(files) - len(work.files)
    needed = Firsts(scratch, files, old)
    total = rows = 0
    failures: list[tuple[int, str]] = []
    with ExitStack() as stack:
        streams = {}
        if matches:
            for output in work.outputs.values():
                streams[output.target] = stack.enter_context(atomic_write(output.folder / MATCHES, packed=True))
        progress = stack.enter_context(Progress("dedupe: attributes"))
        current = -1
        for number, before in scratch.chunks():
            meta = scratch.metas[number]
            if meta.file < old:
                continue
            file = files[meta.file]
            output = work.of(file, name)
            chunk = scratch.load(number)
            marks = marks_of(chunk, number, before)
            if meta.file != current:
                current, rows, failures = meta.file, 0, []
                output.begin(file)
            output.write(pack(encode_rows(chunk, key, marks, always), packing_of(file.tree)), [])
            if matches:
                streams[output.target].write(pack(encode_matches(chunk, marks, needed, file), packing_of(MATCHES)))
            total += len(marks.owners)
            rows += meta.rows
            failures += meta.failures
            progress.advance(meta.documents)
            if meta.last:
                output.end(file, work.digests[meta.file - old], rows, failures)
    return total


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


def encode_matches(chunk: UnitChunk, marks: Marks, firsts: Firsts, file: DocumentFile) -> bytes:
    """Lines of ``matches.jsonl.gz`` for the marked spans of a chunk of ``file``."""
    if not len(marks.owners):
        return b""
    heads = [
        b'{"id":' + name + b',"source":' + source + b',"start":'
        for name, source in zip(chunk.ids, chunk.sources, strict=True)
        if name is not None
    ]
    named, numbers = np.unique(marks.firsts, return_inverse=True)
    pairs = encode_pairs(
        *_laid_out(heads), *_laid_out(firsts.tails(named, file)), marks.owners, marks.starts, marks.ends, numbers
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

    def __init__(self, scratch: Scratch, files: Sequence[DocumentFile], old: int) -> None:
        self._scratch = scratch
        self._files = files
        self._old = old
        self._edges = np.array([0, *np.cumsum([meta.documents for meta in scratch.metas])], dtype=np.int64)
        self._loaded: tuple[int, list[tuple[bytes, bytes]]] = (-1, [])
        self._known: dict[int, tuple[bytes, int]] = {}

    def tails(self, documents: Integers, file: DocumentFile) -> list[bytes]:
        """End of a row of matches for each of ``documents``, in rising order; -1 is one that nobody can name.

        A first copy that lies in another corpus than ``file`` is named with its file.
        """
        tails: list[bytes] = []
        for document in documents.tolist():
            if document < 0:
                tails.append(b',"first_id":null,"first_source":null}\n')
                continue
            if document not in self._known:
                self._known[document] = self._name(document)
            text, number = self._known[document]
            other = self._files[number]
            if number < self._old or other.root != file.root:
                text += b',"first_file":' + encode_json(str(other.path))
            tails.append(text + b"}\n")
        return tails

    def _name(self, document: int) -> tuple[bytes, int]:
        number = int(np.searchsorted(self._edges, document, side="right")) - 1
        if self._loaded[0] != number:
            ids, sources = self._scratch.identities(number)
            self._loaded = (number, [(name, source) for name, source in zip(ids, sources, strict=True) if name])
        name, source = self._loaded[1][document - int(self._edges[number])]
        return b',"first_id":' + name + b',"first_source":' + source, self._scratch.metas[number].file
