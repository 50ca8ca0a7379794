"""Encoding with a byte-level BPE ``tokenizer.json``: the ids of the tokenizers library, several times as fast.

What the library does for each text (added tokens, Unicode normalisation, cutting, merging) is compiled into tables
once and done for whole batches by the loops of ``kernels.byte_pairs``. Only the shapes of tokenizer that
:func:`compile_tables` names are taken; what a character is to the cutting expressions is asked of the library itself,
and so are the normal forms, so that no second Unicode version comes in.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ..files import writing
from ..kernels.byte_pairs import LONG_WORD, NO_ID, PADDING, ROW, encode_texts, fill_pairs
from ..kernels.pretokens import (
    COMPOSING,
    LATER,
    LATER_LINE_ENDS_TAKE_INDENTATION,
    LATER_SIGNS_TAKE_LINE_ENDS,
    LETTER,
    NUMBER,
    SPACE,
    UNKNOWN,
    text_flags,
)

Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

MEMORY = 1 << 17  # places for words that were merged before, 64 bytes each
LAST_ASSIGNED = 0x3FFFF  # beyond are only tags, selectors and private use: nothing that the expressions name
NORMALISED_TOGETHER = 1 << 16  # bytes
MERGED_TOGETHER = 1 << 20  # bytes of a word
NOT_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that some vocabularies leave out
LARGEST_TRIE = 1 << 14  # nodes, 1 KB each
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)", "(?i:'s|'t|'re|'ve|'m|'d|'ll)")
_DIGITS = {r"\p{N}": 1, r"\p{N}{1,2}": 2, r"\p{N}{1,3}": 3}
_SIGNS = {r" ?[^\s\p{L}\p{N}]+": 0, r" ?[^\s\p{L}\p{N}]+[\r\n]*": LATER_SIGNS_TAKE_LINE_ENDS}
_LINE_ENDS = {r"\s*[\r\n]+": 0, r"\s*[\r\n]+[ \t]*": LATER_LINE_ENDS_TAKE_INDENTATION}
# Every expression that the kernels know: its cut and how many digits it keeps together.
CUTS = {GPT2: (0, 1)} | {
    rf"{contractions}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}|{signs}|{line_ends}|\s+(?!\S)|\s+": (
        LATER | takes | indents,
        number,
    )
    for contractions in _CONTRACTIONS
    for digits, number in _DIGITS.items()
    for signs, takes in _SIGNS.items()
    for line_ends, indents in _LINE_ENDS.items()
}


class UnsupportedTokenizerError(Exception):
    """A tokenizer that only the library can encode with; the text says what it has."""


@dataclass(frozen=True)
class Trie:
    """Added tokens as a trie of bytes; see ``kernels.pretokens.find_added``."""

    pairs: npt.NDArray[np.bool_]  # [65536]
    children: npt.NDArray[np.int32]  # [nodes, 256]
    ids: npt.NDArray[np.int32]  # [nodes]


@dataclass(frozen=True)
class Tables:
    """A tokenizer as arrays."""

    settings: npt.NDArray[np.int64]  # cut, digits kept together, whether text is brought to NFC
    kinds: npt.NDArray[np.uint8]  # [0x110000]
    byte_ids: npt.NDArray[np.int32]  # [256]
    keys: npt.NDArray[np.uint64]  # [places] pairs of ids
    values: npt.NDArray[np.int64]  # [places] rank and merged id
    raw_pairs: npt.NDArray[np.bool_]  # added tokens found before normalisation
    raw_children: npt.NDArray[np.int32]
    raw_ids: npt.NDArray[np.int32]
    pairs: npt.NDArray[np.bool_]  # those found after it
    children: npt.NDArray[np.int32]
    added_ids: npt.NDArray[np.int32]

    def save(self, path: Path) -> None:
        """Write the arrays, so that other processes need not make them again."""
        with writing(path):
            np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: Path) -> Tables:
        """Tables as :meth:`save` wrote them."""
        with np.load(path) as arrays:
            return Tables(**arrays)


class Encoder:
    """Encode batches of texts; remembers words between them. ``library`` loads the library's tokenizer."""

    def __init__(self, tables: Tables, library: Callable[[], Any]) -> None:
        self.tables = tables
        self.library = library
        self.cut, self.digits, self.normalise = tables.settings.tolist()
        self.finds_raw = bool((tables.raw_ids >= 0).any())
        self.memory = np.full((MEMORY, ROW), np.iinfo(np.uint64).max, dtype=np.uint64)

    def encode(self, texts: Sequence[bytes]) -> tuple[Ids, Offsets]:
        """The ids of all texts (UTF-8), and where those of each begin, [I] and [D + 1]; no special tokens are added."""
        buffer, offsets = join(texts)
        left: dict[int, Ids] = {}  # texts that only the library can encode
        if self.normalise:
            changed = self._normal_forms(texts, buffer, offsets)
            if self.finds_raw:  # the library normalises what stands between those tokens, piece by piece
                for text in changed:
                    ids = self.tokenizer.encode(texts[text].decode(), add_special_tokens=False).ids
                    left[text], changed[text] = np.array(ids, dtype=np.uint32), b""
            if changed:
                del buffer
                buffer, offsets = join([changed.get(text, value) for text, value in enumerate(texts)])
        ids, firsts = self._run(buffer, offsets)
        return _insert(ids, firsts, left) if left else (ids, firsts)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the library, for texts that the loops leave to it."""
        return self.library()

    def _normal_forms(self, texts: Sequence[bytes], buffer: Bytes, offsets: Offsets) -> dict[int, bytes]:
        """NFC of the texts that are not in it, as the library has it."""
        flags = np.zeros(len(texts), dtype=np.uint8)
        text_flags(buffer, offsets, self.tables.kinds, flags)
        forms = {}
        for text in np.flatnonzero(flags).tolist():
            form = self._normal_form(texts[text], bool(flags[text] & UNKNOWN))
            if form is not None:
                forms[text] = form
        return forms

    def _normal_form(self, text: bytes, unknown: bool) -> bytes | None:
        """None where the text is in NFC; ``unknown`` says that this Python cannot tell. The library's notes take many
        times the text, so it is given small pieces."""
        parts = []
        changed = False
        start = 0
        while start < len(text):
            end = start + NORMALISED_TOGETHER
            while end < len(text) and text[end] >= 0x80:  # an ASCII character composes with nothing before it
                end += 1
            piece = text[start:end]
            characters = piece.decode()
            if unknown or not unicodedata.is_normalized("NFC", characters):
                form = self.tokenizer.normalizer.normalize_str(characters)
                changed |= form != characters
                piece = form.encode()
            parts.append(piece)
            start = end
        return b"".join(parts) if changed else None

    def _run(self, buffer: Bytes, offsets: Offsets) -> tuple[Ids, Offsets]:
        tables = self.tables
        ids = np.empty(len(buffer), dtype=np.uint32)  # no text has more ids than bytes
        firsts = np.zeros_like(offsets)
        longest = int(np.diff(offsets).max(initial=0))
        encode_texts(
            buffer,
            offsets,
            tables.kinds,
            self.cut,
            self.digits,
            (tables.byte_ids, tables.keys, tables.values),
            (tables.raw_pairs, tables.raw_children, tables.raw_ids),
            (tables.pairs, tables.children, tables.added_ids),
            self.memory,
            # Pages that are not written to cost nothing.
            (
                np.empty(LONG_WORD, dtype=np.int64),
                *(np.empty(longest, dtype=np.int32) for _ in range(3)),
                np.empty(2 * longest, dtype=np.int64),
                MERGED_TOGETHER,
            ),
            ids,
            firsts,
        )
        return ids[: firsts[-1]], firsts


def _insert(ids: Ids, firsts: Offsets, left: dict[int, Ids]) -> tuple[Ids, Offsets]:
    """Put the ids of some texts, which have none yet, in their places."""
    lengths = np.diff(firsts)
    parts = []
    done = 0
    for text, found in sorted(left.items()):
        parts += [ids[done : firsts[text]], found]
        done = firsts[text]
        lengths[text] = len(found)
    return np.concatenate([*parts, ids[done:]]), np.concatenate([[0], np.cumsum(lengths)])


def join(encoded: Sequence[bytes]) -> tuple[Bytes, Offsets]:
    """One padded buffer of all texts, and their offsets [D + 1]."""
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join((*encoded, bytes(PADDING))), dtype=np.uint8), offsets


def compile_tables(path: Path, tokenizer: Any) -> Tables:
    """Tables of the ``tokenizer.json`` at ``path``, which ``tokenizer`` was loaded from and whose
    ``encode_special_tokens`` says whether text that spells a special token is text.

    Taken are BPE models without dropout, prefixes and suffixes whose vocabulary has every byte of UTF-8; NFC or no
    normaliser; the cuts of ``CUTS``, by the byte-level pre-tokenizer or a split before it; added tokens of any number
    that do not strip white space and need not be single words. Anything else raises UnsupportedTokenizerError.
    """
    content = msgspec.json.decode(path.read_bytes())
    model = content["model"]
    _check_model(model)
    normalise = _normalises(content.get("normalizer"))
    cut, digits = CUTS[_expression(content.get("pre_tokenizer"))]
    vocabulary: dict[str, int] = model["vocab"]
    names = byte_names()
    if not all(name in vocabulary for byte, name in enumerate(names) if byte not in NOT_IN_UTF8):
        raise UnsupportedTokenizerError("a vocabulary without some bytes")
    keys, values = _pairs(model["merges"], vocabulary)
    raw, normalised = _added(content.get("added_tokens") or [], tokenizer, normalise)
    raw_trie, trie = _trie(raw), _trie(normalised)
    return Tables(
        settings=np.array([cut, digits, normalise], dtype=np.int64),
        kinds=character_kinds(),
        byte_ids=np.array([vocabulary.get(name, NO_ID) for name in names], dtype=np.int32),
        keys=keys,
        values=values,
        raw_pairs=raw_trie.pairs,
        raw_children=raw_trie.children,
        raw_ids=raw_trie.ids,
        pairs=trie.pairs,
        children=trie.children,
        added_ids=trie.ids,
    )


def _check_model(model: dict[str, Any]) -> None:
    if model.get("type", "BPE") != "BPE" or "merges" not in model:
        raise UnsupportedTokenizerError(f"a model of type {model.get('type')}")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"):
        if model.get(key):
            raise UnsupportedTokenizerError(f"{key} of its model")
    if max(model["vocab"].values()) >= NO_ID:
        raise UnsupportedTokenizerError(f"ids of {NO_ID} and more")


def _normalises(normaliser: dict[str, Any] | None) -> bool:
    if normaliser is None or normaliser == {"type": "Sequence", "normalizers": []}:
        return False
    if normaliser["type"] != "NFC":
        raise UnsupportedTokenizerError(f"a normaliser of type {normaliser['type']}")
    return True


def _expression(pre_tokenizer: dict[str, Any] | None) -> str:
    """The expression that cuts the text."""
    steps = [pre_tokenizer or {"type": "no"}]
    if steps[0]["type"] == "Sequence":
        steps = steps[0]["pretokenizers"]
    last = steps[-1]
    if last["type"] != "ByteLevel" or last.get("add_prefix_space"):
        raise UnsupportedTokenizerError(f"a pre-tokenizer of type {last['type']}, or one that puts a space first")
    if len(steps) == 1 and last.get("use_regex", True):
        return GPT2
    if len(steps) != 2 or last.get("use_regex", True) or steps[0]["type"] != "Split":
        raise UnsupportedTokenizerError("several pre-tokenizers")
    expression = steps[0]["pattern"].get("Regex")
    keeps = (steps[0]["behavior"], bool(steps[0]["invert"])) in (("Isolated", False), ("Removed", True))
    if expression not in CUTS or not keeps:
        raise UnsupportedTokenizerError("a pre-tokenizer with an expression of its own")
    return str(expression)


def byte_names() -> list[str]:
    """The character that stands for each of the 256 bytes in vocabularies (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable} | {byte: chr(256 + k) for k, byte in enumerate(others)}
    return [names[byte] for byte in range(256)]


