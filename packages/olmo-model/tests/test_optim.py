from __future__ import annotations

import pytest
import torch

from olmo_model.config.optimization import OptimizerSettings
from olmo_model.optim import adamw, clip_gradients


@pytest.mark.parametrize("weight_tying", [True, False])
def test_linear_weights_decay_and_embeddings_do_not(make_model, weight_tying):
    model = make_model(weight_tying=weight_tying, n_layers=1)
    decayed, rest = adamw(model, OptimizerSettings()).param_groups
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert [names[id(weight)] for weight in rest["params"]] == ["transformer.wte.weight"]
    assert rest["weight_decay"] == 0.0
    assert len(decayed["params"]) == 4 + (not weight_tying)
    assert decayed["weight_decay"] == 0.1


def test_one_update_is_that_of_the_paper(make_model):
    model = make_model(n_layers=1)
    optimizer = adamw(model, OptimizerSettings(learning_rate=0.01))
    weight = model.state_dict()["transformer.blocks.0.attn_out.weight"]
    before = weight.clone()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()
    # after one step both means, corrected, are the gradient and its square
    torch.testing.assert_close(weight, before * (1 - 0.01 * 0.1) - 0.01 * 0.5 / (0.5 + 1e-5))


def test_gradients_above_the_bound_are_scaled_to_it_and_those_below_left_alone():
    weights = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip_gradients(weights, 10.0).item() == 5.0
    assert weights[1].grad.tolist() == [4.0]
    assert clip_gradients(weights, 1.0).item() == 5.0
    assert torch.cat([weight.grad for weight in weights]).tolist() == pytest.approx([0.6, 0.0, 0.8], rel=1e-6)
