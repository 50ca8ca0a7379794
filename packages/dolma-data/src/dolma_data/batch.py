"""The columnar unit of work: the texts of a batch of documents as one UTF-8 buffer with offsets.

What several taggers need (words, lines, hashes) is computed once per batch, when the first of them asks for it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .reading import MAX_LINE_BYTES

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
POWERS_OF_TEN = np.array([0, *(10**k for k in range(1, 19))], dtype=np.int64)
MOST_SPANS = 1 << 22  # of one type that a document can have: a giant document with more has no row but a tombstone
PART = 1 << 20  # code points that are encoded at a time, where a text is longer


class TooManySpansError(Exception):
    """A document has more spans than a row of attributes can hold: it counts as failed."""

    def __init__(self, document: int, reason: str | None = None) -> None:
        super().__init__(reason or f"more than {MOST_SPANS:,} spans of one type")
        self.document = document


def row_too_large() -> str:
    """Why a document fails that has more attributes than a line may hold."""
    return f"its row of attributes has more than {MAX_LINE_BYTES >> 20} MiB"


class RowSizes:
    """What the rows of attributes of a batch take at least, so that no giant row is made only to be refused."""

    def __init__(self, documents: int) -> None:
        self.least = np.zeros(documents)  # bytes

    def add(self, documents: Integers, starts: Integers, ends: Integers) -> None:
        """Count spans, [S] of their documents and places; TooManySpansError for a row past ``MAX_LINE_BYTES``."""
        digits = np.searchsorted(POWERS_OF_TEN, starts, "right") + np.searchsorted(POWERS_OF_TEN, ends, "right")
        self.least += np.bincount(documents, digits + len("[,,0.0]"), minlength=len(self.least))
        if len(self.least) and self.least.max() > MAX_LINE_BYTES:
            raise TooManySpansError(int(self.least.argmax()), row_too_large())


def lay_out(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], Integers]:
    """UTF-8 of all texts, one after the other, and the offsets of each [N + 1], without copies of a giant one."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    if any(len(text) > PART for text in texts):
        buffer = bytearray()
        for number, text in enumerate(texts):
            for at in range(0, len(text), PART):
                buffer += text[at : at + PART].encode()
            offsets[number + 1] = len(buffer)
        return np.frombuffer(buffer, dtype=np.uint8), offsets
    encoded = [text.encode() for text in texts]
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


@dataclass(frozen=True)
class Words:
    """Words as ``str.split()`` finds them. Those of document d are ``first[d]:first[d + 1]``."""

    first: Integers  # [D + 1]
    hashes: npt.NDArray[np.uint64]  # [W]
    lengths: npt.NDArray[np.int32]  # [W] code points
    flags: npt.NDArray[np.uint8]  # [W] HAS_LETTER, HAS_SYMBOL of kernels.units


@dataclass(frozen=True)
class Lines:
    r"""Lines as ``text.split("\n")`` finds them. Those of document d are ``first[d]:first[d + 1]``."""

    first: Integers  # [D + 1]
    starts: Integers  # [L] bytes of the buffer
    ends: Integers  # [L] bytes of the buffer, newline left out
    characters: Integers  # [L] code points of the document before the line


