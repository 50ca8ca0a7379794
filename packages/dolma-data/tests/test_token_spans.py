"""Spans of tokens in the text of a document."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from dolma_data.errors import UserError
from dolma_data.tokens.spans import character_spans

TEXTS = st.text(alphabet="ae \n\u0301\u0323\u030a\u1100\u1161\u11a8각한é\u212b\u0344😀<m>", max_size=20)


@pytest.fixture(scope="module", params=[True, False], ids=["nfc", "as it stands"])
def tokenizer(request):
    """Some merges within and across characters, an added token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["caféé eé aa 각각 한한"] * 3, trainer)
    made.add_tokens(["<m>"])
    if request.param:
        made.normalizer = normalizers.NFC()
    return made


def test_a_composed_character_stands_for_its_parts(tokenizer):
    text = "xe\u0323\u0301y😀<m>"
    ids = tokenizer.encode(text).ids
    spans = [text[start:end] for start, end in character_spans(text, ids, tokenizer)]
    whole = tokenizer.normalizer is not None
    marks = ["e\u0323\u0301"] * len("ẹ\u0301".encode()) if whole else ["e", *["\u0323"] * 2, *["\u0301"] * 2]
    assert spans == ["x", *marks, "y", *["😀"] * 4, "<m>"]


@given(TEXTS)
def test_spans_cover_the_text_and_hold_what_the_ids_decode_to(tokenizer, text):
    ids = tokenizer.encode(text).ids
    spans = character_spans(text, ids, tokenizer).tolist()
    covered = 0
    for start, end in spans:
        assert start <= covered < end or start < covered == end
        covered = max(covered, end)
    assert covered == len(text)
    for first in range(len(ids)):
        piece = text[spans[first][0] : spans[-1][1]]
        rest = tokenizer.decode(ids[first:], skip_special_tokens=False).lstrip("\ufffd")
        form = unicodedata.normalize("NFC", piece) if tokenizer.normalizer is not None else piece
        assert form.endswith(rest)


def test_ids_of_another_text_are_refused(tokenizer):
    with pytest.raises(UserError, match="not those of the text"):
        character_spans("a b", tokenizer.encode("a c").ids, tokenizer)
