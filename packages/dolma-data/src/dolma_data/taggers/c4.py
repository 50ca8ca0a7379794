"""The cleaning rules of C4."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import regex  # type: ignore[import-untyped]

from ..batch import Batch, Spans, whole_documents
from ..errors import UserError
from ..files import digest_file
from .registry import PreparedTagger, Tagger, TaggerOptions, add

SOURCE = "Raffel et al. 2020 (arXiv 1910.10683), section 2.2, as in allenai/dolma"
LINE_TYPES = ("lines_with_no_ending_punctuation", "lines_with_too_few_words")
TYPES = ("has_curly_brace", "has_lorem_ipsum", "has_javascript", "has_naughty_word", *LINE_TYPES, "line_count")


def c4_v2(batch: Batch, words: regex.Pattern[str] | None = None) -> Iterator[Spans]:
    """The rules of C4: flags over the whole text (only where they hold), spans of lines that break a line rule.

    A line ends at a newline, which belongs to its span. Its last character that is no space must be ``.``, ``?``,
    ``!`` or ``"``, and it must have three words (``str.split()``) or more. ``has_javascript`` and ``has_lorem_ipsum``
    look for the words anywhere, without case. ``has_naughty_word`` needs a list (``--word-list FILE``, one word or
    phrase a line).

    Other than allenai/dolma's ``c4_v2``: offsets are those of the text itself, not of its lower-cased form (which may
    be longer), and words of the list count where they stand between word boundaries, as in C4 itself, whether or not
    punctuation touches them, and not inside other words.
    """
    from ..kernels import lines as rules
    from ..kernels.characters import character_classes

    flags, line_counts, owners, starts, ends, broken = rules.score_c4(batch.buffer, batch.offsets, character_classes())
    yield whole_documents(batch, "has_curly_brace", 1.0, where=flags & rules.HAS_CURLY_BRACE)
    yield whole_documents(batch, "has_lorem_ipsum", 1.0, where=flags & rules.HAS_LOREM_IPSUM)
    yield whole_documents(batch, "has_javascript", 1.0, where=flags & rules.HAS_JAVASCRIPT)
    if words is not None:
        found = [words.search(text) is not None for text in batch.texts]
        yield whole_documents(batch, "has_naughty_word", 1.0, where=found)
    for name, rule in zip(LINE_TYPES, (rules.NO_ENDING_PUNCTUATION, rules.TOO_FEW_WORDS), strict=True):
        which = (broken & rule) != 0
        scores = which[which].astype("float64")
        yield Spans(name, owners[which], starts[which], ends[which], scores)
    yield whole_documents(batch, "line_count", line_counts)


def read_word_list(path: Path) -> regex.Pattern[str]:
    """A pattern that finds any entry of the list (one a line) between word boundaries, without case."""
    if not path.is_file():
        raise UserError("no such word list", where=path, fix="check the path")
    try:
        entries = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError("the word list is not UTF-8", where=path, fix="save it as UTF-8") from error
    entries = sorted({entry for entry in entries if entry})
    if not entries:
        raise UserError("the word list is empty", where=path, fix="write one word or phrase a line")
    return regex.compile(r"(?<!\w)\L<entries>(?!\w)", flags=regex.IGNORECASE, entries=entries)


def _prepare(options: TaggerOptions) -> PreparedTagger:
    if options.word_list is None:
        types = tuple(name for name in TYPES if name != "has_naughty_word")
        return PreparedTagger("c4_v2", types, SOURCE, c4_v2)
    words = read_word_list(options.word_list)
    return PreparedTagger("c4_v2", TYPES, SOURCE, lambda batch: c4_v2(batch, words), digest_file(options.word_list))


add(Tagger("c4_v2", TYPES, SOURCE, _prepare))
