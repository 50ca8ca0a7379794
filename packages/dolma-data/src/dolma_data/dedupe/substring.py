"""Substrings that occur before in the same corpus, found exactly by a suffix array (Lee et al. 2022, arXiv 2107.06499).

The whole corpus is in memory: about ``BYTES_PER_BYTE`` bytes for each byte of text.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from ..annotate import Chunk
from ..batch import Batch, Integers
from ..config.dedupe import DedupeRule, SubstringRule
from ..errors import UserError
from ..kernels.characters import character_classes
from ..kernels.deduplication import count_points
from ..kernels.substring import BYTES, CHARACTERS, WORDS, longest_previous_factors, repeated_spans
from .by_hash import Marks
from .scratch import Scratch
from .units import NORMAL, Spans, UnitChunk, make_chunk

SEPARATOR = 0xFF  # never a byte of UTF-8
BYTES_PER_BYTE = 21  # text, suffix array, three arrays of the factors and what sorting needs
UNITS = {"bytes": BYTES, "characters": CHARACTERS, "words": WORDS}
SMALL = 2**31 - 1  # longer texts need 64-bit positions
log = logging.getLogger(__name__)


def check_settings(rule: DedupeRule) -> None:
    """UserError for settings that this method does not have."""
    if rule.substring.min_length < 1:
        raise UserError(f"dedupe.substring.min_length is {rule.substring.min_length}", fix="give 1 or more")
    assert rule.documents is not None
    if rule.documents.key != "$.text":
        raise UserError(
            f"the method substring looks into texts, not {rule.documents.key}",
            where="dedupe.documents.key",
            fix="leave it out",
        )
    for name in ("min_length", "min_words", "skip_empty"):
        if getattr(rule, name):
            raise UserError(
                f"dedupe.{name} is about whole units, not substrings",
                fix="leave it out and set dedupe.substring.min_length",
            )


def encode_texts(rule: DedupeRule, chunk: Chunk) -> tuple[UnitChunk, dict[str, Any]]:
    """First half: the texts of a chunk."""
    rows, documents = chunk.documents()
    batch = Batch(documents)
    nothing = np.zeros(0, dtype=np.int64)
    flags = np.full(len(documents), NORMAL, dtype=np.uint8)
    spans = Spans(flags, nothing, nothing, nothing, batch.buffer, nothing, nothing)
    return make_chunk(chunk, rows, spans), {"text": batch.buffer, "sizes": np.diff(batch.offsets)}


class Repeats:
    """Repeated stretches of all documents: ``owners``, code points, and the document of the first copy."""

    def __init__(self, rule: SubstringRule, scratch: Scratch) -> None:
        sizes = [scratch.array(number, "sizes") for number, _ in scratch.chunks()]
        lengths = np.concatenate(sizes) if sizes else np.zeros(0, dtype=np.int64)
        starts = np.cumsum(lengths + 1) - (lengths + 1)  # a separator after each
        total = int((lengths + 1).sum())
        log.info("substring: %.1f MB of text, about %.1f GB of memory", total / 1e6, total * BYTES_PER_BYTE / 1e9)
        text = np.full(total, SEPARATOR, dtype=np.uint8)
        for number, before in scratch.chunks():
            packed = scratch.array(number, "text")
            at = 0
            for document, size in enumerate(sizes[number].tolist(), start=before.documents):
                text[starts[document] : starts[document] + size] = packed[at : at + size]
                at += size
        self.owners, begins, ends, copies = find_repeats(text, starts, starts + lengths, rule)
        self.firsts = np.searchsorted(starts, copies, side="right") - 1
        base = starts[self.owners] if len(self.owners) else self.owners
        self.starts = count_points(text, base, begins)
        self.ends = self.starts + count_points(text, begins, ends)

    def marks_of(self, documents: int, before: int) -> Marks:
        """Marks of the ``documents`` documents after the first ``before``."""
        begin, end = np.searchsorted(self.owners, [before, before + documents])
        part = slice(int(begin), int(end))
        return Marks(self.owners[part] - before, self.starts[part], self.ends[part], None, self.firsts[part])


def find_repeats(
    text: npt.NDArray[np.uint8], starts: Integers, ends: Integers, rule: SubstringRule
) -> tuple[Integers, Integers, Integers, Integers]:
    """Document, begin, end (bytes of ``text``) of every repeated stretch, and where the copy of its beginning is.

    ``starts`` and ``ends`` [D] are the documents, each followed by ``SEPARATOR``.
    """
    from pydivsufsort import divsufsort  # type: ignore[import-untyped]

    if not len(text):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing, nothing
    suffixes = divsufsort(text)
    suffixes = suffixes.astype(np.int32 if len(text) <= SMALL else np.int64, copy=False)
    lengths, sources = longest_previous_factors(text, suffixes)
    found: tuple[Integers, Integers, Integers, Integers] = repeated_spans(
        text, lengths, sources, starts, ends, rule.min_length, UNITS[rule.unit], character_classes()
    )
    return found