def _pairs(
    merges: Sequence[str | Sequence[str]], vocabulary: dict[str, int]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    lefts = np.array([vocabulary[left] for left, _ in pairs], dtype=np.int64)
    rights = np.array([vocabulary[right] for _, right in pairs], dtype=np.int64)
    merged = np.array([vocabulary[left + right] for left, right in pairs], dtype=np.int64)
    places = 1 << (2 * len(pairs) + 1).bit_length()
    keys = np.zeros(places, dtype=np.uint64)
    values = np.zeros(places, dtype=np.int64)
    fill_pairs(lefts, rights, merged, keys, values)
    return keys, values


def _added(
    tokens: Sequence[dict[str, Any]], tokenizer: Any, normalise: bool
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Ids of the added tokens found before and after normalisation; -2 for special ones whose text is to stay text."""
    from tokenizers import normalizers

    found: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
    for token in tokens:
        content = token["content"]
        if not content:
            continue
        is_text = token["special"] and tokenizer.encode_special_tokens
        if not is_text and (token["single_word"] or token["lstrip"] or token["rstrip"]):
            raise UnsupportedTokenizerError(f"the added token {content!r}, which strips white space or must be a word")
        if token["normalized"] and normalise:
            content = normalizers.NFC().normalize_str(content)
        number = -2 if is_text else tokenizer.token_to_id(token["content"])
        found[bool(token["normalized"])][content.encode()] = number
    return found


def _trie(tokens: dict[bytes, int]) -> Trie:
    pairs = np.zeros(1 << 16, dtype=np.bool_)
    children: list[dict[int, int]] = [{}]
    ids = [-1]
    for token, number in tokens.items():
        if len(token) == 1:
            pairs[token[0] << 8 : (token[0] + 1) << 8] = True
        else:
            pairs[token[0] << 8 | token[1]] = True
        node = 0
        for byte in token:
            if byte not in children[node]:
                children[node][byte] = len(children)
                children.append({})
                ids.append(-1)
            node = children[node][byte]
        ids[node] = number
    if len(children) > LARGEST_TRIE:
        raise UnsupportedTokenizerError(f"more than {LARGEST_TRIE} bytes of added tokens")
    table = np.zeros((len(children), 256), dtype=np.int32)
    for node, following in enumerate(children):
        for byte, child in following.items():
            table[node, byte] = child
    return Trie(pairs, table, np.array(ids, dtype=np.int32))


@cache
def character_kinds() -> npt.NDArray[np.uint8]:
    r"""Bits of every code point, [0x110000]: what ``\p{L}``, ``\p{N}`` and ``\s`` match, as the library sees it; what
    composes with its neighbours under NFC or may do so in a Unicode version that this Python does not know."""
    from tokenizers import Regex, pre_tokenizers

    points = np.array([point for point in range(LAST_ASSIGNED + 1) if not 0xD800 <= point <= 0xDFFF])
    text = "".join(map(chr, points.tolist()))
    kinds = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    for expression, kind in ((r"\p{L}+", LETTER), (r"\p{N}+", NUMBER), (r"\s+", SPACE)):
        matches = pre_tokenizers.Split(Regex(expression), "removed", invert=True)
        for _, (start, end) in matches.pre_tokenize_str(text):
            kinds[points[start:end]] |= kind
    # Second characters of canonical compositions.
    seconds = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))  # of Hangul syllables
    composing = []
    unknown = []
    for point, character in zip(points.tolist(), text, strict=True):
        if point < 0xC0:
            continue
        parts = unicodedata.decomposition(character)
        if parts and not parts.startswith("<") and " " in parts:
            seconds.add(int(parts.split()[1], 16))
        if unicodedata.combining(character) or not unicodedata.is_normalized("NFC", character):
            composing.append(point)
        if unicodedata.category(character) == "Cn":
            unknown.append(point)
    kinds[composing] |= COMPOSING
    kinds[sorted(seconds)] |= COMPOSING
    kinds[unknown] |= UNKNOWN
    kinds[LAST_ASSIGNED + 1 : 0xE0000] |= UNKNOWN
    return kinds
