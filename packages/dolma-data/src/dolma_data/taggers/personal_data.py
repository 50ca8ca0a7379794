"""E-mail addresses, telephone numbers and IPv4 addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..batch import Batch, Floats, Integers, Places, Spans, placed_spans, whole_documents
from . import personal_data_patterns as patterns
from .personal_data_patterns import ADDRESS, EMAIL, PHONE, Place
from .registry import TaggerOptions, tagger

SOURCE = "regular expressions in the manner of allenai/dolma (Soldaini et al. 2024, arXiv 2402.00159)"
MANY_QUESTION_MARKS = 10_000
WINDOW = 100  # code points before and after a number in which a book's number is looked for
LONGEST_URL = 2048  # code points of it that are looked at before and after a number
FRACTION, QUESTION_MARKS = "pii-doc-frac", "pii-question-marks"
CONTEXT, IN_URL = "pii-context-words", "pii-phone-in-url"
Found = dict[str, Integers]  # by type of data the rows [S, 3]: document, start and end, in order


@dataclass(frozen=True)
class Kind:
    """One type of personal data: what finds it in a line, and what allenai/dolma finds in a paragraph or text."""

    difference: str
    find: Callable[[str], Iterator[Place]]
    find_as_dolma: Callable[[str, bool], Iterator[Place]]
    flag: int  # of kernels.lines: lines without it cannot hold any


KINDS = {
    EMAIL: Kind("pii-email", patterns.find_emails, patterns.find_dolma_emails, 1),
    PHONE: Kind("pii-phone", patterns.find_phones, patterns.find_dolma_phones, 2),
    ADDRESS: Kind("pii-ip-address", patterns.find_addresses, patterns.find_dolma_addresses, 4),
}
SPANS = tuple(kind.difference for kind in KINDS.values())


@tagger(
    "pii_regex_with_counts_fast_v2",
    types=(*KINDS, "doc_count", "doc_frac"),
    source=SOURCE,
    differences=(*SPANS, FRACTION, QUESTION_MARKS),
)
def pii_regex_with_counts_fast_v2(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """Spans of e-mail addresses, ten-digit telephone numbers and IPv4 addresses, searched line by line.

    ``doc_count`` is their number and ``doc_frac`` the fraction of the text's code points that they cover. A span holds
    the address or number alone; one that goes on to either side (a longer number, a version of five parts) is none.
    """
    found = find_all(batch, options, by_paragraph=True)
    if options.reproduces(QUESTION_MARKS):
        looked_at = np.array([text.count("?") <= MANY_QUESTION_MARKS for text in batch.texts], dtype=bool)
        found = {name: rows[looked_at[rows[:, 0]]] for name, rows in found.items()}
    for name, rows in found.items():
        yield placed_spans(name, rows)
    yield whole_documents(batch, "doc_count", _counts(batch, found))
    if options.reproduces(FRACTION):
        rows = np.concatenate(list(found.values()))
        lengths = np.bincount(rows[:, 0], rows[:, 2] - rows[:, 1], minlength=len(batch))
        fractions = (lengths + batch.lengths) / np.maximum(batch.lengths, 1)
        yield whole_documents(batch, "doc_frac", np.where(batch.lengths == 0, -1.0, fractions))
        return
    yield whole_documents(batch, "doc_frac", _covered(batch, found) / np.maximum(batch.lengths, 1))


def _covered(batch: Batch, found: Found) -> Floats:
    """Code points of each document that spans cover, once each, [D]."""
    before = np.concatenate([[0], np.cumsum(batch.lengths)])  # code points of the documents before each
    rows = np.concatenate(list(found.values()))
    starts = before[rows[:, 0]] + rows[:, 1]
    order = np.argsort(starts, kind="stable")
    starts, owners = starts[order], rows[order, 0]
    reached = np.maximum.accumulate(before[owners] + rows[order, 2])
    begins = np.maximum(starts, np.concatenate([[0], reached])[:-1])
    return np.bincount(owners, np.maximum(0, reached - begins), minlength=len(batch)).astype(np.float64)


@tagger("pii_regex_v1", types=(*KINDS, "doc"), source=SOURCE, differences=(*SPANS, CONTEXT, IN_URL))
def pii_regex_v1(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """As pii_regex_v2."""
    return _regex_v2(batch, options)


@tagger("pii_regex_v2", types=(*KINDS, "doc"), source=SOURCE, differences=(*SPANS, CONTEXT, IN_URL))
def pii_regex_v2(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """Spans of e-mail addresses, telephone numbers and IPv4 addresses, without numbers of books and parts of URLs.

    A telephone number or IPv4 address with ``isbn``, ``doi`` or ``#`` within 100 code points is none, nor is a
    telephone number inside a URL. ``doc`` is the number of spans over that of words (``str.split()``), -1 without any.
    """
    return _regex_v2(batch, options)


def _regex_v2(batch: Batch, options: TaggerOptions, with_counts: bool = False) -> Iterator[Spans]:
    found = drop_book_numbers(batch, find_all(batch, options, by_paragraph=False), options)
    yield from spans_and_fraction_of_words(batch, found)
    if with_counts:
        yield whole_documents(batch, "doc_count", _counts(batch, found))


def spans_and_fraction_of_words(batch: Batch, found: Found) -> Iterator[Spans]:
    """The rows by type, and ``doc``: their number over that of words, -1 without words."""
    for name, rows in found.items():
        yield placed_spans(name, rows)
    words = batch.word_counts
    yield whole_documents(batch, "doc", np.where(words == 0, -1.0, _counts(batch, found) / np.maximum(words, 1)))


@tagger(
    "pii_regex_with_counts_v2",
    types=(*KINDS, "doc", "doc_count"),
    source=SOURCE,
    differences=(*SPANS, CONTEXT, IN_URL),
)
def pii_regex_with_counts_v2(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """As pii_regex_v2, and the number of spans."""
    return _regex_v2(batch, options, with_counts=True)


def find_all(batch: Batch, options: TaggerOptions, by_paragraph: bool) -> Found:
    """Rows of every type of personal data, in order; by allenai/dolma's patterns where those are wanted."""
    from ..kernels.characters import character_classes
    from ..kernels.lines import personal_data_candidates

    candidates = personal_data_candidates(batch.buffer, batch.offsets, character_classes())
    owners, flags = candidates[0], candidates[-1]
    found = {name: Places() for name in KINDS}
    own = {name: kind for name, kind in KINDS.items() if not options.reproduces(kind.difference)}
    for document, begin, behind, at, flag in zip(*(column.tolist() for column in candidates), strict=True):
        text = batch.text_of(begin, behind)
        for name, kind in own.items():
            if flag & kind.flag:
                found[name].add(document, kind.find(text), at)
        if by_paragraph and len(own) < len(KINDS):
            if behind < batch.offsets[document + 1]:
                text += "\n"
            for name in KINDS.keys() - own.keys():
                if flag & KINDS[name].flag:
                    found[name].add(document, KINDS[name].find_as_dolma(text, True), at)
    if not by_paragraph:
        for name in KINDS.keys() - own.keys():
            for document in np.unique(owners[(flags & KINDS[name].flag) != 0]).tolist():
                found[name].add(document, KINDS[name].find_as_dolma(batch.texts[document], False))
    return {name: places.rows() for name, places in found.items()}


