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
from .tokens import Document, Tokens, load_tokenizer

# In a byte-level vocabulary (Radford et al. 2019) the bytes that print as characters stand for themselves and the
# others are counted on from 256; bytes 128 to 191 lie inside a character.
PRINTABLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
HIDDEN = [byte for byte in range(256) if byte not in PRINTABLE]
INSIDE = {byte if byte in PRINTABLE else 256 + HIDDEN.index(byte) for byte in range(0x80, 0xC0)}
ALPHABET = PRINTABLE | {256 + place for place in range(len(HIDDEN))}


class TextSpans:
    """Spans of characters of documents, counted in their tokens and, where that is possible, checked against texts."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

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
        not hold it."""
        tokenizer = self._tokenizer
        before, ids = self._ids(document, document.end - document.start)
        found = self.of_tokens(document, first, last)
        first, last = max(0, first - before), min(last - before, len(ids))
        held = text.strip() if self.tokens.stripped else text
        cut = text.find(held) if held else 0
        if found is not None and tokenizer.decode(ids.tolist(), skip_special_tokens=False) == held:
            return [found[0] + cut, found[1] + cut]
        encoded = tokenizer.encode(held, add_special_tokens=False)
        if encoded.ids != ids.tolist():
            raise ValueError("the text in the source is not the one that was tokenised")
        if first >= last:
            return [cut + len(held)] * 2
        start, end = encoded.offsets[first][0], encoded.offsets[last - 1][1]
        # offsets leave out the marks that a character was composed with: those lie before the next token
        end = max(end, encoded.offsets[last][0]) if last < len(ids) else len(held)
        return [cut + start, cut + end]

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
