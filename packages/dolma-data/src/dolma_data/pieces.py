"""What classifiers look at: whole texts, paragraphs or sentences of a batch, as ranges of bytes and of code points."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from .batch import MOST_SPANS, Batch, Floats, Integers, RowSizes, Spans, TooManySpansError
from .errors import UserError

NEWLINE = 0x0A
PART_PIECES = 1 << 14  # that a classifier looks at together: of a giant document there are millions


@dataclass(frozen=True)
class Pieces:
    """P pieces of a batch's texts in order.

    ``starts`` and ``ends`` are code points of the document's text, ``byte_starts`` and ``byte_ends`` what is read of
    the batch's buffer: the same text without white space at its ends.
    """

    documents: Integers  # [P]
    starts: Integers
    ends: Integers
    byte_starts: Integers
    byte_ends: Integers

    def __len__(self) -> int:
        return len(self.documents)

    def part(self, begin: int, end: int) -> Pieces:
        """The pieces ``begin`` to ``end``."""
        columns = (self.documents, self.starts, self.ends, self.byte_starts, self.byte_ends)
        return Pieces(*(column[begin:end] for column in columns))

    def sums(self, batch: Batch, values: Floats) -> Floats:
        """Sums of ``values`` [P] over the pieces of each document, [D]."""
        return np.bincount(self.documents, weights=values, minlength=len(batch)).astype(np.float64)

    def spans(self, type: str, scores: Floats, where: Integers | None = None) -> Spans:  # noqa: A002
        """``scores`` [P] as spans of one type; with ``where``, scores [W] of those pieces alone."""
        if where is None:
            return Spans(type, self.documents, self.starts, self.ends, scores)
        return Spans(type, self.documents[where], self.starts[where], self.ends[where], scores)


def whole_texts(batch: Batch) -> Pieces:
    """Each document as one piece."""
    from .kernels.characters import character_classes
    from .kernels.pieces import trim_all

    starts, ends = trim_all(batch.buffer, batch.offsets[:-1], batch.offsets[1:], character_classes())
    documents = np.arange(len(batch), dtype=np.int64)
    return Pieces(documents, np.zeros_like(documents), batch.lengths, starts, ends)


def paragraphs(batch: Batch, *, blank: bool = False, trimmed: bool = True) -> Pieces:
    """Text up to and including a newline; those of white space alone only where ``blank``.

    Where not ``trimmed``, the bytes are the paragraph's without its newline.
    """
    from .kernels.characters import character_classes
    from .kernels.pieces import index_paragraphs

    documents, byte_starts, byte_ends, starts, ends, over = index_paragraphs(
        batch.buffer, batch.offsets, character_classes(), blank, trimmed, MOST_SPANS
    )
    if over >= 0:
        raise TooManySpansError(over)
    return Pieces(documents, starts, ends, byte_starts, byte_ends)


def sentences(batch: Batch) -> Pieces:
    """Sentences as the BlingFire library finds them; texts that are blank have none.

    UserError where the library, the optional dependency ``sentences``, is not installed.
    """
    from .kernels.characters import character_classes
    from .kernels.pieces import characters_before, trim_all

    split = sentence_splitter()
    documents: list[Integers] = []
    byte_starts: list[Integers] = []
    byte_ends: list[Integers] = []
    for document, text in enumerate(batch.texts):
        if not text or text.isspace():
            continue
        starts, ends = split(text.encode())
        documents.append(np.full(len(starts), document, dtype=np.int64))
        byte_starts.append(starts + batch.offsets[document])
        byte_ends.append(ends + batch.offsets[document])
    owners = np.concatenate(documents) if documents else np.zeros(0, dtype=np.int64)
    places = np.zeros((len(owners), 2), dtype=np.int64)
    if documents:
        places[:, 0] = np.concatenate(byte_starts)
        places[:, 1] = np.concatenate(byte_ends)
    characters = characters_before(batch.buffer, batch.offsets, np.repeat(owners, 2), places.reshape(-1)).reshape(-1, 2)
    trimmed = trim_all(
        batch.buffer, np.ascontiguousarray(places[:, 0]), np.ascontiguousarray(places[:, 1]), character_classes()
    )
    return Pieces(owners, characters[:, 0].copy(), characters[:, 1].copy(), *trimmed)


@cache
def sentence_splitter() -> Callable[[bytes], tuple[Integers, Integers]]:
    """A function from UTF-8 text to the bytes at which its sentences start and end."""
    try:
        import blingfire
    except ImportError as error:
        fix = "run pip install 'dolma-data[sentences]'"
        raise UserError("the BlingFire library, which finds sentences, is not installed", fix=fix) from error
    find = blingfire.blingfire.TextToSentencesWithOffsets

    def split(text: bytes) -> tuple[Integers, Integers]:
        room = 2 * len(text) + 16
        output = np.empty(room, dtype=np.uint8)
        offsets = np.empty((2, room), dtype=np.int32)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (output, offsets[0], offsets[1])]
        size = find(ctypes.c_char_p(text), ctypes.c_int(len(text)), *pointers, ctypes.c_int(room))
        if size <= 1 or size > room:  # its closing NUL alone: nothing but white space
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        count = 1 + int(np.count_nonzero(output[: size - 1] == NEWLINE))
        starts = offsets[0, :count].astype(np.int64)
        return starts, _behind(np.frombuffer(text, dtype=np.uint8), offsets[1, :count].astype(np.int64))

    return split


def _behind(text: npt.NDArray[np.uint8], last: Integers) -> Integers:
    """The library's ends point at the first or last byte of the last character; these point behind it."""
    ends = last + 1
    for _ in range(3):
        inside = ends < len(text)
        inside[inside] = (text[ends[inside]] & 0xC0) == 0x80
        ends = ends + inside
    return ends


