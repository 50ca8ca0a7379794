"""Lengths of documents and paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]

from ..batch import Batch, Floats, Integers, Spans, whole_documents
from ..pieces import Pieces, paragraphs
from .registry import TaggerOptions, tagger
from .token_counts import LONG_TEXT, pieces_of_words

WORD_GOING_ON = regex.compile(r"(?<=\p{L}{8})\p{L}+")  # behind 8 letters: one piece with them, whatever they are
TOKEN_COUNT = "token-count"
TOKENS = r"tokens \w+|[^\w\s]+, as in allenai/dolma"
UNICODE_WORDS = "words of Unicode Standard Annex 29, as in allenai/dolma"
OLMO = "the splits before byte-level BPE of OLMo's tokenizer (GPT-NeoX, Black et al. 2022), as in allenai/dolma"


@tagger("char_length_v1", types=("length",), source="code points")
def char_length_v1(batch: Batch) -> Iterator[Spans]:
    """Code points of the text."""
    yield whole_documents(batch, "length", batch.lengths)


@tagger("char_length_strip_ws_v1", types=("length_no_ws",), source="code points")
def char_length_strip_ws_v1(batch: Batch) -> Iterator[Spans]:
    """Code points of the text without white space at its ends."""
    from ..kernels.characters import character_classes
    from ..kernels.lengths import stripped_lengths

    yield whole_documents(batch, "length_no_ws", stripped_lengths(batch.buffer, batch.offsets, character_classes()))


@tagger("char_length_with_paragraphs_v1", types=("paragraph", "document"), source="code points")
def char_length_with_paragraphs_v1(batch: Batch) -> Iterator[Spans]:
    """Code points of each paragraph that is not blank, its newline included, and of the text."""
    pieces = paragraphs(batch)
    yield pieces.spans("paragraph", (pieces.ends - pieces.starts).astype(np.float64))
    yield whole_documents(batch, "document", batch.lengths)


@tagger("bytes_length_v1", types=("bytes",), source="bytes of UTF-8")
def bytes_length_v1(batch: Batch) -> Iterator[Spans]:
    """UTF-8 bytes of the text."""
    yield whole_documents(batch, "bytes", batch.offsets[1:] - batch.offsets[:-1])


@tagger("doc_count_v1", types=("docs",), source="the document itself")
def doc_count_v1(batch: Batch) -> Iterator[Spans]:
    """The number 1, so that a sum of it counts documents."""
    yield whole_documents(batch, "docs", 1.0)


@tagger("whitespace_tokenizer_v1", types=("length",), source=TOKENS, differences=(TOKEN_COUNT,))
def whitespace_tokenizer_v1(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    r"""Tokens of the text: runs of letters and digits, runs of other visible characters.

    The number of matches of ``\w+|[^\w\s]+``.
    """
    yield whole_documents(batch, "length", _tokens(batch.offsets[:-1], batch.offsets[1:], batch, options))


@tagger(
    "whitespace_tokenizer_with_paragraphs_v1",
    types=("paragraph", "document"),
    source=TOKENS,
    differences=(TOKEN_COUNT,),
)
def whitespace_tokenizer_with_paragraphs_v1(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """Tokens, as in whitespace_tokenizer_v1, of each paragraph that is not blank, and their sum."""
    pieces = paragraphs(batch, trimmed=False)
    counts = _tokens(pieces.byte_starts, pieces.byte_ends, batch, options)
    yield pieces.spans("paragraph", counts)
    yield whole_documents(batch, "document", pieces.sums(batch, counts))


def _tokens(starts: Integers, ends: Integers, batch: Batch, options: TaggerOptions) -> Floats:
    from ..kernels.characters import character_classes
    from ..kernels.lengths import count_tokens

    # dolma counts the pieces around the tokens, which are one more.
    counts = count_tokens(batch.buffer, starts, ends, character_classes()) + options.reproduces(TOKEN_COUNT)
    return np.asarray(counts, dtype=np.float64)


@tagger("uniseg_length_v1", types=("length",), source=UNICODE_WORDS)
def uniseg_length_v1(batch: Batch) -> Iterator[Spans]:
    """Words by Unicode's rules of the text without white space at its ends; white space and punctuation are words."""
    yield whole_documents(batch, "length", _unicode_words(batch, batch.offsets[:-1], batch.offsets[1:])[:, 0])


