from __future__ import annotations

import math

import pytest
import torch


def test_same_seed_gives_same_weights_and_another_seed_others(make_model):
    first, again, other = (make_model(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_no_two_weights_share_their_numbers(make_model):
    starts = [weight.flatten()[:4].tolist() for weight in make_model().state_dict().values()]
    assert len({tuple(start) for start in starts}) == len(starts)


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("transformer.wte", 1 / math.sqrt(256)),
        ("transformer.ff_out", 1 / math.sqrt(256)),
        ("transformer.blocks.0.att_proj", 1 / math.sqrt(256)),
        ("transformer.blocks.1.ff_proj", 1 / math.sqrt(256)),
        ("transformer.blocks.0.attn_out", 1 / math.sqrt(256) / math.sqrt(2)),
        ("transformer.blocks.1.attn_out", 1 / math.sqrt(256) / math.sqrt(4)),
        ("transformer.blocks.1.ff_out", 1 / math.sqrt(384) / math.sqrt(4)),
    ],
)
def test_deviations_are_mitchells_and_cut_at_three(make_model, name, deviation):
    model = make_model(d_model=256, n_layers=2, mlp_hidden_size=768, weight_tying=False)
    weight = model.state_dict()[name + ".weight"]
    assert weight.abs().max() <= 3 * deviation
    # a normal distribution cut at three deviations has 0.9866 of its deviation
    assert weight.std().item() == pytest.approx(0.9866 * deviation, rel=0.02)
