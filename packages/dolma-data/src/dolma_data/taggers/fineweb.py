"""What FineWeb looks at beside the rules of Gopher and C4 (Penedo et al. 2024, arXiv 2406.17557, section 3.6)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache

import numpy as np
import regex  # type: ignore[import-untyped]

from ..batch import Batch, Spans, whole_documents
from .registry import tagger

SHORT_LINE = 30  # characters
TYPES = (
    "fraction_of_lines_ending_with_punctuation",
    "fraction_of_short_lines",
    "fraction_of_characters_in_repeated_lines",
    "line_breaks_per_word",
)


@cache
def ends_of_sentences() -> frozenset[str]:
    """Characters of Unicode's property Sentence_Terminal."""
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
    return frozenset(regex.findall(r"\p{Sentence_Terminal}", everything))


@tagger("fineweb_v1", types=TYPES, source="Penedo et al. 2024, arXiv 2406.17557; huggingface/datatrove")
def fineweb_v1(batch: Batch) -> Iterator[Spans]:
    """Lines that end a sentence, lines of at most 30 characters, characters in lines that stand earlier, line breaks.

    Blank lines do not count. The first copy of a line is none that stands earlier. No value for a text without any
    word.
    """
    ends = ends_of_sentences()
    scores = np.zeros((len(batch), len(TYPES)))
    words = batch.word_counts
    for document, text in enumerate(batch.texts):
        lines = [line for line in text.split("\n") if line and not line.isspace()]
        if not lines:
            continue
        seen: set[str] = set()
        repeated = 0
        for line in lines:
            if line in seen:
                repeated += len(line)
            seen.add(line)
        breaks = text.count("\n")
        scores[document] = (
            sum(line[-1] in ends for line in lines) / len(lines),
            sum(len(line) <= SHORT_LINE for line in lines) / len(lines),
            repeated / (len(text) - breaks),
            breaks / words[document],
        )
    for column, name in enumerate(TYPES):
        yield whole_documents(batch, name, scores[:, column], where=words > 0)
