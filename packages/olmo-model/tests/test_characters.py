from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from olmo_model.characters import TextSpans, read_texts
from olmo_model.tokens import Document, Tokens

TEXT = "the cat é 猫 sat"


class Held(Tokens):
    """One file with one document, without anything on disk."""

    def __init__(self, ids: list[int]) -> None:
        self.held = np.array(ids, dtype="<u2")
        self.dtype = np.dtype("<u2")
        self.vocab_size, self.eos_token_id = 300, 0

    def ids(self, file: int, start: int, end: int) -> np.ndarray:
        return self.held[start:end]


def spans_of(tokenizer: Tokenizer, ids: list[int]) -> tuple[TextSpans, Document]:
    spans = TextSpans(Held([*ids, 0]))
    spans.__dict__["_tokenizer"] = tokenizer
    return spans, Document(0, 0, 0, len(ids) + 1, "a", "a.jsonl", 1)


def test_a_character_belongs_to_every_token_with_one_of_its_bytes(tokenizer):
    ids = tokenizer.encode("é猫x", add_special_tokens=False).ids
    assert len(ids) == 6  # two bytes, three bytes, one
    spans, document = spans_of(tokenizer, ids)
    assert [spans.of_tokens(document, place, place + 1) for place in range(7)] == [
        [0, 1], [0, 1], [1, 2], [1, 2], [1, 2], [2, 3], [3, 3],
    ]  # fmt: skip
    assert spans.of_tokens(document, 1, 4) == [0, 2]


@given(st.text(st.sampled_from("a é猫\U0001f431e\u0301\n"), max_size=12), st.data())
def test_spans_of_tokens_are_those_of_the_decoded_bytes(tokenizer, text, data):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    spans, document = spans_of(tokenizer, ids)
    first = data.draw(st.integers(0, len(ids)))
    last = data.draw(st.integers(first, len(ids) + 1))
    lengths = [len(text.encode()) for text in text]
    owners = [place for place, length in enumerate(lengths) for _ in range(length)]  # character of every byte
    sizes = [len(tokenizer.id_to_token(number)) for number in ids]  # a character a byte
    begin, end = sum(sizes[:first]), sum(sizes[:last])
    expected = [owners[begin], owners[end - 1] + 1] if begin < end else None
    found = spans.of_tokens(document, first, last)
    if expected is not None:
        assert found == expected
        assert spans.in_source(document, text, first, last) == expected
    else:
        assert found[0] == found[1]


def test_characters_of_the_source_are_those_before_the_normaliser(tokenizer):
    composing = Tokenizer.from_str(tokenizer.to_str())
    composing.normalizer = normalizers.NFC()
    text = "cafe\u0301 cat"
    ids = composing.encode(text, add_special_tokens=False).ids
    spans, document = spans_of(composing, ids)
    e = spans.of_tokens(document, 0, len(ids))
    assert e == [0, 8]
    assert spans.in_source(document, text, 0, len(ids) + 1) == [0, 9]
    last = next(place for place in range(len(ids)) if spans.of_tokens(document, place, place + 1) == [3, 4])
    assert spans.in_source(document, text, 0, last + 2) == [0, 5]
    with pytest.raises(ValueError, match="not the one that was tokenised"):
        spans.in_source(document, text + "s", 0, 1)


COMPOSING = "a e\u0301\u0323\u00e9\u212b\u1100\u1161\u11a8\uac00\u09c7\u09be\u0344\ufb1d\n"


@given(st.text(st.sampled_from(COMPOSING), max_size=14))
def test_every_token_has_what_it_was_composed_of(tokenizer, text):
    """The normal form of what a run of tokens stands for is what they decode to, where it divides no character."""
    composing = Tokenizer.from_str(tokenizer.to_str())
    composing.normalizer = normalizers.NFC()
    ids = composing.encode(text, add_special_tokens=False).ids
    spans, document = spans_of(composing, ids)
    places = [spans.in_source(document, text, place, place + 1) for place in range(len(ids))]
    assert sorted({place for start, end in places for place in range(start, end)}) == list(range(len(text)))
    for first in range(len(ids)):
        for last in range(first + 1, len(ids) + 1):
            start, end = spans.in_source(document, text, first, last)
            assert (start, end) == (places[first][0], places[last - 1][1])
            decoded = composing.decode(ids[first:last])
            shared = (first and places[first - 1][1] > start) or (last < len(ids) and places[last][0] < end)
            if "\ufffd" not in decoded and not shared:
                assert composing.normalizer.normalize_str(text[start:end]) == decoded


def test_spaces_before_a_word_are_its_own_also_where_marks_compose(tokenizer):
    composing = Tokenizer.from_str(tokenizer.to_str())
    composing.normalizer = normalizers.NFC()
    text = "  cafe\u0301 the cat"
    ids = composing.encode(text, add_special_tokens=False).ids
    spans, document = spans_of(composing, ids)
    place = ids.index(composing.token_to_id("\u0120the"))
    assert spans.in_source(document, text, place, place + 1) == [7, 11]
    assert spans.in_source(document, text, 0, place) == [0, 7]
    assert spans.in_source(document, text, 0, 1)[0] == 0


def test_white_space_that_was_left_out_counts_in_the_source(tokenizer):
    spans, document = spans_of(tokenizer, tokenizer.encode("cat", add_special_tokens=False).ids)
    spans.tokens.stripped = True
    assert spans.in_source(document, "\n  cat ", 0, document.end) == [3, 6]


def test_a_text_that_cannot_be_read_is_none(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": {"text": "x"}, "source": "s"}\nnonsense\n{"body": 3}\n')
    wanted = [("a.jsonl", 1), ("a.jsonl", 2), ("a.jsonl", 3), ("a.jsonl", 9), ("b.jsonl", 1)]
    found = read_texts(tmp_path, wanted, "body.text")
    assert [None if text is None else (text.text, text.source) for text in map(found.get, wanted)] == [
        ("x", "s"), None, None, None, None,
    ]  # fmt: skip
