"""Characters, words or tokens that repeat one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..batch import Batch, Integers, Spans, whole_documents
from ..pieces import paragraphs
from .registry import TaggerOptions, tagger
from .token_counts import TOKENIZER, LoadedTokenizer, read_tokenizer

TYPES = ("repetition", "doc_max_score_repetition", "doc_max_length_repetition", "doc_frac_repetition")
PATTERN = r"matches of (.+?)(\s?\1){3,}, as in allenai/dolma"
PERIODS = "periods of 1 to 13 tokens, as in allenai/dolma"
LONGEST_PERIOD = 13
PART = 100_000  # code points that tokenizer_repetitions_v2r2 looks at together
START = "tokenizer-repetition-start"
Row = tuple[int, int, int, float]


@tagger("repetitions_v1", types=TYPES, source=PATTERN)
def repetitions_v1(batch: Batch) -> Iterator[Spans]:
    """The shortest stretch of text that stands four times or more in a row, white space between them or not.

    The score of a span is the number of repetitions; the document has the highest score, the longest span and the
    fraction of its code points in spans.
    """
    documents = np.arange(len(batch), dtype=np.int64)
    yield from _of_characters(batch, documents, batch.offsets[:-1], batch.offsets[1:], np.zeros_like(documents))


@tagger("paragraph_repetitions_v1", types=TYPES, source=PATTERN)
def paragraph_repetitions_v1(batch: Batch) -> Iterator[Spans]:
    """As repetitions_v1, inside of paragraphs alone."""
    pieces = paragraphs(batch, blank=True, trimmed=False)
    ends = pieces.byte_ends + (pieces.byte_ends < batch.offsets[pieces.documents + 1])  # the newline too
    yield from _of_characters(batch, pieces.documents, pieces.byte_starts, ends, pieces.starts)


def _of_characters(
    batch: Batch, documents: Integers, byte_starts: Integers, byte_ends: Integers, starts: Integers
) -> Iterator[Spans]:
    from ..kernels.characters import character_classes
    from ..kernels.repetitions import find_repetitions

    owners, places = find_repetitions(batch.buffer, documents, byte_starts, byte_ends, starts, character_classes())
    spans = Spans("repetition", owners, places[:, 0], places[:, 1], places[:, 2].astype(np.float64))
    yield spans
    yield from _statistics(batch, spans, None)


@tagger("tokenizer_repetitions_v1", types=TYPES, source=PERIODS, need=TOKENIZER, load=read_tokenizer)
def tokenizer_repetitions_v1(batch: Batch, resource: LoadedTokenizer) -> Iterator[Spans]:
    """Runs of tokens that repeat three times or more with a period of 1 to 13 tokens, each under all its periods."""
    found = [_runs(resource, text) for text in batch.texts]
    starts, ends, times = (np.concatenate(columns).astype(np.int64) for columns in zip(*found, strict=True))
    documents = np.repeat(np.arange(len(batch), dtype=np.int64), [len(runs[0]) for runs in found])
    spans = Spans("repetition", documents, starts, ends, times.astype(np.float64))
    yield spans
    yield from _statistics(batch, spans, None)


@tagger(
    "paragraph_tokenizer_repetitions_v1",
    types=TYPES,
    source=PERIODS,
    need=TOKENIZER,
    load=read_tokenizer,
    differences=(START,),
)
def paragraph_tokenizer_repetitions_v1(
    batch: Batch, resource: LoadedTokenizer, options: TaggerOptions
) -> Iterator[Spans]:
    """As tokenizer_repetitions_v1, inside of paragraphs alone."""
    pieces = paragraphs(batch, blank=True, trimmed=False)
    rows: list[Row] = []
    places = zip(pieces.documents.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
    for document, first, last in places:
        # With a space before it the first word is the token that it is inside of a text.
        for start, end, times in _periods(resource, " " + batch.texts[document][first:last]):
            # A token that takes in that space begins one place too early in dolma.
            begin = first + start - 1 if options.reproduces(START) else max(first, first + start - 1)
            rows.append((document, begin, first + end - 1, times))
    yield from _of_tokens(batch, rows)


@tagger("tokenizer_repetitions_v2r2", types=TYPES, source=PERIODS, need=TOKENIZER, load=read_tokenizer)
def tokenizer_repetitions_v2r2(batch: Batch, resource: LoadedTokenizer) -> Iterator[Spans]:
    """As tokenizer_repetitions_v1, in parts of 100,000 characters, runs inside others left out; nothing where none."""
    rows: list[Row] = []
    for document, text in enumerate(batch.texts):
        for first in range(0, len(text), PART):
            before = (-1, -1)
            found = _periods(resource, text[first : first + PART])
            for start, end, times in sorted(found, key=lambda each: (each[0], -each[1], -each[2])):
                if start < before[0] or end > before[1]:
                    before = (start, end)
                    rows.append((document, first + start, first + end, times))
    yield from _of_tokens(batch, rows, np.unique([row[0] for row in rows]).astype(np.int64))


def _periods(tokenizer: LoadedTokenizer, text: str) -> Iterator[tuple[int, int, float]]:
    """Start and end in code points and times of each run."""
    starts, ends, times = _runs(tokenizer, text)
    yield from zip(starts.tolist(), ends.tolist(), times.astype(np.float64).tolist(), strict=True)


def _runs(tokenizer: LoadedTokenizer, text: str) -> tuple[Integers, Integers, Integers]:
    """The same as columns."""
    from ..kernels.repetitions import find_periods

    ids, starts, ends = tokenizer.encode(text)
    runs = find_periods(ids, LONGEST_PERIOD)
    return starts[runs[:, 0]], ends[runs[:, 1] - 1], runs[:, 2].copy()


def _of_tokens(batch: Batch, rows: Iterable[Row], only: Integers | None = None) -> Iterator[Spans]:
    columns = np.array(list(rows), dtype=np.float64).reshape(-1, 4)
    places = columns[:, :3].astype(np.int64)
    spans = Spans("repetition", places[:, 0].copy(), places[:, 1].copy(), places[:, 2].copy(), columns[:, 3].copy())
    yield spans
    yield from _statistics(batch, spans, only)


def _statistics(batch: Batch, spans: Spans, only: Integers | None) -> Iterator[Spans]:
    """Highest score, longest span and covered fraction of every document, or of those of ``only``."""
    highest, longest = np.zeros(len(batch)), np.zeros(len(batch))
    lengths = (spans.ends - spans.starts).astype(np.float64)
    np.maximum.at(highest, spans.documents, spans.scores)
    np.maximum.at(longest, spans.documents, lengths)
    covered = np.bincount(spans.documents, weights=lengths, minlength=len(batch)) / np.maximum(batch.lengths, 1)
    where = None
    if only is not None:
        where = np.zeros(len(batch), dtype=bool)
        where[only] = True
    yield whole_documents(batch, "doc_max_score_repetition", highest, where)
    yield whole_documents(batch, "doc_max_length_repetition", longest, where)
    yield whole_documents(batch, "doc_frac_repetition", covered, where)
