"""The C4, personal data, code, length and language taggers on small texts with exact values."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tagger_scores import scores_of

from dolma_data.errors import UserError
from dolma_data.taggers import c4, find_tagger, tagger_names


def test_c4_flags_lines_and_documents() -> None:
    text = (
        "A fine line it is.\nNo end here\nTwo words.\n\n  function() { JavaScript }  \nLorem IPSUM said “hi there”?\n"
    )
    found = scores_of("c4_v2", text)
    lines = text.split("\n")
    starts = [sum(len(line) + 1 for line in lines[:k]) for k in range(len(lines) + 1)]
    whole = (0, len(text), 1.0)

    def line(k: int) -> tuple[int, int, float]:
        return (starts[k], min(starts[k + 1], len(text)), 1.0)

    assert found == {
        "has_curly_brace": [whole],
        "has_lorem_ipsum": [whole],
        "has_javascript": [whole],
        "lines_with_no_ending_punctuation": [line(1), line(3), line(4), line(6)],
        "lines_with_too_few_words": [line(2), line(3), line(6)],
        "line_count": [(0, len(text), 7.0)],
    }


def test_c4_offsets_hold_where_lower_case_is_longer() -> None:
    text = "İİİ büyük harf.\nkısa"  # each İ is two characters in lower case
    assert scores_of("c4_v2", text)["lines_with_too_few_words"] == [(16, 20, 1.0)]


@given(
    st.lists(st.sampled_from(["a", ".", "!", '"', " ", "\n", "\u3000", "日", "{", "\x1f"]), max_size=30).map("".join)
)
def test_c4_line_rules_are_those_of_plain_string_methods(text: str) -> None:
    unpunctuated, short = [], []
    start = 0
    for line in text.split("\n"):
        end = min(start + len(line) + 1, len(text))
        if not line.strip().endswith((".", "?", "!", '"')):
            unpunctuated.append((start, end, 1.0))
        if len(line.split()) < 3:
            short.append((start, end, 1.0))
        start = end
    found = scores_of("c4_v2", text)
    assert found.get("lines_with_no_ending_punctuation", []) == unpunctuated
    assert found.get("lines_with_too_few_words", []) == short
    assert ("has_curly_brace" in found) == ("{" in text)


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("What a DARN, silly thing.", True),
        ("darning socks", False),
        ("holy cow!", True),
        ("holy cows", False),
        ("nothing", False),
    ],
)
def test_words_of_the_list_count_between_word_boundaries(text: str, hit: bool, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("darn\nholy cow\n\n")
    assert ("has_naughty_word" in scores_of("c4_v2", text, words)) == hit
    assert "has_naughty_word" not in scores_of("c4_v2", text)


@given(st.text("Σσaİ '.\n\u3000\u0301", max_size=40))
def test_a_giant_text_is_lower_cased_in_parts_to_the_same_bytes(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c4, "PART", 3)
        assert b"".join(c4._lowered_parts(text)) == text.lower().encode()


def test_phrases_are_found_over_the_parts_of_a_giant_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c4, "PART", 8)
    words = tmp_path / "words.txt"
    words.write_text("holy cow\n")
    assert "has_naughty_word" in scores_of("c4_v2", "It is a HOLY cow that jumps.", words)
    assert "has_naughty_word" not in scores_of("c4_v2", "It is a HOLY cat that jumps.", words)


def test_an_empty_word_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\n")
    with pytest.raises(UserError, match="empty"):
        scores_of("c4_v2", "x", tmp_path / "words.txt")


ENGLISH = "This is a plain English sentence about the weather of today, and it goes on for a while.\nIt has two lines."
GERMAN = "Dies ist ein einfacher deutscher Satz über das Wetter von heute, und er geht noch ein wenig weiter."


def test_language_of_english_and_german() -> None:
    english = scores_of("ft_lang_id_en_doc_v2", ENGLISH)
    assert english["en"][0][:2] == (0, len(ENGLISH))
    assert english["en"][0][2] > 0.9
    assert english["en"][0][2] + english["not_en"][0][2] == pytest.approx(1)
    assert scores_of("ft_lang_id_en_doc_v2", GERMAN)["en"][0][2] < 0.1


def test_all_languages_by_code() -> None:
    found = {language: spans[0][2] for language, spans in scores_of("ft_lang_id_doc_v1", GERMAN).items()}
    assert max(found, key=lambda language: found[language]) == "de"
    assert sum(found.values()) == pytest.approx(1, abs=0.01)
    worth = scores_of("ft_lang_id_1e2", GERMAN)
    assert set(worth) == {language for language, score in found.items() if score > 0.01}
    assert worth["de"] == [(0, len(GERMAN), round(found["de"], 2))]


def test_an_unknown_tagger_tells_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean gopher_v2"):
        find_tagger("gopher2")


@pytest.mark.parametrize("name", tagger_names())
def test_every_tagger_says_what_it_computes_and_takes_an_empty_text(name: str) -> None:
    entry = find_tagger(name)
    assert entry.source
    assert entry.types
    assert entry.about.endswith(".")
    if entry.extra is None and (entry.need is None or entry.need.without):
        scores_of(name, "")
