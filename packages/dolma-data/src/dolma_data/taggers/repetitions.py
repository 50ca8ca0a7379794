"""Characters, words or tokens that repeat one after the other."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from ..batch import MOST_SPANS, Batch, Integers, Places, Spans, TooManySpansError, placed_spans, whole_documents
from ..pieces import paragraphs
from .registry import TaggerOptions, tagger
from .token_counts import TOKENIZER, LoadedTokenizer, read_tokenizer

TYPES = ("repetition", "doc_max_score_repetition", "doc_max_length_repetition", "doc_frac_repetition")
PATTERN = r"matches of (.+?)(\s?\1){3,}, as in allenai/dolma"
PERIODS = "periods of 1 to 13 tokens, as in allenai/dolma"
LONGEST_PERIOD = 13
PARAGRAPHS = 1 << 12  # that are encoded together
PART = 100_000  # code points that tokenizer_repetitions_v2r2 looks at together
START = "tokenizer-repetition-start"


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
    found = []
    for document, text in enumerate(batch.texts):
        found.append(_runs(resource, text))
        if len(found[-1][0]) > MOST_SPANS:
            raise TooManySpansError(document)
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
    from ..kernels.repetitions import have_periods

    pieces = paragraphs(batch, blank=True, trimmed=False)
    found, times = Places(), array("d")
    for begin in range(0, len(pieces), PARAGRAPHS):
        part = pieces.part(begin, begin + PARAGRAPHS)
        places = zip(part.documents.tolist(), part.starts.tolist(), part.ends.tolist(), strict=True)
        # With a space before it the first word is the token that it is inside of a text.
        texts = [" " + batch.texts[document][first:last] for document, first, last in places]
        for at in np.flatnonzero(have_periods(*resource.ids(texts), LONGEST_PERIOD)).tolist():
            document, first = int(part.documents[at]), int(part.starts[at])
            for start, end, repeated in _periods(resource, texts[at]):
                # A token that takes in that space begins one place too early in dolma.
                begin_of_run = first + start - 1 if options.reproduces(START) else max(first, first + start - 1)
                found.add(document, [(begin_of_run, first + end - 1)])
                times.append(repeated)
    yield from _of_tokens(batch, found.rows(), times)


@tagger("tokenizer_repetitions_v2r2", types=TYPES, source=PERIODS, need=TOKENIZER, load=read_tokenizer)
def tokenizer_repetitions_v2r2(batch: Batch, resource: LoadedTokenizer) -> Iterator[Spans]:
    """As tokenizer_repetitions_v1, in parts of 100,000 characters, runs inside others left out; nothing where none."""
    kept, times = Places(), array("d")
    for document, text in enumerate(batch.texts):
        for first in range(0, len(text), PART):
            before = (-1, -1)
            found = _periods(resource, text[first : first + PART])
            for start, end, repeated in sorted(found, key=lambda each: (each[0], -each[1], -each[2])):
                if start < before[0] or end > before[1]:
                    before = (start, end)
                    kept.add(document, [(first + start, first + end)])
                    times.append(repeated)
    rows = kept.rows()
    yield from _of_tokens(batch, rows, times, np.unique(rows[:, 0]))


def _periods(tokenizer: LoadedTokenizer, text: str) -> Iterator[tuple[int, int, float]]:
    """Start and end in code points and times of each run."""
    starts, ends, times = _runs(tokenizer, text)
    yield from zip(starts.tolist(), ends.tolist(), times.astype(np.float64).tolist(), strict=True)


def _runs(tokenizer: LoadedTokenizer, text: str) -> tuple[Integers, Integers, Integers]:
    """The same as columns."""
    from ..kernels.repetitions import find_periods

    encoded = tokenizer.encode(text)
    runs = find_periods(encoded.ids, LONGEST_PERIOD)
    starts, ends = encoded.places(np.concatenate([runs[:, 0], runs[:, 1] - 1]))
    return starts[: len(runs)], ends[len(runs) :], runs[:, 2].copy()


def _of_tokens(batch: Batch, rows: Integers, times: array[float], only: Integers | None = None) -> Iterator[Spans]:
    spans = placed_spans("repetition", rows, times)
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
