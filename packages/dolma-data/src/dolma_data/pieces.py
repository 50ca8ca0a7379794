"""What classifiers look at: whole texts, paragraphs or sentences of a batch, as ranges of bytes and of code points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .batch import Batch, Floats, Integers, Spans


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


def paragraphs(batch: Batch) -> Pieces:
    r"""Text up to and including a newline; blank paragraphs are left out."""
    from .kernels.characters import character_classes
    from .kernels.pieces import index_paragraphs

    lines = batch.lines
    columns = (lines.first, lines.starts, lines.ends, lines.characters)
    documents, byte_starts, byte_ends, starts, ends = index_paragraphs(batch.buffer, columns, character_classes())
    return Pieces(documents, starts, ends, byte_starts, byte_ends)


def listed_pieces(batch: Batch, rows: Iterable[tuple[int, int, int]]) -> Pieces:
    """Pieces from ``(document, start, end)`` in code points, in order of documents and starts."""
    from .kernels.characters import character_classes
    from .kernels.pieces import trim_all
    from .kernels.units import bytes_of_characters  # type: ignore[attr-defined]

    raise NotImplementedError(bytes_of_characters, trim_all, rows, batch, character_classes)
