"""Lengths of documents and paragraphs on small texts with exact values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tagger_scores import scores_of


def test_lengths() -> None:
    assert scores_of("char_length_v1", "日本 x") == {"length": [(0, 4, 4.0)]}
    assert scores_of("bytes_length_v1", "日本 x") == {"bytes": [(0, 4, 8.0)]}


def test_words_of_paragraphs() -> None:
    assert scores_of("uniseg_length_paragraphs_with_doc_length_v1", "It's 3.5 — good.\n \nTwo words") == {
        "paragraph": [(0, 17, 5.0), (19, 28, 2.0)],
        "negative_paragraph": [(0, 17, -5.0), (19, 28, -2.0)],
        "document": [(0, 28, 7.0)],
        "negative_document": [(0, 28, -7.0)],
    }


# Cases of Unicode Standard Annex 29, section 4.1, each under the rule that it is about.
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\r\nb", 3),  # WB3
        ("👩\u200d👩\u200d👧 👍🏽", 3),  # WB3c, WB4
        ("a   b", 3),  # WB3d
        ("e\u0301te\u0301", 1),  # WB4
        ("can't", 1),  # WB6, WB7
        ("'tis'", 3),  # no letter outside of the quotes
        ('ש"ט', 1),  # WB7b, WB7c
        ("ש'", 1),  # WB7a
        ("a1b2", 1),  # WB8 to WB10
        ("3.14 1,000", 3),  # WB11, WB12
        ("3.", 2),
        ("カタカナ日本", 3),  # WB13
        ("a_b_1_カ", 1),  # WB13a, WB13b
        ("🇩🇪🇫🇷🇮", 3),  # WB15, WB16
        ("日本", 2),
        ("", 0),
        (" \n ", 0),
    ],
)
def test_words_are_those_of_unicode(text: str, words: int) -> None:
    assert scores_of("uniseg_length_v1", f" {text}\n")["length"] == [(0, len(text) + 2, words)]


def test_paragraphs_are_lines_with_their_newline() -> None:
    text = "Héllo you.\n\n \nend"
    assert scores_of("char_length_with_paragraphs_v1", text) == {
        "paragraph": [(0, 11, 11.0), (14, 17, 3.0)],
        "document": [(0, 17, 17.0)],
    }
    assert scores_of("whitespace_tokenizer_with_paragraphs_v1", text) == {
        "paragraph": [(0, 11, 3.0), (14, 17, 1.0)],
        "document": [(0, 17, 4.0)],
    }
    assert scores_of("uniseg_length_paragraphs_with_empty_v1", text)["paragraph"] == [
        (0, 11, 3.0), (11, 12, 0.0), (12, 14, 0.0), (14, 17, 1.0),
    ]  # fmt: skip
    assert scores_of("olmo_pretokenizer_with_paragraphs_v1", "a b!\n12") == {
        "paragraph": [(0, 5, 4.0), (5, 7, 2.0)],
        "document": [(0, 7, 6.0)],
    }


def test_a_newline_at_the_end_begins_no_paragraph() -> None:
    assert scores_of("uniseg_length_paragraphs_with_empty_v1", "a\n")["paragraph"] == [(0, 2, 1.0)]
    assert scores_of("uniseg_length_paragraphs_with_empty_v1", "") == {}


@given(st.text(max_size=30))
def test_stripped_length_is_that_of_strip(text: str) -> None:
    assert scores_of("char_length_strip_ws_v1", text) == {"length_no_ws": [(0, len(text), len(text.strip()))]}


def test_dolma_counts_one_token_too_many() -> None:
    assert scores_of("whitespace_tokenizer_v1", "a-b", differences=["token-count"]) == {"length": [(0, 3, 4.0)]}


@given(st.text(alphabet="ab 1,.\n。é漢\u0301'", max_size=60), st.integers(0, 40))
def test_a_long_text_is_split_by_parts_into_the_same_pieces(text: str, times: int) -> None:
    text += "'s" * 3 + "letters" * times
    whole = scores_of("olmo_pretokenizer_v1", text)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("token_counts", "length"):
            patch.setattr(f"dolma_data.taggers.{module}.LONG_TEXT", 3)
        assert scores_of("olmo_pretokenizer_v1", text) == whole
