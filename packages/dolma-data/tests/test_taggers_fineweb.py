from __future__ import annotations

import pytest

from dolma_data.batch import Batch
from dolma_data.taggers.fineweb import fineweb_v1

LONG = "This line has rather more than thirty characters"


def score(text: str) -> dict[str, float]:
    batch = Batch([{"text": text}])
    return {spans.type: spans.scores[0] for spans in fineweb_v1(batch) if len(spans.scores)}


def test_lines_are_judged_by_their_end_and_length() -> None:
    found = score(f"{LONG}.\n\nShort one。\nNo end\n  \n{LONG}")
    assert found["fraction_of_lines_ending_with_punctuation"] == 2 / 4
    assert found["fraction_of_short_lines"] == 2 / 4


def test_characters_of_later_copies_count_as_repeated() -> None:
    assert score("ab\nab\nab\ncd")["fraction_of_characters_in_repeated_lines"] == 4 / 8


def test_line_breaks_are_counted_by_word() -> None:
    assert score("a b\nc d\n\n")["line_breaks_per_word"] == 3 / 4


@pytest.mark.parametrize("text", ["", " \n "])
def test_a_text_without_words_has_no_value(text: str) -> None:
    assert score(text) == {}