def label_spans(
    pieces: Pieces, labels: Sequence[str], score: Callable[[Pieces], Floats], prefix: str = ""
) -> Iterator[Spans]:
    """One type a label, in order of labels; a label that a piece has no score for (0) is left out.

    ``score`` gives probabilities [P, L] for some thousand pieces at a time. TooManySpansError for a document
    whose row would be too large.
    """
    sizes = RowSizes(int(pieces.documents[-1]) + 1 if len(pieces) else 0)
    found: list[tuple[npt.NDArray[np.int32], Floats, Integers]] = []  # of a part: pieces, scores, where labels begin
    for begin in range(0, len(pieces), PART_PIECES):
        part = pieces.part(begin, begin + PART_PIECES)
        scores = score(part)
        owners, places = np.nonzero(scores.T)
        sizes.add(part.documents[places], part.starts[places], part.ends[places])
        bounds = np.searchsorted(owners, np.arange(len(labels) + 1))
        found.append(((begin + places).astype(np.int32), scores[places, owners], bounds))
    for label in np.argsort(np.array(labels), kind="stable").tolist():
        cuts = [(where, values, slice(*bounds[label : label + 2].tolist())) for where, values, bounds in found]
        places = np.concatenate([np.empty(0, dtype=np.int64), *(where[cut] for where, _, cut in cuts)])
        if len(places):
            of_label = np.concatenate([values[cut] for _, values, cut in cuts])
            yield pieces.spans(prefix + labels[label], of_label, places)


def broken_lines(batch: Batch) -> tuple[Pieces, Integers]:
    """Lines as ``str.splitlines`` finds them, trimmed, without blank ones, and their lengths in code points.

    Their places are those of the whole text: what looks at such lines speaks of the document.
    """
    from .kernels.characters import character_classes
    from .kernels.pieces import index_broken_lines

    documents, starts, ends, lengths = index_broken_lines(batch.buffer, batch.offsets, character_classes())
    pieces = Pieces(documents, np.zeros_like(documents), batch.lengths[documents], starts, ends)
    return pieces, lengths
