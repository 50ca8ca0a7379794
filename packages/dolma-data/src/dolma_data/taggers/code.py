"""Measures of source code."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ..batch import Batch, Spans, listed_spans, whole_documents
from .length import TOKEN_COUNT
from .registry import TaggerOptions, tagger

BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
LINE_COMMENTS = ("//", "#", "--")


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
)
def code_copyright_comments_v1(batch: Batch) -> Iterator[Spans]:
    """The first ``/* … */`` block where it names copyright; else, without any block, the comment lines at the top.

    ``doc`` is the fraction of the text's code points in that span. Other than allenai/dolma: the span of comment lines
    (those that begin with ``//``, ``#`` or ``--``, and blank ones between) counts their newlines, ends after the last
    comment, and does not arise from blank lines alone; ``doc`` is not one character too high.
    """
    notices: list[tuple[int, int, int, float]] = []
    blocks: list[tuple[int, int, int, float]] = []
    fractions = np.zeros(len(batch))
    for document, text in enumerate(batch.texts):
        comment = BLOCK_COMMENT.search(text)
        if comment is None:
            end = _leading_comment(text)
            if end:
                blocks.append((document, 0, end, 1.0))
                fractions[document] = end / len(text)
        elif "copyright" in comment.group().lower():
            notices.append((document, *comment.span(), 1.0))
            fractions[document] = len(comment.group()) / len(text)
    yield listed_spans("copyright_notice", notices)
    yield listed_spans("comment_block", blocks)
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
