"""Repetitions of characters and tokens on small texts with exact values."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tagger_scores import scores_of
from tokenizers import Tokenizer, models, pre_tokenizers

from dolma_data.kernels.repetitions import find_periods
from dolma_data.taggers import token_counts
from dolma_data.taggers.token_counts import read_tokenizer

PATTERN = re.compile(r"(.+?)(\s?\1){3,}")
PIECES = st.sampled_from(["a", "b", "ab", " ", "\n", "é", "a ", "abcdefghij", "日本語の長い文字列です ", "\u3000"])


@given(st.lists(PIECES, max_size=40).map("".join))
def test_repetitions_are_the_matches_of_the_pattern(text: str) -> None:
    expected = [(*match.span(), match[0].count(match[1])) for match in PATTERN.finditer(text)]
    assert scores_of("repetitions_v1", text).get("repetition", []) == expected


@given(PIECES, st.integers(1, 30), st.text("ab \n", max_size=20))
def test_long_units_are_found_wherever_they_stand(unit: str, times: int, around: str) -> None:
    text = around + unit * times + around
    expected = [(*match.span(), match[0].count(match[1])) for match in PATTERN.finditer(text)]
    assert scores_of("repetitions_v1", text).get("repetition", []) == expected


@pytest.mark.parametrize("size", [2000, 2047, 2048, 2049, 5003])
@pytest.mark.parametrize("separator", ["", " ", "\n"])
@pytest.mark.parametrize("times", [3, 4, 6])
def test_units_of_thousands_of_characters(size: int, separator: str, times: int) -> None:
    unit = "".join(np.random.default_rng(size).choice(list("abcdefgé日"), size))
    before = "".join(np.random.default_rng(1).choice(list("hijk"), 37))
    text = before + separator.join([unit] * times) + before + unit[:50] * 4 + before
    expected = [(*match.span(), match[0].count(match[1])) for match in PATTERN.finditer(text)]
    assert scores_of("repetitions_v1", text)["repetition"] == expected
    assert any(end - start >= times * size for start, end, _ in expected) == (times > 3)


def test_paragraphs_repeat_on_their_own() -> None:
    text = "no\nho ho ho ho\nho\n"
    assert scores_of("repetitions_v1", text) == {
        "repetition": [(3, 17, 5.0)],
        "doc_max_score_repetition": [(0, 18, 5.0)],
        "doc_max_length_repetition": [(0, 18, 14.0)],
        "doc_frac_repetition": [(0, 18, 14 / 18)],
    }
    assert scores_of("paragraph_repetitions_v1", text)["repetition"] == [(3, 14, 4.0)]


@pytest.mark.parametrize(
    ("tokens", "runs"),
    [
        ([1, 1, 1], [(0, 3, 3)]),
        ([1, 1, 2], []),
        ([9, 1, 2, 1, 2, 1, 2, 8], [(1, 7, 3)]),
        ([1, 1, 1, 1, 1, 1], [(0, 6, 6), (0, 6, 3)]),
        ([5, 1, 1, 1, 5], [(1, 4, 3)]),
        ([], []),
    ],
)
def test_periods_of_tokens(tokens: list[int], runs: list[tuple[int, int, int]]) -> None:
    assert [tuple(run) for run in find_periods(np.array(tokens, dtype=np.int32), 13).tolist()] == runs


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A tokenizer of whole words."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "ho": 1, "no": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_repeated_tokens_with_their_places(words: Path) -> None:
    text = "no ho ho ho\nno no no"
    assert scores_of("tokenizer_repetitions_v1", text, words)["repetition"] == [(3, 11, 3.0), (12, 20, 3.0)]
    assert scores_of("paragraph_tokenizer_repetitions_v1", text, words)["repetition"] == [(3, 11, 3.0), (12, 20, 3.0)]
    # Two periods of one run; the second version keeps the longer one alone.
    six = "ho ho ho ho ho ho"
    assert scores_of("tokenizer_repetitions_v1", six, words)["repetition"] == [(0, 17, 6.0), (0, 17, 3.0)]
    assert scores_of("tokenizer_repetitions_v2r2", six, words) == {
        "repetition": [(0, 17, 6.0)],
        "doc_max_score_repetition": [(0, 17, 6.0)],
        "doc_max_length_repetition": [(0, 17, 17.0)],
        "doc_frac_repetition": [(0, 17, 1.0)],
    }
    assert scores_of("tokenizer_repetitions_v2r2", "no ho", words) == {}
    assert scores_of("tokenizer_repetitions_v1", "no ho", words)["doc_max_score_repetition"] == [(0, 5, 0.0)]


def test_lengths_in_tokens(words: Path) -> None:
    assert scores_of("dolma_v1_tokenizer", " ho no\n", words) == {"length": [(0, 7, 2.0)]}
    assert scores_of("tokenizers_AI2_OLMo_v1", "ho what", words) == {"tokens": [(0, 7, 2.0)]}


def test_long_texts_have_the_library_s_tokens(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_counts, "LONG_TEXT", 40)
    monkeypatch.setattr(token_counts, "PLACED_TEXT", 40)
    texts = [
        "The cats, we are told; sat. " * 9 + "漢字漢字。漢字 " * 9 + "e\u0301tude " * 9 + "12 34\n\n" * 20,
        "ab漢é🤦🏽" * 30,  # characters of several tokens, nothing between them
        "e\u0301" * 60,
        "|||EMAIL_ADDRESS|||" * 9,
        " leading, " + "x" * 100 + "<|endoftext|>" * 9,
    ]
    for name in ("allenai_gpt-neox-olmo-dolma-v1_5", "allenai_eleuther-ai-gpt-neox-20b-pii-special", "allenai_dolma2"):
        tokenizer = read_tokenizer((data_dir / "tokenizers" / f"{name}.json",))
        assert tokenizer.encoder is not None
        for text in texts:
            expected = tokenizer.library.encode(text, add_special_tokens=False)
            encoded = tokenizer.encode(text)
            assert encoded.ids.tolist() == expected.ids
            starts, ends = encoded.places(np.arange(len(encoded.ids)))
            assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == expected.offsets
        for special in (False, True):
            lengths = [len(each.ids) for each in tokenizer.library.encode_batch(texts, add_special_tokens=special)]
            assert tokenizer.counts(texts, special) == lengths


def test_long_texts_of_other_tokenizers_are_encoded_whole(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_counts, "LONG_TEXT", 4)
    tokenizer = read_tokenizer((words,))
    assert tokenizer.encoder is None
    assert tokenizer.counts(["ho no ho", "ho"], special=False) == [3, 1]
    encoded = tokenizer.encode("ho no ho")
    assert encoded.ids.tolist() == [1, 2, 1]
    assert [column.tolist() for column in encoded.places(np.arange(3))] == [[0, 3, 6], [2, 5, 8]]


def test_places_are_asked_of_the_pieces_that_hold_repeated_tokens(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = data_dir / "tokenizers" / "allenai_dolma2.json"
    text = "The cats sat there. " * 3 + "ho ho ho ho\n" + "Nothing said the king of France. "
    names = ("tokenizer_repetitions_v1", "paragraph_tokenizer_repetitions_v1", "tokenizer_repetitions_v2r2")
    whole = [scores_of(name, text, file) for name in names]
    assert (59, 71, 4.0) in whole[1]["repetition"]
    monkeypatch.setattr(token_counts, "PLACED_TEXT", 10)
    placed: list[str] = []
    encode = token_counts.LoadedTokenizer._encode_piece

    def counted(self: token_counts.LoadedTokenizer, piece: str, first: int) -> token_counts.Tokens:
        placed.append(piece)
        return encode(self, piece, first)

    monkeypatch.setattr(token_counts.LoadedTokenizer, "_encode_piece", counted)
    assert [scores_of(name, text, file) for name in names] == whole
    assert placed
    assert not any("king" in piece for piece in placed)
