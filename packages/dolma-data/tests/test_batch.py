from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.attributes import encode_rows
from dolma_data.batch import Batch, RowSizes, TooManySpansError, listed_spans, whole_documents
from dolma_data.kernels.characters import ALPHANUMERIC, DIGIT, LETTER, LINE_BREAK, SPACE, WORD, character_classes
from dolma_data.kernels.units import HAS_LETTER, HAS_SYMBOL

WHITE_SPACE = " \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
pieces = st.sampled_from([*WHITE_SPACE, "a", "bc", "#", "…", "é", "1", "日本", "🎉", "ا", "\u200b", "\x00"])
texts = st.lists(st.one_of(st.lists(pieces, max_size=20).map("".join), st.text(max_size=20)), max_size=4)


def batch_of(*given_texts: str) -> Batch:
    return Batch([{"id": str(k), "source": "s", "text": text} for k, text in enumerate(given_texts)])


@given(texts)
def test_words_are_those_of_str_split(given_texts: list[str]) -> None:
    words = batch_of(*given_texts).words
    expected = [text.split() for text in given_texts]
    assert words.first.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    flat = [word for one in expected for word in one]
    assert words.lengths.tolist() == [len(word) for word in flat]
    assert (words.flags & HAS_LETTER).astype(bool).tolist() == [any(map(str.isalpha, word)) for word in flat]
    assert (words.flags & HAS_SYMBOL).astype(bool).tolist() == ["#" in word or "…" in word for word in flat]
    by_hash = dict(zip(words.hashes.tolist(), flat, strict=True))
    assert [by_hash[value] for value in words.hashes.tolist()] == flat
    assert len(by_hash) == len(set(flat))


@given(texts)
def test_lines_are_those_of_splitting_at_newlines(given_texts: list[str]) -> None:
    batch = batch_of(*given_texts)
    lines = batch.lines
    for document, text in enumerate(given_texts):
        which = range(lines.first[document], lines.first[document + 1])
        found = [batch.text_of(int(lines.starts[k]), int(lines.ends[k])) for k in which]
        assert found == text.split("\n")
        assert [text[lines.characters[k] :].startswith(line) for k, line in zip(which, found, strict=True)]
        assert [int(lines.characters[k]) for k in which] == [
            sum(len(line) + 1 for line in found[:k]) for k in range(len(found))
        ]


@given(texts)
def test_lengths_are_code_points(given_texts: list[str]) -> None:
    batch = batch_of(*given_texts)
    assert batch.lengths.tolist() == [len(text) for text in given_texts]


@pytest.mark.parametrize("character", [*"aé日١9_ 🎉…", "\u2028", "\x1c", "\x85", "\u0901"])
def test_character_classes_are_those_of_python(character: str) -> None:
    kind = character_classes()[ord(character)]
    assert bool(kind & LETTER) == character.isalpha()
    assert bool(kind & ALPHANUMERIC) == character.isalnum()
    assert bool(kind & DIGIT) == character.isdecimal()
    assert bool(kind & SPACE) == character.isspace()
    assert bool(kind & LINE_BREAK) == (len(("x" + character + "x").splitlines()) == 2)


def test_a_combining_mark_belongs_to_a_word() -> None:
    assert character_classes()[0x0901] & WORD


def test_whole_documents_skips_those_outside_the_mask() -> None:
    spans = whole_documents(batch_of("ab", "日本語", ""), "t", [1.0, 2.0, 3.0], where=[True, False, True])
    assert (spans.documents.tolist(), spans.starts.tolist(), spans.ends.tolist()) == ([0, 2], [0, 0], [2, 0])
    assert spans.scores.tolist() == [1.0, 3.0]


def test_no_spans_are_columns_without_rows() -> None:
    assert [len(column) for column in (listed_spans("t", []).documents, listed_spans("t", []).scores)] == [0, 0]


@given(texts)
def test_words_are_counted_as_they_are_found(given_texts: list[str]) -> None:
    assert batch_of(*given_texts).word_counts.tolist() == [len(text.split()) for text in given_texts]


@given(texts)
def test_giant_texts_are_encoded_in_parts_to_the_same_bytes(given_texts: list[str]) -> None:
    expected = batch_of(*given_texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dolma_data.batch.PART", 2)
        found = batch_of(*given_texts)
        assert found.buffer.tobytes() == expected.buffer.tobytes() == "".join(given_texts).encode()
        assert found.offsets.tolist() == expected.offsets.tolist()


places = st.integers(0, 10**7)


@given(st.lists(st.tuples(places, places, st.integers(0, 10**5)), max_size=20))
def test_the_least_size_of_a_row_is_never_above_its_size(rows: list[tuple[int, int, int]]) -> None:
    spans = listed_spans("x", [(0, start, end, score / 10**5) for start, end, score in rows])
    sizes = RowSizes(2)
    sizes.add(spans.documents, spans.starts, spans.ends)
    (row,) = encode_rows([{"id": "1", "source": "s"}], [("x", spans)])
    assert sizes.least[1] == 0
    assert len(row) - 45 - len("100000.0,") * len(rows) <= sizes.least[0] <= len(row)


def test_a_row_past_the_limit_names_its_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dolma_data.batch.MAX_LINE_BYTES", 20)
    sizes = RowSizes(3)
    spans = listed_spans("x", [(0, 0, 9, 0.5), (1, 0, 10, 0.5), (1, 10, 20, 0.5)])
    sizes.add(spans.documents[:2], spans.starts[:2], spans.ends[:2])
    with pytest.raises(TooManySpansError) as caught:
        sizes.add(spans.documents[2:], spans.starts[2:], spans.ends[2:])
    assert caught.value.document == 1
