"""Tokens of texts by a tokenizer that is given, and lengths of documents in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped]

from ..batch import Batch, Integers, Spans, whole_documents
from ..errors import UserError
from ..tokens.byte_pairs import Encoder, UnsupportedTokenizerError, compile_tables
from .registry import Need, tagger

TOKENIZER = Need("a tokenizer.json")
LONG_TEXT = 1 << 20  # code points; the library takes a hundred bytes for each, and with places up to a thousand
PLACED_TEXT = 1 << 16  # code points whose tokens get their places together
BETWEEN_WORDS = regex.compile(r"(?<=\p{L})(?=[\s.,;。，、])")  # no cut of tokens.byte_pairs goes over such a place
Tokens = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]


def pieces_of_words(text: str, least: int) -> Iterator[tuple[int, int]]:
    """Where a text can be cut into pieces of ``least`` code points without any change of its tokens."""
    start = 0
    while len(text) - start > least:
        place = BETWEEN_WORDS.search(text, start + least)
        if place is None:
            break
        yield start, place.start()
        start = place.start()
    yield start, len(text)


@dataclass(frozen=True)
class EncodedText:
    """Tokens of a text, without those that stand around every text."""

    ids: npt.NDArray[np.int32]  # [T]
    places: Callable[[Integers], tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    """Starts and ends (code points) of tokens given by their numbers: few are asked for, all take much memory."""


@dataclass(frozen=True)
class LoadedTokenizer:
    """The tokenizer of a file: as the library has it and, for long texts, our own encoder of the same tokens."""

    library: Any
    path: Path

    @cached_property
    def encoder(self) -> Encoder | None:
        """None where only the library can encode."""
        if self.library.truncation is not None or self.library.padding is not None:
            return None
        try:
            return Encoder(compile_tables(self.path, self.library), lambda: self.library)
        except UnsupportedTokenizerError:
            return None

    def counts(self, texts: list[str], special: bool) -> list[int]:
        """How many tokens the texts have, those that stand around every text too where ``special``."""
        lengths = [0 if len(text) <= LONG_TEXT else self._count(text, special) for text in texts]
        short = [at for at, text in enumerate(texts) if not lengths[at]]
        encodings = self.library.encode_batch_fast([texts[at] for at in short], add_special_tokens=special)
        for at, encoding in zip(short, encodings, strict=True):
            lengths[at] = len(encoding)
        return lengths

    def _count(self, text: str, special: bool) -> int:
        """Tokens of a long text; 0 where only the library can tell."""
        if self.encoder is None:
            return 0
        ids, _ = self.encoder.encode([text.encode()])
        return len(ids) + (int(self.library.num_special_tokens_to_add(False)) if special else 0)

    def encode(self, text: str) -> EncodedText:
        """The tokens of a text."""
        if self.encoder is None:
            whole = self._encode_piece(text, 0)
            return EncodedText(whole[0], lambda tokens: (whole[1][tokens], whole[2][tokens]))
        pieces = list(self._pieces(text))
        found = [self.ids([text[start:end]])[0] for start, end in pieces]
        edges = np.concatenate([[0], np.cumsum([len(ids) for ids in found])])

        def places(tokens: Integers) -> tuple[Integers, Integers]:
            columns = np.empty((2, len(tokens)), dtype=np.int64)
            owners = np.searchsorted(edges, tokens, side="right") - 1
            for piece in np.unique(owners).tolist():
                start, end = pieces[piece]
                _, *of_piece = self._encode_piece(text[start:end], start)
                mine = owners == piece
                for column, known in zip(columns, of_piece, strict=True):
                    column[mine] = known[tokens[mine] - edges[piece]]
            return columns[0], columns[1]

        return EncodedText(np.concatenate(found), places)

    def ids(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Integers]:
        """Ids of all texts, one after the other, and where those of each begin, [T + 1]."""
        if self.encoder is not None:
            ids, edges = self.encoder.encode([text.encode() for text in texts])
            return ids.astype(np.int32), edges
        found = [each.ids for each in self.library.encode_batch_fast(texts, add_special_tokens=False)]
        edges = np.concatenate([[0], np.cumsum([len(ids) for ids in found])])
        return np.array(list(chain.from_iterable(found)), dtype=np.int32), edges

    def _pieces(self, text: str) -> Iterable[tuple[int, int]]:
        return pieces_of_words(text, PLACED_TEXT) if self._cuts else [(0, len(text))]

    @cached_property
    def _cuts(self) -> bool:
        added = self.library.get_added_tokens_decoder().values()
        return self.encoder is not None and not any(BETWEEN_WORDS.search(token.content) for token in added)

    def _encode_piece(self, text: str, first: int) -> Tokens:
        word = self._encode_word(text) if len(text) > 2 * LONG_TEXT and self.encoder is not None else None
        if word is not None:
            return word[0], word[1] + np.int32(first), word[2] + np.int32(first)
        encoding = self.library.encode(text, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2) + np.int32(first)
        return np.array(encoding.ids, dtype=np.int32), offsets[:, 0], offsets[:, 1]

    def _encode_word(self, text: str) -> Tokens | None:
        """A text that nothing breaks; None for any other: the library leaves out white space, undoes normalisation."""
        assert self.encoder is not None
        data = text.encode()
        ids, _ = self.encoder.encode([data])
        ends = np.cumsum(self._token_bytes[ids], dtype=np.int64)
        if any(map(str.isspace, text)) or (len(ends) and ends[-1] != len(data)):
            return None
        characters = np.cumsum((np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80, dtype=np.int32)
        behind = characters[ends - 1]
        starts = characters[ends - self._token_bytes[ids]] - 1
        return ids.astype(np.int32), starts.astype(np.int32), behind

    @cached_property
    def _token_bytes(self) -> npt.NDArray[np.int64]:
        """[ids] bytes that a token stands for; every byte is a character of its name, but in added tokens."""
        vocabulary = self.library.get_vocab(with_added_tokens=True)
        sizes = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
        for name, number in vocabulary.items():
            sizes[number] = len(name)
        for number, token in self.library.get_added_tokens_decoder().items():
            sizes[number] = len(token.content.encode())
        return sizes


def read_tokenizer(files: tuple[Path, ...]) -> LoadedTokenizer:
    """The tokenizer of a file of the package tokenizers."""
    from tokenizers import Tokenizer

    (path,) = files
    try:
        return LoadedTokenizer(Tokenizer.from_file(str(path)), path)
    except Exception as error:  # the package raises Exception itself
        raise UserError(f"not a tokenizer: {error}", where=path, fix="name a tokenizer.json") from error


def _enter(name: str, type_of_span: str, stripped: bool, made_for: str) -> None:
    def count(batch: Batch, resource: LoadedTokenizer) -> Iterator[Spans]:
        texts = [text.strip() for text in batch.texts] if stripped else batch.texts
        # Blank texts have no token even where the tokenizer adds one to every text.
        counts = resource.counts(texts, special=stripped)
        counts = [number if text or not stripped else 0 for number, text in zip(counts, texts, strict=True)]
        yield whole_documents(batch, type_of_span, counts)

    of_what = "the text without white space at its ends" if stripped else "the text"
    count.__doc__ = f"Tokens of {of_what}, by the tokenizer given."
    source = f"a tokenizer, such as {made_for}, as in allenai/dolma"
    tagger(name, types=(type_of_span,), source=source, need=TOKENIZER, load=read_tokenizer)(count)


_enter("dolma_v1_tokenizer", "length", True, "allenai/gpt-neox-olmo-dolma-v1_5")
_enter("dolma_v2_tokenizer", "length", True, "allenai/dolma2-tokenizer")
_enter("tokenizers_EleutherAI_GPT_NeoX_20B", "tokens", False, "EleutherAI/gpt-neox-20b")
_enter("tokenizers_AI2_OLMo_v1", "tokens", False, "allenai/eleuther-ai-gpt-neox-20b-pii-special")