def drop_book_numbers(batch: Batch, found: Found, options: TaggerOptions) -> Found:
    """Leave out telephone numbers and IPv4 addresses near the mark of a book's number, and numbers inside URLs."""

    def kept(name: str, document: int, start: int, end: int) -> bool:
        text = batch.texts[document]
        around = text[max(0, start - WINDOW) : end + WINDOW]
        if options.reproduces(CONTEXT):
            if any(mark in around for mark in ("isbn", "doi", "#")):
                return False
        elif patterns.NUMBER_OF_A_BOOK.search(around):
            return False
        return name != PHONE or options.reproduces(IN_URL) or not _inside_url(text, start, end)

    def those_kept(name: str, rows: Integers) -> Integers:
        mask = (kept(name, int(document), int(start), int(end)) for document, start, end in rows)
        found: Integers = rows[np.fromiter(mask, dtype=bool, count=len(rows))]
        return found

    return {name: rows if name == EMAIL else those_kept(name, rows) for name, rows in found.items()}


def _inside_url(text: str, start: int, end: int) -> bool:
    """Whether a URL reaches over the place: what it can be a part of is looked at alone, a few thousand characters."""
    first = max(0, start - LONGEST_URL)
    before = patterns.BEFORE_URL.search(text, first, start)
    behind = patterns.NOT_IN_URL.search(text, start, end + LONGEST_URL)
    begin, stop = before.end() if before else first, behind.start() if behind else end + LONGEST_URL
    if not patterns.SIGN_OF_URL.search(text, begin, stop):
        return False
    matches = patterns.URL.finditer(text, begin, stop)
    return any(match.start() <= start and match.end() > start + 1 for match in matches)


def _counts(batch: Batch, found: Found) -> Floats:
    documents = np.concatenate([rows[:, 0] for rows in found.values()])
    return np.bincount(documents, minlength=len(batch)).astype(np.float64)