@dataclass(frozen=True)
class Batch:
    """D documents; ``documents[d]`` is the row as read, ``texts[d]`` its text."""

    documents: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.documents)

    @cached_property
    def texts(self) -> list[str]:
        """[D] texts of the documents."""
        return [document["text"] for document in self.documents]

    @cached_property
    def _encoded(self) -> tuple[npt.NDArray[np.uint8], Integers]:
        return lay_out(self.texts)

    def let_texts_go(self) -> None:
        """Keep the bytes and lengths of the texts alone, which can be a fifth; the documents lose theirs."""
        assert len(self.lengths) == len(self.offsets) - 1
        del self.__dict__["texts"]
        for document in self.documents:
            del document["text"]

    @property
    def buffer(self) -> npt.NDArray[np.uint8]:
        """UTF-8 bytes of all texts, one after the other."""
        return self._encoded[0]

    @property
    def offsets(self) -> Integers:
        """[D + 1]: text d is ``buffer[offsets[d]:offsets[d + 1]]``."""
        return self._encoded[1]

    @cached_property
    def lengths(self) -> Integers:
        """[D] code points."""
        return np.fromiter(map(len, self.texts), dtype=np.int64, count=len(self))

    @cached_property
    def words(self) -> Words:
        """Words between white space, with their hashes; found once for all taggers of the batch."""
        from .kernels.characters import character_classes
        from .kernels.units import index_words

        return Words(*index_words(self.buffer, self.offsets, character_classes()))

    @cached_property
    def word_counts(self) -> Integers:
        """[D] words between white space, for who needs no more of them."""
        from .kernels.characters import character_classes
        from .kernels.units import count_words

        if "words" in self.__dict__:
            return np.diff(self.words.first)
        counts: Integers = count_words(self.buffer, self.offsets, character_classes())
        return counts

    @cached_property
    def lines(self) -> Lines:
        """Lines and where they stand; found once for all taggers of the batch."""
        from .kernels.units import index_lines

        return Lines(*index_lines(self.buffer, self.offsets))

    def stretch(self, document: int, start: int, end: int) -> str:
        """Code points ``start`` to ``end`` of a document's text."""
        if "text" in self.documents[document]:
            return self.texts[document][start:end]
        from .kernels.pieces import bytes_before

        before, after = self.offsets[document : document + 2]
        return self.text_of(*bytes_before(self.buffer, before, after, np.array([start, end])).tolist())

    def text_of(self, start: int, end: int) -> str:
        """The text of a range of bytes that begins and ends between characters."""
        return self.buffer[start:end].tobytes().decode()


@dataclass(frozen=True)
class Spans:
    """Scores of one type over a batch, as columns of equal length ordered by document.

    ``documents`` are positions in the batch; ``starts`` and ``ends`` are code points of the document's text, end
    exclusive; ``scores`` are finite.
    """

    type: str
    documents: Integers
    starts: Integers
    ends: Integers
    scores: Floats


def whole_documents(batch: Batch, type: str, scores: Any, where: Any = None) -> Spans:  # noqa: A002
    """One span over the whole text, of every document or of those in the mask ``where`` [D].

    ``scores`` is [D], or one number for all.
    """
    documents = np.arange(len(batch), dtype=np.int64)
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim == 0:
        values = np.full(len(batch), values)
    if where is not None:
        mask = np.asarray(where, dtype=bool)
        documents, values = documents[mask], values[mask]
    return Spans(type, documents, np.zeros_like(documents), batch.lengths[documents], values)


class Places:
    """Spans found one by one, in order of documents; in columns, since a giant document has millions of them."""

    def __init__(self) -> None:
        self._columns = array("q")  # document, start and end of each, one after the other

    def add(self, document: int, places: Iterable[tuple[int, int]], shift: int = 0) -> None:
        """Take starts and ends, each moved by ``shift``; TooManySpansError past ``MOST_SPANS`` of a document."""
        columns = self._columns
        for start, end in places:
            if len(columns) >= 3 * MOST_SPANS and columns[-3 * MOST_SPANS] == document:
                raise TooManySpansError(document)
            columns.extend((document, start + shift, end + shift))

    def rows(self) -> Integers:
        """[S, 3]: document, start and end."""
        return np.array(self._columns, dtype=np.int64).reshape(-1, 3)


def placed_spans(type: str, rows: Integers, scores: Any = 1.0) -> Spans:  # noqa: A002
    """Spans from ``rows`` [S, 3]; ``scores`` are [S], or one number for all."""
    documents, starts, ends = rows.T.copy()
    return Spans(type, documents, starts, ends, np.broadcast_to(np.asarray(scores, dtype=np.float64), len(rows)))


def listed_spans(type: str, rows: Sequence[tuple[int, int, int, float]]) -> Spans:  # noqa: A002
    """Spans from ``(document, start, end, score)`` in order of documents."""
    documents, starts, ends, scores = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Spans(
        type,
        np.array(documents, dtype=np.int64),
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        np.array(scores, dtype=np.float64),
    )
