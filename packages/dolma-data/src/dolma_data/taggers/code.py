"""Measures of source code."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from ..batch import Batch, Spans, listed_spans, whole_documents
from ..errors import UserError
from .length import TOKEN_COUNT
from .registry import TaggerOptions, tagger

LINE_COMMENTS = ("//", "#", "--")
COMMENT_END, COMMENT_FRACTION = "code-comment-end", "code-comment-fraction"
SECRET_PLACES = "code-secret-places"
SECRETS_FILE = "text.yml"  # as which the package reads a text
KEPT_LINES = 1 << 12  # of which it is known whether they may hold a secret: blank ones and the like
BLOCK = 1 << 18  # code points of lines that are looked at together
AROUND = 6  # lines before and behind one, more than the package looks at


@tagger(
    "code_redpajama_taggers_v1",
    types=("max_line_length_doc", "avg_line_length_doc", "alnum_prop_doc", "alpha_token_prop_doc"),
    source="rules for source code of RedPajama (Weber et al. 2024, arXiv 2411.12372), as in allenai/dolma",
    differences=(TOKEN_COUNT,),
)
def code_redpajama_taggers_v1(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    r"""Longest and mean line, letters and digits per character, letters per token.

    Lines are those of ``str.splitlines``, tokens the matches of ``\w+|[^\w\s]+``.
    """
    from ..kernels.characters import character_classes
    from ..kernels.lines import score_code

    counts = score_code(batch.buffer, batch.offsets, character_classes())
    lines, longest, in_lines, alphanumeric, letters, tokens = counts.T
    tokens = tokens + options.reproduces(TOKEN_COUNT)
    yield whole_documents(batch, "max_line_length_doc", longest)
    yield whole_documents(batch, "avg_line_length_doc", in_lines / np.maximum(lines, 1))
    yield whole_documents(batch, "alnum_prop_doc", alphanumeric / np.maximum(batch.lengths, 1))
    yield whole_documents(batch, "alpha_token_prop_doc", letters / np.maximum(tokens, 1))


@tagger(
    "code_copyright_comments_v1",
    types=("copyright_notice", "comment_block", "doc"),
    source="rules for source code of RedPajama (Weber et al. 2024, arXiv 2411.12372), as in allenai/dolma",
    differences=(COMMENT_END, COMMENT_FRACTION),
)
def code_copyright_comments_v1(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """The first block comment where it names copyright; else, without any, the comment lines at the top.

    Comment lines begin with ``//``, ``#`` or ``--``; blank lines may stand between. ``doc`` is the fraction of the
    text's code points in that span.
    """
    notices: list[tuple[int, int, int, float]] = []
    blocks: list[tuple[int, int, int, float]] = []
    find_end = _leading_comment_as_dolma if options.reproduces(COMMENT_END) else _leading_comment
    for document, text in enumerate(batch.texts):
        start = text.find("/*")
        closing = text.find("*/", start + 2) if start >= 0 else -1
        if closing < 0:
            if end := find_end(text):
                blocks.append((document, 0, end, 1.0))
        elif "copyright" in text[start:closing].lower():
            notices.append((document, start, closing + 2, 1.0))
    yield listed_spans("copyright_notice", notices)
    yield listed_spans("comment_block", blocks)
    fractions = np.zeros(len(batch))
    for document, start, end, _ in (*notices, *blocks):
        more = options.reproduces(COMMENT_FRACTION)  # dolma counts one character too many
        fractions[document] = (end - start + more) / len(batch.texts[document]) if batch.texts[document] else -1.0
    yield whole_documents(batch, "doc", fractions)


def _leading_comment(text: str) -> int:
    """End of the comment lines at the top, 0 without any."""
    at = end = 0
    while at < len(text):
        after = text.find("\n", at) + 1 or len(text)
        line = text[at:after]
        if line.startswith(LINE_COMMENTS):
            end = after
        elif not line.isspace():
            break
        at = after
    return end


def _leading_comment_as_dolma(text: str) -> int:
    """As allenai/dolma: newlines count for empty lines alone, and empty lines are comments."""
    end = 0
    for line in text.split("\n"):
        if line and not line.startswith(LINE_COMMENTS):
            break
        end += len(line) or 1
    return end


@tagger(
    "code_secrets_v1",
    types=("*",),
    source="plugins of the package detect-secrets with its default settings, as in allenai/dolma",
    extra="code",
    differences=(SECRET_PLACES,),
)
def code_secrets_v1(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """Passwords, keys and tokens in source code, a type of span for each kind.

    ``doc`` is the number of spans over that of words (``str.split()``), -1 without words.
    """
    found: dict[str, array[int]] = {}  # documents, starts and ends, one after the other
    counts = np.zeros(len(batch))
    find = _secrets_as_dolma if options.reproduces(SECRET_PLACES) else _secrets
    for document, text in enumerate(batch.texts):
        for kind, start, end in find(text):
            found.setdefault(f"SECRET_{kind.replace(' ', '_')}", array("q")).extend((document, start, end))
            counts[document] += 1
    for kind in sorted(found):
        documents, starts, ends = np.array(found[kind], dtype=np.int64).reshape(-1, 3).T.copy()
        yield Spans(kind, documents, starts, ends, np.ones(len(documents)))
    words = batch.word_counts
    yield whole_documents(batch, "doc", np.where(words == 0, -1.0, counts / np.maximum(words, 1)))


def _scan(text: str) -> Iterator[tuple[Any, str, int]]:
    """Secrets in the lines (``str.splitlines``) of a text as the package gives them, each with its line and its start.

    The package takes some 150 microseconds for a line, most of it to find out what its functions want to know. So its
    plugins are asked first whether a line may hold a secret, and it gets only such lines, with those around them.
    """
    try:
        from detect_secrets.core.scan import _process_line_based_plugins
        from detect_secrets.settings import default_settings, get_plugins
    except ImportError as error:
        fix = "run pip install 'dolma-data[code]'"
        raise UserError("the package detect-secrets, which finds secrets, is not installed", fix=fix) from error
    with default_settings():
        plugins = get_plugins()

        @lru_cache(maxsize=KEPT_LINES)
        def may_hold(line: str) -> bool:
            return any(plugin.analyze_line(filename=SECRETS_FILE, line=line) for plugin in plugins)

        first = start = 0
        for before, lines, behind in _blocks_of_lines(text):
            around = [*before, *lines, *behind]
            bare = [line.splitlines()[0] for line in around]
            suspects = [at for at, line in enumerate(bare) if may_hold(line.rstrip())]
            starts = np.cumsum([start - sum(map(len, before)), *map(len, around)]).tolist()
            for begin, end in _stretches(suspects, len(around)):
                # The package's function for a text that is no file; its public ones read files or know no line numbers.
                numbered = list(enumerate(bare[begin:end], start=1))
                for secret in _process_line_based_plugins(lines=numbered, filename=SECRETS_FILE):
                    at = begin + secret.line_number - 1
                    if len(before) <= at < len(before) + len(lines):
                        secret.line_number = first + at - len(before) + 1
                        yield secret, around[at], starts[at]
            first += len(lines)
            start += sum(map(len, lines))


def _blocks_of_lines(text: str) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """The lines with their ends, some thousand at a time, with a few that stand before and behind them."""
    before: list[str] = []
    lines: list[str] = []
    start = 0
    while start < len(text):
        end = text.find("\n", start + BLOCK) + 1 or len(text)
        following = text[start:end].splitlines(keepends=True)
        if lines:
            yield before, lines, following[:AROUND]
            before = [*before, *lines][-AROUND:]
        lines, start = following, end
    if lines:
        yield before, lines, []


def _stretches(places: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Ranges that hold all places and ``AROUND`` more on both sides of each, within ``count``."""
    begin = end = 0
    for place in places:
        if place - AROUND > end:
            if end:
                yield begin, end
            begin = max(0, place - AROUND)
        end = min(count, place + AROUND + 1)
    if end:
        yield begin, end


def _secrets(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of every secret, in order; the whole line where its value does not stand there as it is."""
    for first, found in groupby(_scan(text), key=itemgetter(2)):
        places = set()
        for secret, line, _ in found:
            value = secret.secret_value or ""
            at = line.find(value)
            if value and at >= 0:
                places.add((first + at, first + at + len(value), secret.type))
            else:
                places.add((first, first + len(line.rstrip()), secret.type))
        for start, end, kind in sorted(places):
            yield kind, start, end


def _secrets_as_dolma(text: str) -> Iterator[tuple[str, int, int]]:
    """As allenai/dolma: each value once, in the first line with the same text as the one that it was found in."""
    lines: dict[Any, str] = {}
    for secret, line, _ in _scan(text):
        lines.setdefault(secret, line.splitlines()[0])
    for secret, line in sorted(
        lines.items(), key=lambda each: (each[0].line_number, each[0].secret_hash, each[0].type)
    ):
        value = secret.secret_value or ""
        start = text.find(line) + line.find(value)
        yield secret.type, start, start + len(value)
