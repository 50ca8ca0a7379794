from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from olmo_model.config.optimization import OptimizerSettings
from olmo_model.optim.build import build_optimizer, load_optimizer_state, optimizer_state
from olmo_model.optim.groups import kinds, parameter_groups
from olmo_model.optim.lion import LionW
from olmo_model.optim.muon import Muon, orthogonalised, parts, update_of

NAMES = ("adamw", "lionw", "muon")


class Small(nn.Module):
    """One of each kind: an embedding, a linear layer with bias, a norm with weights, a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(8, 4)
        self.linear = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 8, bias=False)

    @property
    def head(self):
        return self.out.weight


@pytest.mark.parametrize("weight_tying", [True, False])
def test_linear_weights_decay_and_embeddings_do_not(make_model, weight_tying):
    model = make_model(weight_tying=weight_tying, n_layers=1)
    decayed, rest = build_optimizer(model, OptimizerSettings()).param_groups
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert [names[id(weight)] for weight in rest["params"]] == ["transformer.wte.weight"]
    assert rest["weight_decay"] == 0.0
    assert len(decayed["params"]) == 4 + (not weight_tying)
    assert decayed["weight_decay"] == 0.1


def test_every_weight_has_its_kind():
    assert kinds(Small()) == {
        "wte.weight": "embedding",
        "linear.weight": "matrix",
        "linear.bias": "norm_or_bias",
        "norm.weight": "norm_or_bias",
        "norm.bias": "norm_or_bias",
        "out.weight": "head",
    }


@pytest.mark.parametrize(
    ("settings", "decayed"),
    [
        ({}, ["linear.weight", "out.weight"]),
        ({"decay_embeddings": True}, ["wte.weight", "linear.weight", "out.weight"]),
        (
            {"decay_norm_and_bias": True},
            ["linear.weight", "linear.bias", "norm.weight", "norm.bias", "out.weight"],
        ),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_switches_choose_what_decays(settings, decayed, name):
    groups = parameter_groups(Small(), OptimizerSettings(name=name, **settings))
    found = [weight for group in groups if group["weight_decay"] for weight in group["names"]]
    assert sorted(found) == sorted(decayed)
    assert {group["weight_decay"] for group in groups} == {0.1, 0.0}
    orthogonal = [weight for group in groups if group["orthogonal"] for weight in group["names"]]
    assert orthogonal == (["linear.weight"] if name == "muon" else [])


def constant_gradients(model, value=0.5):
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, value)


def test_one_update_of_adamw_is_that_of_the_paper(make_model):
    model = make_model(n_layers=1)
    optimizer = build_optimizer(model, OptimizerSettings(learning_rate=0.01))
    weight = model.state_dict()["transformer.blocks.0.attn_out.weight"]
    before = weight.clone()
    constant_gradients(model)
    optimizer.step()
    # after one step both means, corrected, are the gradient and its square
    torch.testing.assert_close(weight, before * (1 - 0.01 * 0.1) - 0.01 * 0.5 / (0.5 + 1e-5))


def test_two_updates_of_lionw_by_hand():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = LionW([{"params": [weight], "weight_decay": 0.1}], lr=0.01, betas=(0.9, 0.95))
    weight.grad = torch.tensor([0.5, -1.0])
    optimizer.step()
    # decay, then the sign of 0.1 g; the mean becomes 0.05 g
    torch.testing.assert_close(weight.data, torch.tensor([0.999 - 0.01, -1.998 + 0.01]))
    torch.testing.assert_close(optimizer.state[weight]["exp_avg"], torch.tensor([0.025, -0.05]))
    # cosine of (0.05, -0.1) and (1, -1)
    assert optimizer.update_cosine.item() == pytest.approx(0.15 / (0.0125**0.5 * 2**0.5))
    weight.grad = torch.tensor([-0.1, -1.0])
    optimizer.step()
    # 0.9 * 0.025 - 0.1 * 0.1 = 0.0125 is positive still; 0.95 * 0.025 - 0.05 * 0.1 = 0.01875
    torch.testing.assert_close(weight.data, torch.tensor([0.989 * 0.999 - 0.01, -1.988 * 0.999 + 0.01]))
    torch.testing.assert_close(optimizer.state[weight]["exp_avg"], torch.tensor([0.01875, -0.0975]))


def test_the_cosine_of_lionw_is_over_all_groups():
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    groups = [{"params": [weights[0]], "weight_decay": 0.1}, {"params": [weights[1]], "weight_decay": 0.0}]
    optimizer = LionW(groups, lr=0.01, betas=(0.9, 0.95))
    weights[0].grad, weights[1].grad = torch.tensor([3.0, -4.0]), torch.tensor([12.0])
    optimizer.step()
    assert optimizer.update_cosine.item() == pytest.approx(19 / (13 * 3**0.5))


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24)])
def test_orthogonalisation_moves_singular_values_near_one_and_keeps_the_directions(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalised(matrix, 5)
    assert found.shape == shape
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    within = u.T @ found @ v.T  # diagonal where the singular vectors are those of the matrix
    torch.testing.assert_close(within, torch.diag(within.diagonal()), atol=1e-4, rtol=0)


def test_a_matrix_of_zeros_stays_zero():
    assert not orthogonalised(torch.zeros(4, 6), 5).any()


@pytest.mark.parametrize(
    ("name", "rows", "columns", "expected"),
    [
        ("transformer.blocks.3.att_proj.weight", 24, 8, (8, 8, 8)),
        ("transformer.blocks.3.att_proj.weight", 12, 8, (8, 2, 2)),  # grouped queries
        ("transformer.blocks.3.ff_proj.weight", 32, 8, (16, 16)),
        ("transformer.blocks.3.attn_out.weight", 8, 8, (8,)),
        ("transformer.blocks.3.ff_out.weight", 8, 16, (8,)),
        ("transformer.ff_out.weight", 64, 8, (64,)),
    ],
)
def test_fused_weights_are_taken_apart(name, rows, columns, expected):
    assert parts(name, rows, columns) == expected


def test_each_part_of_a_fused_weight_is_orthogonalised_by_itself():
    matrix = torch.randn(24, 8, generator=torch.Generator().manual_seed(1))
    matrix[:8] *= 100  # queries with gradients far larger than keys and values
    found = update_of(matrix, (8, 8, 8), 5)
    for part, expected in zip(found.split(8), matrix.split(8), strict=True):
        torch.testing.assert_close(part, orthogonalised(expected, 5) * 0.2 * 8**0.5)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon to compare with")
@pytest.mark.parametrize("nesterov", [True, False])
def test_updates_of_whole_matrices_are_those_of_torch(nesterov, monkeypatch):
    # torch's runs in bfloat16, whose rounding its iterations make large: the same maths in float32 is compared
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(6, 10, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    group = {"params": [ours], "names": ["a.weight"], "weight_decay": 0.1, "orthogonal": True}
    mine = Muon([group], lr=0.02, betas=(0.9, 0.95), eps=1e-8, momentum=0.95, nesterov=nesterov, iterations=5)
    other = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, nesterov=nesterov, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(6, 10, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        other.step()
    torch.testing.assert_close(ours.data, theirs.data, atol=1e-5, rtol=1e-4)


def test_muon_moves_what_is_no_matrix_of_a_block_as_adamw_does(make_model):
    one, other = make_model(weight_tying=False, n_layers=1), make_model(weight_tying=False, n_layers=1)
    muon = build_optimizer(one, OptimizerSettings(name="muon"))
    adamw = build_optimizer(other, OptimizerSettings())
    for _ in range(3):
        constant_gradients(one)
        constant_gradients(other)
        muon.step()
        adamw.step()
    for name in ("transformer.wte.weight", "transformer.ff_out.weight"):
        assert torch.equal(one.state_dict()[name], other.state_dict()[name])
    name = "transformer.blocks.0.attn_out.weight"
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_step_that_is_held_back_changes_neither_weights_nor_state(make_model, name, value):
    model = make_model(n_layers=1)
    optimizer = build_optimizer(model, OptimizerSettings(name=name))
    optimizer.grad_scale = None
    constant_gradients(model)
    optimizer.step()
    before = [weight.detach().clone() for weight in model.parameters()]
    state = {
        weight: {key: part.clone() for key, part in parts.items()}
        for weight, parts in optimizer_state(model, optimizer).items()
    }
    constant_gradients(model, value)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert all(map(torch.equal, before, model.parameters()))
    for weight, after in optimizer_state(model, optimizer).items():
        assert all(torch.equal(after[key], state[weight][key]) for key in state[weight])
    constant_gradients(model)
    optimizer.found_inf = torch.zeros(())
    optimizer.step()
    assert not any(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("name", ["adamw", "lionw", "muon"])
def test_the_state_has_its_place_before_the_first_step(make_model, make_update, name):
    model = make_model()
    update = make_update(model, name=name)
    places = {id(value) for kept in update.optimizer.state.values() for value in kept.values()}
    assert len(update.optimizer.state) == len(list(model.parameters()))
    model(torch.arange(8).unsqueeze(0)).logsumexp(-1).sum().backward()
    update.apply(1, torch.tensor(1.0))
    assert {id(value) for kept in update.optimizer.state.values() for value in kept.values()} == places


@pytest.mark.parametrize("name", NAMES)
def test_state_is_kept_by_name_and_begins_with_zeros(make_model, name):
    model, other = make_model(n_layers=1), make_model(n_layers=1)
    optimizer = build_optimizer(model, OptimizerSettings(name=name))
    first = optimizer_state(model, optimizer)
    assert list(first) == [weight for weight, _ in model.named_parameters()]
    kept = {"adamw": {"exp_avg", "exp_avg_sq", "step"}, "lionw": {"exp_avg"}, "muon": {"momentum"}}[name]
    assert set(first["transformer.blocks.0.attn_out.weight"]) == kept
    assert not any(part.any() for parts in first.values() for part in parts.values())
    constant_gradients(model)
    optimizer.step()
    twin = build_optimizer(other, OptimizerSettings(name=name))
    other.load_state_dict(model.state_dict())
    load_optimizer_state(other, twin, copy.deepcopy(optimizer_state(model, optimizer)))
    for a, b in ((model, optimizer), (other, twin)):
        constant_gradients(a, 0.25)
        b.step()
    assert all(map(torch.equal, model.parameters(), other.parameters()))
