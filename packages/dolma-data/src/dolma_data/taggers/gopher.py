"""Quality and repetition measures of Gopher."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from ..batch import Batch, Spans, whole_documents
from .registry import tagger

REQUIRED_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Rae et al. 2021, appendix A
COMMON = tuple(f"fraction_of_characters_in_most_common_{n}grams" for n in (2, 3, 4))
DUPLICATE = tuple(f"fraction_of_characters_in_duplicate_{n}grams" for n in (5, 6, 7, 8, 9, 10))
TYPES = (
    *COMMON,
    *DUPLICATE,
    "character_count",
    "word_count",
    "median_word_length",
    "symbol_to_word_ratio",
    "fraction_of_words_with_alpha_character",
    "required_word_count",
    "fraction_of_lines_starting_with_bullet_point",
    "fraction_of_lines_ending_with_ellipsis",
    "fraction_of_duplicate_lines",
    "fraction_of_characters_in_duplicate_lines",
)


LONG_TEXT = 16 << 20  # bytes: such a text is scored in bounded memory, at less speed
SOURCE = "Rae et al. 2021 (arXiv 2112.11446), appendix A, as in allenai/dolma"


@tagger("gopher_v1", types=TYPES, source=SOURCE)
def gopher_v1(batch: Batch) -> Iterator[Spans]:
    r"""Nineteen measures of quality and repetition; every newline ends a line.

    In all else as ``gopher_v2``; blank lines count among the lines, and as repeated ones.
    """
    return _score(batch, between_runs=False)


@tagger("gopher_v2", types=TYPES, source=SOURCE)
def gopher_v2(batch: Batch) -> Iterator[Spans]:
    r"""Nineteen measures of quality and repetition; runs of newlines end a line.

    Words are those of ``str.split()``, lines the pieces between runs of newlines (a newline at either end of the text
    leaves an empty piece there). A fraction of characters in the most common n-gram is its number times its letters,
    over the code points of all words; of duplicate n-grams, the code points of all n-grams that occur more than once
    over those of all n-grams. Symbols are words that hold ``#`` or U+2026. Types of n-grams are absent from a document
    of fewer than n words.
    """
    return _score(batch, between_runs=True)


def _score(batch: Batch, between_runs: bool) -> Iterator[Spans]:
    from ..kernels.characters import character_classes
    from ..kernels.gopher import score_documents
    from ..kernels.gopher_long import MOST_HASHES, MOST_KEYS, score_long_document

    long = np.diff(batch.offsets) > LONG_TEXT
    short = batch if not long.any() else Batch([batch.documents[k] for k in np.flatnonzero(~long).tolist()])
    words, lines = short.words, short.lines
    scores = np.empty((len(batch), len(TYPES)))
    scores[~long] = score_documents(
        short.buffer,
        short.lengths,
        words.first,
        words.hashes,
        words.lengths,
        words.flags,
        lines.first,
        lines.starts,
        lines.ends,
        _required_hashes(),
        between_runs,
    )
    for k in np.flatnonzero(long).tolist():
        text = batch.buffer[batch.offsets[k] : batch.offsets[k + 1]]
        scores[k] = score_long_document(
            text, batch.lengths[k], character_classes(), _required_hashes(), between_runs, MOST_KEYS, MOST_HASHES
        )
    for column, name in enumerate(TYPES):
        values = scores[:, column]
        yield whole_documents(batch, name, values, where=~np.isnan(values))


@cache
def _required_hashes() -> Any:
    from ..kernels.units import hash_bytes

    encoded = [np.frombuffer(word.encode(), dtype=np.uint8) for word in REQUIRED_WORDS]
    return np.array([hash_bytes(word, 0, len(word)) for word in encoded], dtype=np.uint64)
