"""Paragraphs without a letter or digit."""

from __future__ import annotations

from collections.abc import Iterator

import regex  # type: ignore[import-untyped]

from ..batch import Batch, Spans, listed_spans
from ..pieces import paragraphs
from .registry import tagger

NO_LETTERS = regex.compile(
    r"[[:punct:]\s\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\u2600-\u26ff\u2700-\u27bf]+", regex.UNICODE
)


@tagger("not_alphanum_paragraph_v1", types=("all_punct",), source="rule of allenai/dolma")
def not_alphanum_paragraph_v1(batch: Batch) -> Iterator[Spans]:
    """Paragraphs of punctuation, white space and emoji alone score 1; a text without any scores 0 as a whole."""
    from ..kernels.pieces import without_ascii_letters

    pieces = paragraphs(batch)
    rows: list[tuple[int, int, int, float]] = []
    for k in without_ascii_letters(batch.buffer, pieces.byte_starts, pieces.byte_ends).tolist():
        if NO_LETTERS.fullmatch(batch.text_of(int(pieces.byte_starts[k]), int(pieces.byte_ends[k]))):
            rows.append((int(pieces.documents[k]), int(pieces.starts[k]), int(pieces.ends[k]), 1.0))
    having = {row[0] for row in rows}
    rows += [(document, 0, len(text), 0.0) for document, text in enumerate(batch.texts) if document not in having]
    yield listed_spans("all_punct", sorted(rows))
