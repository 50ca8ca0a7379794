"""Tokenizers that pass over a part of the text are refused: what they leave out would count as fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from paloma_ppl.errors import UserError
from paloma_ppl.suite import SuiteDocument
from paloma_ppl.tokenizer import LoadedTokenizer, load_tokenizer
from paloma_ppl.windows import check_encodable, encode_documents

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(folder: Path, without: str = "") -> LoadedTokenizer:
    alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(without))
    tokenizer = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(alphabet)}, []))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return saved(tokenizer, folder)


def characters(folder: Path) -> LoadedTokenizer:
    return saved(Tokenizer(models.BPE({"a": 0, "b": 1}, [])), folder)


def unigram(folder: Path, fallback: bool = False) -> LoadedTokenizer:
    pieces = [("\u2581", -1.0), ("a", -2.0), ("<unk>", 0.0), *((name, -9.0) for name in BYTES)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return saved(tokenizer, folder)


def words(folder: Path) -> LoadedTokenizer:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "b": 2, "##a": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return saved(tokenizer, folder)


def saved(tokenizer: Tokenizer, folder: Path) -> LoadedTokenizer:
    tokenizer.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder)


@pytest.mark.parametrize(
    ("make", "text", "lost"),
    [
        (byte_level, "a\u00e9\U0001f600\u0301\u212b\x00\u200b\ufeff\ufffd \u2581\n", ""),
        (lambda folder: byte_level(folder, without="\u00a9"), "a\u00e9\u00e8 \n", "\u00e9"),  # whose second byte is A9
        (characters, "ab\u00e9\u4e2d \n", "\u00e9\u4e2d"),
        (unigram, "a \u00e9\u2581", "\u00e9"),
        (lambda folder: unigram(folder, fallback=True), "a \u00e9\u4e2d\ufffd", ""),
        (words, "ab c", "c"),
    ],
)
def test_characters_that_leave_no_trace_are_found(
    tmp_path: Path, make: Callable[[Path], LoadedTokenizer], text: str, lost: str
) -> None:
    assert make(tmp_path).unencodable(text) == set(lost)


def documents(*texts: str) -> list[SuiteDocument]:
    return [SuiteDocument(str(number), text, "s", "d") for number, text in enumerate(texts)]


def test_they_are_counted_before_anything_is_scored(tmp_path: Path) -> None:
    tokenizer = characters(tmp_path)
    check_encodable(documents("ab", "ba"), tokenizer)
    message = (
        r"cannot encode 2 characters, such as '\u00e9' \(U\+00E9\) in document 1 of s; 2 of 3 documents hold some "
        r".*falls back to bytes"
    )
    with pytest.raises(UserError, match=message):
        check_encodable(documents("ab", "a\u00e9", "\u00e9\u00e8"), tokenizer)


def test_a_word_that_is_unknown_as_a_whole_is_refused_as_well(tmp_path: Path) -> None:
    tokenizer: Any = words(tmp_path)
    check_encodable(documents("ab"), tokenizer)  # but "##b" is no piece
    with pytest.raises(UserError, match="unknown tokens in document 0 of s"):
        encode_documents(documents("ab"), tokenizer)
