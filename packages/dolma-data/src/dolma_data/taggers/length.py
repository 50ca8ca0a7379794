"""Lengths of documents and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import regex  # type: ignore[import-untyped]

from ..batch import Batch, Spans, listed_spans, whole_documents
from .registry import tagger

WORD_BOUNDARY = regex.compile(r"(?w)\b")
ASCII_RUN = re.compile(r"[A-Za-z0-9_]+")
LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")
Row = tuple[int, int, int, float]


@tagger("char_length_v1", types=("length",), source="code points")
def char_length_v1(batch: Batch) -> Iterator[Spans]:
    """Code points of the text."""
    yield whole_documents(batch, "length", batch.lengths)


@tagger("bytes_length_v1", types=("bytes",), source="bytes of UTF-8")
def bytes_length_v1(batch: Batch) -> Iterator[Spans]:
    """UTF-8 bytes of the text."""
    yield whole_documents(batch, "bytes", batch.offsets[1:] - batch.offsets[:-1])


@tagger("whitespace_tokenizer_v1", types=("length",), source=r"tokens \w+|[^\w\s]+, as in allenai/dolma")
def whitespace_tokenizer_v1(batch: Batch) -> Iterator[Spans]:
    r"""Number of matches of ``\w+|[^\w\s]+``.

    Other than allenai/dolma, which counts the pieces between the matches and so one too many.
    """
    from ..kernels.characters import character_classes
    from ..kernels.lines import score_code

    yield whole_documents(batch, "length", score_code(batch.buffer, batch.offsets, character_classes())[:, 5])


@tagger(
    "uniseg_length_paragraphs_with_doc_length_v1",
    types=("paragraph", "negative_paragraph", "document", "negative_document"),
    source="words of Unicode Standard Annex 29, as in allenai/dolma",
)
def uniseg_length_paragraphs_with_doc_length_v1(batch: Batch) -> Iterator[Spans]:
    """Words (UAX 29, those that hold a letter or digit) of each paragraph that is not blank, and their sum.

    A paragraph is a line, its newline included. The negative types hold the same numbers with the sign turned, for
    mixers that know only lower bounds. Other than allenai/dolma: punctuation is no word, as in the word counts of
    decontamination (Magnusson et al. 2023, arXiv 2312.10523).
    """
    rows: list[Row] = []
    totals = [0] * len(batch)
    for document, text in enumerate(batch.texts):
        start = 0
        for paragraph in text.split("\n"):
            end = min(start + len(paragraph) + 1, len(text))
            if paragraph and not paragraph.isspace():
                words = count_words(paragraph)
                rows.append((document, start, end, float(words)))
                totals[document] += words
            start = end
    yield listed_spans("paragraph", rows)
    yield listed_spans("negative_paragraph", [(document, start, end, -words) for document, start, end, words in rows])
    yield whole_documents(batch, "document", totals)
    yield whole_documents(batch, "negative_document", [-total for total in totals])


def count_words(text: str) -> int:
    """Words of ``text`` by Unicode Standard Annex 29 that hold a letter or digit."""
    return sum(1 for piece in WORD_BOUNDARY.splititer(text) if LETTER_OR_DIGIT.search(piece))


def has_words(text: str, count: int) -> bool:
    """Whether ``count_words(text) >= count``, mostly without counting them."""
    if len(text) < count or (text.isascii() and len(ASCII_RUN.findall(text)) < count):
        return False  # a word of ASCII text holds at least one run of letters, digits and underscores
    if sum(1 for piece in text.split() if LETTER_OR_DIGIT.search(piece)) >= count:
        return True  # white space stands between words, never in them
    return count_words(text) >= count
