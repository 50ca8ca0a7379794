"""Where the tokens of a document stand in its text, exactly, though the tokenizer normalises before it encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..kernels.pretokens import COMPOSING, UNKNOWN
from .byte_pairs import byte_names, character_kinds


def character_spans(text: str, ids: Sequence[int], tokenizer: Any) -> npt.NDArray[np.int64]:
    """The code points of ``text`` that each of its ``ids`` (without BOS and EOS) stands for, [T, 2], end exclusive.

    A token that holds a part of a character's bytes stands for the whole character, one that holds a composed
    character for everything that was composed; so neighbours may overlap, and together they cover the text. The
    tokenizer is a byte-level one of the tokenizers library. Raises UserError where the ids are not those of the text.
    """
    normaliser = tokenizer.normalizer
    pieces = _pieces(text) if normaliser is not None else [(0, len(text))]
    normal: list[str] = []
    starts: list[npt.NDArray[np.int64]] = []  # for every character of the normal form, where it comes from
    ends: list[npt.NDArray[np.int64]] = []
    for start, end in pieces:
        raw = text[start:end]
        form = raw if normaliser is None else normaliser.normalize_str(raw)
        normal.append(form)
        if form == raw:
            starts.append(np.arange(start, end))
            ends.append(np.arange(start + 1, end + 1))
        else:
            starts.append(np.full(len(form), start))
            ends.append(np.full(len(form), end))
    encoded = "".join(normal).encode()
    values = [_bytes_of(token, tokenizer) for token in ids]
    if b"".join(values) != encoded:
        raise UserError("the ids are not those of the text", fix="give the text as it was encoded, without BOS and EOS")
    begins_character = (np.frombuffer(encoded, dtype=np.uint8) & 0xC0) != 0x80
    character_of_byte = np.cumsum(begins_character) - 1
    last = np.cumsum([len(value) for value in values], dtype=np.int64)
    first = np.concatenate([[0], last[:-1]]).astype(np.int64)[: len(values)]
    if not len(values):
        return np.empty((0, 2), dtype=np.int64)
    begin, end_of = np.concatenate(starts), np.concatenate(ends)
    return np.stack([begin[character_of_byte[first]], end_of[character_of_byte[last - 1]]], axis=1)


def _pieces(text: str) -> list[tuple[int, int]]:
    """Pieces that are normalised independently of each other: those that change are a character and what composes."""
    kinds = character_kinds()
    inner = [place for place, character in enumerate(text) if kinds[ord(character)] & (COMPOSING | UNKNOWN)]
    pieces = []
    done = 0
    for place in inner:
        if place < done:
            continue
        start = max(place - 1, done)  # the character before may take this one in
        end = place + 1
        while end < len(text) and kinds[ord(text[end])] & (COMPOSING | UNKNOWN):
            end += 1
        if done < start:
            pieces.append((done, start))
        pieces.append((start, end))
        done = end
    if done < len(text):
        pieces.append((done, len(text)))
    return pieces


def _bytes_of(token: int, tokenizer: Any) -> bytes:
    added = tokenizer.get_added_tokens_decoder().get(token)
    if added is not None:
        return str(added.content).encode()
    return bytes(_BYTES[character] for character in tokenizer.id_to_token(token))


_BYTES = {name: byte for byte, name in enumerate(byte_names())}
