from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.batch import Batch
from dolma_data.kernels import gopher_long
from dolma_data.taggers import gopher
from dolma_data.taggers.gopher import REQUIRED_WORDS, TYPES, gopher_v2

pieces = st.sampled_from(
    [
        *("a", "b", "the", "that", "a", "b", "#", "…", "* ", "- ", "é1", "日本", "wwwwwwwww" * 9),
        *("\n", "\n", "\n\n", " ", " ", " ", " ", "\t", "\u2028", "\x1c", "\xa0", "\u3000"),
    ]
)
documents = st.lists(st.lists(pieces, max_size=60).map("".join), min_size=1, max_size=3)


def scores_of(texts: list[str]) -> list[dict[str, float]]:
    batch = Batch([{"id": "", "source": "", "text": text} for text in texts])
    found: list[dict[str, float]] = [{} for _ in texts]
    for spans in gopher_v2(batch):
        for document, start, end, score in zip(
            spans.documents.tolist(), spans.starts.tolist(), spans.ends.tolist(), spans.scores.tolist(), strict=True
        ):
            assert (start, end) == (0, len(texts[document]))
            found[document][spans.type] = score
    return found


def reference(text: str) -> dict[str, float]:
    """The same measures with counters of tuples of words."""
    words = text.split()
    letters = sum(map(len, words))
    found: dict[str, float] = {}
    for n in range(2, 11):
        ngrams = Counter(zip(*[words[k:] for k in range(n)], strict=False))
        sizes = {ngram: count * sum(map(len, ngram)) for ngram, count in ngrams.items()}
        if ngrams and n < 5:
            found[f"fraction_of_characters_in_most_common_{n}grams"] = sizes[ngrams.most_common(1)[0][0]] / letters
        elif ngrams:
            repeated = sum(size for ngram, size in sizes.items() if ngrams[ngram] > 1)
            found[f"fraction_of_characters_in_duplicate_{n}grams"] = repeated / sum(sizes.values())
    count = max(len(words), 1)
    lines = re.split("\n+", text)
    copies = Counter(lines)
    return found | {
        "character_count": len(text),
        "word_count": len(words),
        "median_word_length": median(map(len, words)) if words else 0,
        "symbol_to_word_ratio": sum("#" in word or "…" in word for word in words) / count,
        "fraction_of_words_with_alpha_character": sum(any(map(str.isalpha, word)) for word in words) / count,
        "required_word_count": sum(word in REQUIRED_WORDS for word in words),
        "fraction_of_lines_starting_with_bullet_point": sum(line.startswith(("*", "-")) for line in lines) / len(lines),
        "fraction_of_lines_ending_with_ellipsis": sum(line.endswith("…") for line in lines) / len(lines),
        "fraction_of_duplicate_lines": sum(n for n in copies.values() if n > 1) / len(lines),
        "fraction_of_characters_in_duplicate_lines": sum(len(line) * n for line, n in copies.items() if n > 1)
        / max(letters, 1),
    }


@given(documents)
def test_values_are_those_of_counting_tuples_of_words(texts: list[str]) -> None:
    assert scores_of(texts) == [reference(text) for text in texts]


@contextmanager
def every_text_is_long(keys: int = 8, hashes: int = 1 << 20) -> Iterator[None]:
    """Texts are scored as those of many megabytes are, with tables of ``keys`` and at most so many hashes of words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gopher, "LONG_TEXT", 0)
        patch.setattr(gopher_long, "MOST_KEYS", keys)
        patch.setattr(gopher_long, "MOST_HASHES", hashes)
        yield


@given(documents, st.sampled_from([0, 3, 1 << 20]))
def test_values_of_long_texts_are_the_same(texts: list[str], hashes: int) -> None:
    with every_text_is_long(hashes=hashes):
        assert scores_of(texts) == [reference(text) for text in texts]


@pytest.mark.parametrize("hashes", [0, 1 << 20])
def test_many_ngrams_of_long_texts_are_counted_part_by_part(hashes: int) -> None:
    text = "\n".join(f"w{k % 97} x{k % 101}" for k in range(1200)) + " " + "long" * (1 << 14)
    with every_text_is_long(hashes=hashes):
        (scores,) = scores_of([text])
    assert scores == reference(text)


@pytest.mark.parametrize("hashes", [0, 1 << 20])
def test_ngrams_of_long_texts_are_found_across_the_windows_that_are_read_together(hashes: int) -> None:
    text = " ".join(f"w{k % 16001}" for k in range(40_000))
    with every_text_is_long(1 << 10, hashes):
        (scores,) = scores_of([text])
    assert scores == reference(text)


def test_values_of_a_small_text() -> None:
    (scores,) = scores_of(["* to be\n\nor not to be…\n* to be"])
    assert scores["character_count"] == 30
    assert scores["word_count"] == 10
    assert scores["median_word_length"] == 2
    assert scores["required_word_count"] == 5  # "be…" is another word
    assert scores["symbol_to_word_ratio"] == 0.1
    assert scores["fraction_of_lines_starting_with_bullet_point"] == 2 / 3
    assert scores["fraction_of_lines_ending_with_ellipsis"] == 1 / 3
    assert scores["fraction_of_duplicate_lines"] == 2 / 3
    assert scores["fraction_of_characters_in_duplicate_lines"] == 14 / 20
    assert scores["fraction_of_characters_in_most_common_2grams"] == 2 * 3 / 20  # "* to" comes first, "to be" as often
    assert scores["fraction_of_characters_in_duplicate_5grams"] == 0


def test_ngrams_of_short_texts_are_absent() -> None:
    for count in range(1, 12):
        (scores,) = scores_of([" ".join("abcdefghijkl"[:count])])
        sizes = [int(match.group(1)) for name in scores if (match := re.search(r"(\d+)grams", name))]
        assert sizes == [n for n in range(2, 11) if n <= count]


def test_a_text_of_many_words_fills_its_tables() -> None:
    text = " ".join(f"w{k % 977} x{k % 1009}" for k in range(20_000))
    (scores,) = scores_of([text])
    assert scores == reference(text)


@pytest.mark.parametrize("text", ["", "\n", "\n\n", " ", "x", "\nx\n"])
def test_edges_of_lines(text: str) -> None:
    (scores,) = scores_of([text])
    assert scores == reference(text)
    assert set(scores) <= set(TYPES)
    assert all(math.isfinite(score) for score in scores.values())


def test_more_words_than_one_table_holds_are_counted_part_by_part() -> None:
    count = 550_000
    words = [f"w{number:06}" for number in range(count)]
    columns = {spans.type: spans.scores for spans in gopher_v2(Batch([{"text": " ".join([*words, "the", *words])}]))}
    assert columns["word_count"].tolist() == [2 * count + 1]
    total = 2 * count * 7 + 3
    assert columns["fraction_of_characters_in_most_common_2grams"].tolist() == [2 * 14 / total]
    for n in (5, 10):
        within = 2 * (count - n + 1) * n * 7  # both copies; those over the middle word occur once
        over = sum(n * 7 - 4 for _ in range(n))
        expected = within / (within + over)
        assert columns[f"fraction_of_characters_in_duplicate_{n}grams"].tolist() == pytest.approx([expected])
