from __future__ import annotations

import math

import pytest
import torch

from olmo_model.config.model import Initialization
from olmo_model.initialization import BLOCK, draw, initialize

SHAPE = {"d_model": 256, "n_layers": 2, "mlp_hidden_size": 768, "weight_tying": False}
WIDTH, MLP, LAYERS = 256, 384, 2
# a normal distribution cut at three deviations has this share of its deviation
CUT_SHARE = math.sqrt(1 - 2 * 3 * math.exp(-4.5) / math.sqrt(2 * math.pi) / math.erf(3 / math.sqrt(2)))


def test_same_seed_gives_same_weights_and_another_seed_others(make_model):
    first, again, other = (make_model(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_no_two_weights_share_their_numbers(make_model):
    starts = [weight.flatten()[:4].tolist() for weight in make_model().state_dict().values()]
    assert len({tuple(start) for start in starts}) == len(starts)


def test_a_weight_depends_on_seed_and_name_alone(make_model):
    name = "transformer.blocks.0.att_proj.weight"
    assert torch.equal(make_model().state_dict()[name], make_model(n_layers=5, weight_tying=False).state_dict()[name])


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_that_draw_their_rows_alone_hold_the_same_weights(make_model, ranks):
    model = make_model(d_model=512, n_layers=1, mlp_hidden_size=1024)
    for name, weight in model.named_parameters():
        parts = [torch.empty_like(part) for part in weight.chunk(ranks)]
        row = 0
        for part in parts:
            draw(part, name, model.config, Initialization(), 0, first=row * weight[0].numel())
            row += len(part)
        assert torch.equal(torch.cat(parts), weight)
    assert weight.numel() > 2 * BLOCK  # so that rows begin and end within what is drawn together


@pytest.mark.parametrize(
    ("init_fn", "deviations"),
    [
        (
            "mitchell",
            {
                "wte": WIDTH**-0.5,
                "ff_out": WIDTH**-0.5,
                "blocks.0.att_proj": WIDTH**-0.5,
                "blocks.1.ff_proj": WIDTH**-0.5,
                "blocks.0.attn_out": (2 * WIDTH) ** -0.5,
                "blocks.1.attn_out": (4 * WIDTH) ** -0.5,
                "blocks.1.ff_out": (4 * MLP) ** -0.5,
            },
        ),
        (
            "normal",
            {
                "wte": 0.02,
                "ff_out": 0.02,
                "blocks.0.att_proj": 0.02,
                "blocks.1.attn_out": 0.02,
                "blocks.1.ff_out": 0.02,
            },
        ),
        (
            "normal_v1",
            {"wte": 0.02, "ff_out": 0.02, "blocks.0.attn_out": 0.02, "blocks.0.ff_out": 0.02 / (2 * LAYERS) ** 0.5},
        ),
        (
            "full_megatron",
            {
                "wte": 0.02,
                "ff_out": WIDTH**-0.5,
                "blocks.0.att_proj": 0.02,
                "blocks.0.ff_proj": 0.02,
                "blocks.0.attn_out": 0.02 / (2 * LAYERS) ** 0.5,
                "blocks.1.ff_out": 0.02 / (2 * LAYERS) ** 0.5,
            },
        ),
    ],
)
def test_deviations_are_those_of_the_rule_and_cut_at_three(make_model, init_fn, deviations):
    model = make_model(**SHAPE)
    std = {} if init_fn == "mitchell" else {"init_std": 0.02}
    initialize(model, Initialization(init_fn=init_fn, init_cutoff_factor=3.0, **std), 7)
    state = model.state_dict()
    for name, deviation in deviations.items():
        weight = state[f"transformer.{name}.weight"]
        assert weight.abs().max() <= 3 * deviation * (1 + 1e-6), name
        assert weight.abs().max() > 2.8 * deviation, name
        assert weight.std().item() == pytest.approx(CUT_SHARE * deviation, rel=0.015), name
        assert abs(weight.mean().item()) < 4 * deviation / weight.numel() ** 0.5, name


@pytest.mark.parametrize(("init_fn", "is_cut"), [("normal", False), ("normal_v1", False), ("full_megatron", True)])
def test_without_a_cutoff_only_megatron_is_cut(make_model, init_fn, is_cut):
    model = make_model(**SHAPE)
    initialize(model, Initialization(init_fn=init_fn, init_std=0.02), 0)
    weight = model.state_dict()["transformer.wte.weight"]
    assert bool(weight.abs().max() <= 0.06) is is_cut
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_norms_begin_as_ones(make_model):
    model = make_model(norm="rms_norm", norm_after=True, qk_norm=True)
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    assert len(norms) == 3 * 4 + 1
    assert all(torch.equal(weight, torch.ones_like(weight)) for weight in norms)
