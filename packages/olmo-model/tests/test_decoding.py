from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_model.decoding import FEW_ROWS, PART, ROWS_AT_ONCE, Decoder, Projection

RMS = {"norm": "rms_norm", "norm_eps": 1e-6}
SHAPES = {
    "olmo": {},
    "olmo clipped and untied": {"weight_tying": False, "clip_qkv": 0.05},
    "llama with grouped heads": RMS | {"n_kv_heads": 2},
    "olmo2": RMS | {"norm_after": True, "qk_norm": True},
    "olmo2 with one head of keys": RMS | {"norm_after": True, "qk_norm": True, "n_kv_heads": 1},
}


def whole_passes(model, sequences):
    with torch.no_grad():
        return torch.stack([model(torch.tensor([ids]))[0, -1, :300] for ids in sequences])


def assert_same(left, right, tolerance=1e-5):
    assert left.shape == right.shape
    assert (left - right).abs().max() <= tolerance * right.abs().max().clamp(min=1)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_the_model(make_model, shape, rows):
    model = make_model(**SHAPES[shape])
    decoder = Decoder(model, rows, 32)
    sequences = [[(7 * row + 3 * place) % 300 for place in range(3 + 4 * row)] for row in range(rows)]
    logits = decoder.read(sequences, range(rows))
    for _ in range(6):
        assert_same(logits, whole_passes(model, sequences))
        chosen = logits.argmax(-1).tolist()
        for ids, new in zip(sequences, chosen, strict=True):
            ids.append(new)
        logits = decoder.step(chosen)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), steps=st.integers(0, 5))
def test_sequences_of_any_lengths_do_not_see_each_other(make_model, lengths, steps):
    model = make_model()
    decoder = Decoder(model, len(lengths), 20)
    sequences = [[(31 * row + place) % 300 for place in range(length)] for row, length in enumerate(lengths)]
    logits = decoder.read(sequences, range(len(lengths)))
    for _ in range(steps):
        chosen = [row % 300 for row in range(len(lengths))]
        for ids, new in zip(sequences, chosen, strict=True):
            ids.append(new)
        logits = decoder.step(chosen)
    assert decoder.lengths == [length + steps for length in lengths]
    assert_same(logits, whole_passes(model, sequences))


def test_a_place_is_used_again_and_copied(make_model):
    model = make_model()
    decoder = Decoder(model, 3, 32)
    decoder.read([[1] * 20, [2] * 18, [3] * 16], [0, 1, 2])
    decoder.read([[9, 8, 7]], [1])
    decoder.copy(1, 0)
    assert decoder.lengths == [3, 3, 16]
    assert_same(decoder.step([6, 5]), whole_passes(model, [[9, 8, 7, 6], [9, 8, 7, 5]]))


def test_many_prompts_are_read_in_several_passes(make_model):
    model = make_model(max_sequence_length=ROWS_AT_ONCE)
    decoder = Decoder(model, 3, ROWS_AT_ONCE)
    sequences = [[5 + row] * (ROWS_AT_ONCE // 2 - 10 + 20 * row) for row in range(3)]
    assert_same(decoder.read(sequences, range(3)), whole_passes(model, sequences))


def test_there_are_logits_of_the_tokenizers_ids_alone(make_model):
    assert Decoder(make_model(), 1, 8, vocab_size=290).read([[5]], [0]).shape == (1, 290)


def test_a_full_cache_is_told(make_model):
    decoder = Decoder(make_model(max_sequence_length=4), 1, 100)
    assert decoder.capacity == 4
    decoder.read([[5, 6, 7]], [0])
    decoder.step([8])
    with pytest.raises(IndexError, match="no room after 4 positions"):
        decoder.step([9])


def test_bfloat16_weights_give_nearly_the_same(make_model):
    model = make_model()
    expected = whole_passes(model, [[5, 9, 12, 40, 7]])
    decoder = Decoder(model.bfloat16(), 1, 8)
    decoder.read([[5, 9, 12, 40]], [0])
    assert_same(decoder.step([7]), expected, tolerance=0.05)


@pytest.mark.parametrize("rows", [1, 2, 7, 16, FEW_ROWS.stop - 1, FEW_ROWS.stop])
@pytest.mark.parametrize("out", [PART, 3 * PART, 50])
def test_products_in_parts_are_the_product(rows, out):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(out, 30, generator=generator), torch.randn(rows, 30, generator=generator)
    torch.testing.assert_close(Projection(weight)(x), x @ weight.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_several_tokens_at_once_give_what_they_give_one_by_one(make_model, shape):
    model = make_model(**SHAPES[shape])
    decoder = Decoder(model, 3, 20)
    sequences = [[5, 9, 12, 40], [7], [30, 31, 32, 33, 34, 35, 36]]
    decoder.read(sequences, range(3))
    more = [[8, 3, 250], [9, 4, 251], [10, 5, 252]]
    logits = decoder.extend(more)
    for count in range(3):
        expected = whole_passes(model, [ids + new[: count + 1] for ids, new in zip(sequences, more, strict=True)])
        assert_same(logits[:, count], expected)


def test_what_is_taken_back_is_not_seen(make_model):
    model = make_model()
    decoder = Decoder(model, 2, 20)
    decoder.read([[5, 9, 12], [7, 6]], [0, 1])
    decoder.extend([[1, 2, 3], [1, 2, 3]])
    decoder.take_back(0, 2)
    decoder.take_back(1, 3)
    assert decoder.lengths == [4, 2]
    assert_same(decoder.step([8, 9]), whole_passes(model, [[5, 9, 12, 1, 8], [7, 6, 9]]))
