"""Which characters of a document's text its tokens stand for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import UserError
from .files import read_lines
from .normalization import Places, normal_form
from .tokens import Document, Tokens, load_tokenizer

# In a byte-level vocabulary (Radford et al. 2019) the bytes that print as characters stand for themselves and the
# others are counted on from 256; bytes 128 to 191 lie inside a character.
PRINTABLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
HIDDEN = [byte for byte in range(256) if byte not in PRINTABLE]
INSIDE = {byte if byte in PRINTABLE else 256 + HIDDEN.index(byte) for byte in range(0x80, 0xC0)}
OTHER_TEXT = "the text in the source is not the one that was tokenised"
ALPHABET = PRINTABLE | {256 + place for place in range(len(HIDDEN))}


class TextSpans:
    """Spans of characters of documents, counted in their tokens and, where that is possible, checked against texts."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self._read: tuple[Document, str] | None = None  # the last document that was compared with its text
        self._places: list[Places] | None = None  # in its text of each character of its normal form, where they differ

    def of_tokens(self, document: Document, first: int, last: int) -> list[int] | None:
        """Characters that tokens ``first`` to ``last`` (of the document, end exclusive) hold a byte of, end exclusive.

        They are counted in the text as the tokens hold it: that of the source after the tokenizer's normaliser. None
        where the tokenizer is not a byte-level one, or the tokens hold ids that it has not.
        """
        if self._characters is None:
            return None
        begun, inside = self._characters
        before, ids = self._ids(document, last)
        if len(ids) and int(ids.max()) >= len(begun):
            return None
        first = max(0, first - before)
        if first >= len(ids):  # only what begins or ends the document
            end = int(begun[ids].sum())
            return [end, end]
        start = int(begun[ids[:first]].sum())
        return [start - int(inside[ids[first]]), start + int(begun[ids[first:]].sum())]

    def in_source(self, document: Document, text: str, first: int, last: int) -> list[int]:
        """The same in the text of the source, of which the tokens hold a normalised form; ValueError where they do
        not hold it. What composes to one character is never divided: tokens that share it have all of it."""
        held = text.strip() if self.tokens.stripped else text
        cut = text.find(held) if held else 0
        found = self.of_tokens(document, first, last)
        before, ids = self._ids(document, document.end - document.start)
        if found is None:
            begin, end = self._by_offsets(held, ids.tolist(), max(0, first - before), last - before)
            return [cut + begin, cut + end]
        begin, end = self._places_in(document, held, ids, found)
        return [cut + begin, cut + end]

    def _places_in(
        self, document: Document, held: str, ids: npt.NDArray[np.int64], normal: list[int]
    ) -> tuple[int, int]:
        """Characters of the source that a span of those of its normal form was made of."""
        if self._read != (document, held):
            decoded = self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)
            self._places = None
            if decoded != held:
                form, *self._places = normal_form(held, self._tokenizer.normalizer)
                if form != decoded:
                    raise ValueError(OTHER_TEXT)
            self._read = (document, held)
        first, last = normal
        if self._places is None:
            return first, last
        begins, ends = self._places
        if first == len(begins):
            return len(held), len(held)
        return int(begins[first]), int(ends[last - 1] if last > first else begins[first])

    def _by_offsets(self, held: str, ids: list[int], first: int, last: int) -> tuple[int, int]:
        """The same by the library's own offsets, for tokenizers that are not byte-level ones."""
        encoded = self._tokenizer.encode(held, add_special_tokens=False)
        if encoded.ids != ids:
            raise ValueError(OTHER_TEXT)
        last = min(last, len(ids))
        if first >= last:
            return len(held), len(held)
        start, end = encoded.offsets[first][0], encoded.offsets[last - 1][1]
        # offsets leave out the marks that a character was composed with: those lie before the next token
        return start, max(end, encoded.offsets[last][0]) if last < len(ids) else len(held)

    def _ids(self, document: Document, last: int) -> tuple[int, npt.NDArray[np.int64]]:
        """How many tokens stand before a document's text, and the text's own up to token ``last`` of the document."""
        ids = self.tokens.ids(document.file, document.start, document.start + last).astype(np.int64)
        before = int(self.tokens.bos_token_id is not None and ids[0] == self.tokens.bos_token_id)
        after = int(document.start + last == document.end and ids[-1] == self.tokens.eos_token_id)
        return before, ids[before : len(ids) - after]

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.tokens.tokenizer_file)

    @cached_property
    def _characters(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]] | None:
        """For every id: how many characters begin in it, and whether it begins inside one."""
        tokenizer = self._tokenizer
        if type(tokenizer.decoder).__name__ != "ByteLevel":
            return None
        size = max(self.tokens.vocab_size, np.iinfo(self.tokens.dtype).max + 1 if self.tokens.dtype.itemsize < 4 else 0)
        begun, inside = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=bool)
        added = {number: str(token.content) for number, token in tokenizer.get_added_tokens_decoder().items()}
        plain = {
            number: token
            for token, number in tokenizer.get_vocab(with_added_tokens=True).items()
            if number not in added and token and number < size
        }
        codes = np.frombuffer("".join(plain.values()).encode("utf-32-le"), dtype="<u4")
        if len(codes) and not set(np.unique(codes).tolist()) <= ALPHABET:
            return None
        begins = ~np.isin(codes, sorted(INSIDE))
        lengths = np.fromiter(map(len, plain.values()), dtype=np.int64, count=len(plain))
        places = np.cumsum(lengths) - lengths
        numbers = np.fromiter(plain, dtype=np.int64, count=len(plain))
        if len(plain):
            begun[numbers] = np.add.reduceat(begins.astype(np.int64), places)
            inside[numbers] = ~begins[places]
        for number, content in added.items():
            if number < size:
                begun[number] = len(content)
        return begun, inside


@dataclass(frozen=True)
class SourceText:
    """A document's text, and the source that it names."""

    text: str
    source: str | None


def read_texts(folder: Path, wanted: Iterable[tuple[str, int]], field: str) -> dict[tuple[str, int], SourceText | None]:
    """The texts of documents by ``(src, loc)``: file below ``folder``, or its whole path, and line from 1.

    ``field`` is the key of the text (dots lead into objects). None for a text that is not to be had.
    """
    lines: dict[str, set[int]] = defaultdict(set)
    for source, line in wanted:
        lines[source].add(line)
    texts: dict[tuple[str, int], SourceText | None] = {}
    for source, numbers in lines.items():
        texts.update({(source, number): None for number in numbers})
        file = folder / source
        if not file.is_file():
            continue
        try:
            for number, content in read_lines(file):
                if number in numbers:
                    texts[source, number] = _text(content, field)
                if number >= max(numbers):
                    break
        except UserError:  # damaged: what was read before stands
            continue
    return texts


def _text(line: bytes, field: str) -> SourceText | None:
    try:
        document = json.loads(line)
        value, source = document, document.get("source")
        for key in field.split("."):
            value = value[key]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not isinstance(value, str):
        return None
    return SourceText(value, source if isinstance(source, str) else None)
