"""The cleaning rules of C4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..batch import MOST_SPANS, PART, Batch, Spans, TooManySpansError, whole_documents
from ..errors import UserError
from .registry import Need, TaggerOptions, tagger

SOURCE = "Raffel et al. 2020 (arXiv 1910.10683), section 2.2, as in allenai/dolma"
LINE_TYPES = ("lines_with_no_ending_punctuation", "lines_with_too_few_words")
TYPES = ("has_curly_brace", "has_lorem_ipsum", "has_javascript", "has_naughty_word", *LINE_TYPES, "line_count")
WORD_BOUNDARIES = "c4-word-boundaries"
LOWER_CASE_OFFSETS = "c4-lower-case-offsets"
SPACE = re.compile(r"\s")
WORD_LIST = Need("a list of words and phrases, one a line", without=("has_naughty_word",))


def read_word_list(files: tuple[Path, ...]) -> tuple[str, ...]:
    """The entries of a list, one a line, in lower case; UserError for a list that cannot be read or is empty."""
    (path,) = files
    try:
        entries = [line.strip().lower() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError("the word list is not UTF-8", where=path, fix="save it as UTF-8") from error
    if not any(entries):
        raise UserError("the word list is empty", where=path, fix="write one word or phrase a line")
    return tuple(sorted({entry for entry in entries if entry}))


@tagger(
    "c4_v1",
    types=TYPES,
    source=SOURCE,
    need=WORD_LIST,
    load=read_word_list,
    differences=(WORD_BOUNDARIES,),
)
def c4_v1(batch: Batch, resource: tuple[str, ...] | None, options: TaggerOptions) -> Iterator[Spans]:
    """The rules of C4 on lines and words; javascript counts as a word between white space only.

    In all else as ``c4_v2``.
    """
    from ..kernels.lines import HAS_WORD_JAVASCRIPT

    return _score(batch, HAS_WORD_JAVASCRIPT, _found(batch, resource, options), lower_case_offsets=False)


@tagger(
    "c4_v2",
    types=TYPES,
    source=SOURCE,
    need=WORD_LIST,
    load=read_word_list,
    differences=(WORD_BOUNDARIES, LOWER_CASE_OFFSETS),
)
def c4_v2(batch: Batch, resource: tuple[str, ...] | None, options: TaggerOptions) -> Iterator[Spans]:
    """The rules of C4: flags over the whole text (only where they hold), spans of lines that break a line rule.

    A line ends at a newline, which belongs to its span. Its last character that is no space must be ``.``, ``?``,
    ``!`` or ``"``, and it must have three words (``str.split()``) or more. ``has_javascript`` and ``has_lorem_ipsum``
    look for the words anywhere, without case. ``has_naughty_word`` needs a list; its words and phrases count where
    they stand between word boundaries, as in C4 itself, whether or not punctuation touches them.
    """
    from ..kernels.lines import HAS_JAVASCRIPT

    lower_case_offsets = options.reproduces(LOWER_CASE_OFFSETS)
    return _score(batch, HAS_JAVASCRIPT, _found(batch, resource, options), lower_case_offsets)


def _score(batch: Batch, javascript: int, found: Any, lower_case_offsets: bool) -> Iterator[Spans]:
    from ..kernels import lines as rules
    from ..kernels.characters import character_classes

    flags, line_counts, owners, starts, ends, broken, over = rules.score_c4(
        batch.buffer, batch.offsets, character_classes(), MOST_SPANS
    )
    if over >= 0:
        raise TooManySpansError(over)
    yield whole_documents(batch, "has_curly_brace", 1.0, where=flags & rules.HAS_CURLY_BRACE)
    yield whole_documents(batch, "has_lorem_ipsum", 1.0, where=flags & rules.HAS_LOREM_IPSUM)
    yield whole_documents(batch, "has_javascript", 1.0, where=flags & javascript)
    if found is not None:
        yield whole_documents(batch, "has_naughty_word", 1.0, where=found)
    if lower_case_offsets:
        owners, starts, ends = _in_lower_case(batch, owners, starts, ends)
    for name, rule in zip(LINE_TYPES, (rules.NO_ENDING_PUNCTUATION, rules.TOO_FEW_WORDS), strict=True):
        which = (broken & rule) != 0
        scores = which[which].astype("float64")
        yield Spans(name, owners[which], starts[which], ends[which], scores)
    yield whole_documents(batch, "line_count", line_counts)


def _found(batch: Batch, entries: tuple[str, ...] | None, options: TaggerOptions) -> Any:
    """Which documents hold an entry of the list; None without a list."""
    from ..kernels.characters import character_classes
    from ..kernels.phrases import hold_phrases

    if entries is None:
        return None
    automaton = _automaton(entries, options.reproduces(WORD_BOUNDARIES))
    lower: list[bytes] = []
    offsets = np.zeros(len(batch) + 1, dtype=np.int64)
    for document, text in enumerate(batch.texts):
        parts = [text.lower().encode()] if len(text) <= PART else list(_lowered_parts(text))
        lower += parts
        offsets[document + 1] = offsets[document] + sum(map(len, parts))
    return hold_phrases(
        np.frombuffer(b"".join(lower), dtype=np.uint8),
        offsets,
        automaton.classes,
        automaton.following,
        automaton.lengths,
        automaton.conditions,
        automaton.shorter,
        character_classes(),
    )


def _lowered_parts(text: str) -> Iterator[bytes]:
    """The lower case of a giant text in UTF-8, cut at white space, which ends what a lower case depends on."""
    at = 0
    while at < len(text):
        space = SPACE.search(text, at + PART)
        end = space.end() if space else len(text)
        yield text[at:end].lower().encode()
        at = end


@cache
def _automaton(entries: tuple[str, ...], as_dolma: bool) -> Any:
    from ..kernels.phrases import ANYWHERE, BETWEEN_WORD_BOUNDARIES, WHOLE_TOKENS, build_automaton

    if not as_dolma:
        return build_automaton([(entry.encode(), BETWEEN_WORD_BOUNDARIES) for entry in entries])
    return build_automaton([(entry.encode(), ANYWHERE if " " in entry else WHOLE_TOKENS) for entry in entries])


def _in_lower_case(batch: Batch, owners: Any, starts: Any, ends: Any) -> tuple[Any, Any, Any]:
    """Spans as places in the lower-cased text, which is longer where a character has a longer lower case."""
    starts, ends = starts.copy(), ends.copy()
    for document, text in enumerate(batch.texts):
        if text.isascii() or len(text.lower()) == len(text):
            continue
        mine = owners == document
        for places in (starts, ends):
            places[mine] = [len(text[:at].lower()) for at in places[mine].tolist()]
    return owners, starts, ends