@tagger("uniseg_length_paragraphs_v1", types=("paragraph", "negative_paragraph"), source=UNICODE_WORDS)
def uniseg_length_paragraphs_v1(batch: Batch) -> Iterator[Spans]:
    """Words by Unicode's rules, punctuation too but no white space, of each paragraph that is not blank.

    The negative type holds the same numbers with the sign turned, for mixers that know only lower bounds.
    """
    yield from _paragraph_words(batch, paragraphs(batch))


@tagger("uniseg_length_paragraphs_with_empty_v1", types=("paragraph", "negative_paragraph"), source=UNICODE_WORDS)
def uniseg_length_paragraphs_with_empty_v1(batch: Batch) -> Iterator[Spans]:
    """As uniseg_length_paragraphs_v1, of blank paragraphs too."""
    yield from _paragraph_words(batch, paragraphs(batch, blank=True))


@tagger(
    "uniseg_length_paragraphs_with_doc_length_v1",
    types=("paragraph", "negative_paragraph", "document", "negative_document"),
    source=UNICODE_WORDS,
)
def uniseg_length_paragraphs_with_doc_length_v1(batch: Batch) -> Iterator[Spans]:
    """As uniseg_length_paragraphs_v1, and the sum over the document."""
    pieces = paragraphs(batch)
    counted = list(_paragraph_words(batch, pieces))
    yield from counted
    totals = pieces.sums(batch, counted[0].scores)
    yield whole_documents(batch, "document", totals)
    yield whole_documents(batch, "negative_document", -totals)


def _paragraph_words(batch: Batch, pieces: Pieces) -> Iterator[Spans]:
    counts = _unicode_words(batch, pieces.byte_starts, pieces.byte_ends)[:, 1]
    yield pieces.spans("paragraph", counts)
    yield pieces.spans("negative_paragraph", -counts)


def _unicode_words(batch: Batch, starts: Integers, ends: Integers) -> Floats:
    from ..kernels.characters import character_classes
    from ..kernels.word_breaks import count_words, word_break_properties

    counts = count_words(batch.buffer, starts, ends, word_break_properties(), character_classes())
    return np.asarray(counts, dtype=np.float64)


@tagger("olmo_pretokenizer_v1", types=("length",), source=OLMO)
def olmo_pretokenizer_v1(batch: Batch) -> Iterator[Spans]:
    """Pieces that OLMo's tokenizer splits the text into before it merges bytes."""
    yield whole_documents(batch, "length", [_olmo_pieces(text) for text in batch.texts])


@tagger("olmo_pretokenizer_with_paragraphs_v1", types=("paragraph", "document"), source=OLMO)
def olmo_pretokenizer_with_paragraphs_v1(batch: Batch) -> Iterator[Spans]:
    """Pieces, as in olmo_pretokenizer_v1, of each paragraph that is not blank, and their sum."""
    pieces = paragraphs(batch)
    places = zip(pieces.documents.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
    counts = [_olmo_pieces(batch.texts[document][start:end]) for document, start, end in places]
    scores = np.array(counts, dtype=np.float64)
    yield pieces.spans("paragraph", scores)
    yield whole_documents(batch, "document", pieces.sums(batch, scores))


def _olmo_pieces(text: str) -> int:
    """How many there are; of a long text the library lists some at a time."""
    split = _olmo_pretokenizer().pre_tokenize_str
    pieces = (text[start:end] for start, end in pieces_of_words(text, LONG_TEXT))
    return sum(len(split(piece if len(piece) < LONG_TEXT else WORD_GOING_ON.sub("", piece))) for piece in pieces)


@cache
def _olmo_pretokenizer() -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\p{P}"), "isolated"),
            pre_tokenizers.Split(Regex(r" ?\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
