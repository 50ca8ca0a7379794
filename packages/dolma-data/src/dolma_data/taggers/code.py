"""Measures of source code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..batch import Batch, Spans, listed_spans, whole_documents
from ..errors import UserError
from .length import TOKEN_COUNT
from .registry import TaggerOptions, tagger

BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
LINE_COMMENTS = ("//", "#", "--")
COMMENT_END, COMMENT_FRACTION = "code-comment-end", "code-comment-fraction"
SECRET_PLACES = "code-secret-places"


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
        comment = BLOCK_COMMENT.search(text)
        if comment is None:
            if end := find_end(text):
                blocks.append((document, 0, end, 1.0))
        elif "copyright" in comment.group().lower():
            notices.append((document, *comment.span(), 1.0))
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
    found: dict[str, list[tuple[int, int, int, float]]] = {}
    counts = np.zeros(len(batch))
    find = _secrets_as_dolma if options.reproduces(SECRET_PLACES) else _secrets
    for document, text in enumerate(batch.texts):
        for kind, start, end in find(text):
            found.setdefault(f"SECRET_{kind.replace(' ', '_')}", []).append((document, start, end, 1.0))
            counts[document] += 1
    for kind in sorted(found):
        yield listed_spans(kind, found[kind])
    words = batch.word_counts
    yield whole_documents(batch, "doc", np.where(words == 0, -1.0, counts / np.maximum(words, 1)))


def _scan(text: str) -> list[Any]:
    """Secrets in the lines (``str.splitlines``) of a text, as the package gives them."""
    try:
        from detect_secrets.core.scan import _process_line_based_plugins
        from detect_secrets.settings import default_settings
    except ImportError as error:
        fix = "run pip install 'dolma-data[code]'"
        raise UserError("the package detect-secrets, which finds secrets, is not installed", fix=fix) from error
    with default_settings():
        # The package's function for a text that is no file; its public ones read files or know no line numbers.
        lines = list(enumerate(text.splitlines(), start=1))
        return list(_process_line_based_plugins(lines=lines, filename="text.yml"))


def _secrets(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of every secret, in order; the whole line where its value does not stand there as it is."""
    found = _scan(text)
    if not found:
        return
    lines = text.splitlines(keepends=True)
    starts = [0, *np.cumsum([len(line) for line in lines]).tolist()]
    places = set()
    for secret in found:
        line, first = lines[secret.line_number - 1], starts[secret.line_number - 1]
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
    lines = text.splitlines()
    for secret in sorted(set(_scan(text)), key=lambda each: (each.line_number, each.secret_hash, each.type)):
        line, value = lines[secret.line_number - 1], secret.secret_value or ""
        start = text.find(line) + line.find(value)
        yield secret.type, start, start + len(value)
