"""Second half of deduplication: rows of attributes out of marked spans, and what each of them repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np

from .annotate import Annotation
from .attributes import MATCHES, encode_json
from .batch import Integers
from .dedupe_exact import Marks
from .dedupe_scratch import Before, Scratch
from .dedupe_units import NO_KEY, SKIPPED, UnitChunk
from .documents import DocumentFile
from .files import atomic_write
from .progress import Progress
from .reading import pack, packing_of


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
        for output in work.outputs.values():
            stack.callback(output.abandon)
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
    empty = opening + b"]}"
    if marks.scores is None:
        spans = [b"[%d,%d,1]" % span for span in zip(marks.starts.tolist(), marks.ends.tolist(), strict=True)]
    else:
        columns = zip(marks.starts.tolist(), marks.ends.tolist(), marks.scores.tolist(), strict=True)
        spans = [b"[%d,%d,%b]" % (start, end, encode_json(score)) for start, end, score in columns]
    edges = np.searchsorted(marks.owners, np.arange(chunk.documents + 1)).tolist()
    flags = chunk.flags.tolist()
    lines: list[bytes] = []
    document = 0
    for name, source in zip(chunk.ids, chunk.sources, strict=True):
        if name is None:
            lines.append(source + b"\n")
            continue
        begin, end = edges[document], edges[document + 1]
        flag = flags[document]
        if begin < end:
            attributes = opening + b",".join(spans[begin:end]) + b"]}"
        elif flag == SKIPPED or (always and flag != NO_KEY):
            attributes = empty
        else:
            attributes = b"{}"
        lines.append(b'{"id":' + name + b',"attributes":' + attributes + b',"source":' + source + b"}\n")
        document += 1
    return b"".join(lines)


def encode_matches(chunk: UnitChunk, marks: Marks, firsts: Firsts, file: DocumentFile) -> bytes:
    """Lines of ``matches.jsonl.gz`` for the marked spans of a chunk of ``file``."""
    if not len(marks.owners):
        return b""
    named = [row for row in zip(chunk.ids, chunk.sources, strict=True) if row[0] is not None]
    heads = {
        owner: b'{"id":' + (named[owner][0] or b"") + b',"source":' + named[owner][1] + b',"start":'
        for owner in np.unique(marks.owners).tolist()
    }
    tails = firsts.tails(np.unique(marks.firsts), file)
    owners, starts, ends = marks.owners.tolist(), marks.starts.tolist(), marks.ends.tolist()
    rows = zip(owners, starts, ends, marks.firsts.tolist(), strict=True)
    return b"".join([b"%b%d,%b%d%b" % (heads[o], start, b'"end":', end, tails[first]) for o, start, end, first in rows])


class Firsts:
    """Names of documents by their number among all."""

    def __init__(self, scratch: Scratch, files: Sequence[DocumentFile], old: int) -> None:
        self._scratch = scratch
        self._files = files
        self._old = old
        self._edges = np.array([0, *np.cumsum([meta.documents for meta in scratch.metas])], dtype=np.int64)
        self._loaded: tuple[int, list[tuple[bytes, bytes]]] = (-1, [])
        self._known: dict[int, tuple[bytes, int]] = {}

    def tails(self, documents: Integers, file: DocumentFile) -> dict[int, bytes]:
        """End of a row of matches for each of ``documents``, in rising order; -1 is one that nobody can name.

        A first copy that lies in another corpus than ``file`` is named with its file.
        """
        tails: dict[int, bytes] = {}
        for document in documents.tolist():
            if document < 0:
                tails[document] = b',"first_id":null,"first_source":null}\n'
                continue
            if document not in self._known:
                self._known[document] = self._name(document)
            text, number = self._known[document]
            other = self._files[number]
            if number < self._old or other.root != file.root:
                text += b',"first_file":' + encode_json(str(other.path))
            tails[document] = text + b"}\n"
        return tails

    def _name(self, document: int) -> tuple[bytes, int]:
        number = int(np.searchsorted(self._edges, document, side="right")) - 1
        if self._loaded[0] != number:
            ids, sources = self._scratch.identities(number)
            self._loaded = (number, [(name, source) for name, source in zip(ids, sources, strict=True) if name])
        name, source = self._loaded[1][document - int(self._edges[number])]
        return b',"first_id":' + name + b',"first_source":' + source, self._scratch.metas[number].file
