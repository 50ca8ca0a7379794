from __future__ import annotations

import pytest
import torch

from olmo_model.optim.clipping import RatioClipping, clip_by_global_norm


def two_weights():
    weights = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    return weights


def gradients(weights):
    return torch.cat([weight.grad for weight in weights]).tolist()


def test_gradients_above_the_bound_are_scaled_to_it_and_those_below_left_alone():
    weights = two_weights()
    clipped = clip_by_global_norm(weights, 10.0)
    assert (clipped.norm.item(), clipped.rate.item()) == (5.0, 0.0)
    assert gradients(weights) == [3.0, 0.0, 4.0]
    clipped = clip_by_global_norm(weights, 1.0)
    assert (clipped.norm.item(), clipped.rate.item()) == (5.0, 1.0)
    assert gradients(weights) == pytest.approx([0.6, 0.0, 0.8], rel=1e-6)


def test_without_a_bound_the_norm_is_measured_alone():
    weights = two_weights()
    assert clip_by_global_norm(weights, None).norm.item() == 5.0
    assert gradients(weights) == [3.0, 0.0, 4.0]


def test_ratio_clipping_by_hand():
    weights = two_weights()
    clipping = RatioClipping(weights, beta=0.75)
    clipped, after = clipping.clip(1.5, step=1)
    assert (clipped.norm.item(), clipped.rate.item()) == (5.0, 0.0)
    assert after.isnan().all()  # the means begin with the second step
    clipping.means = after
    _, clipping.means = clipping.clip(1.5, step=2)
    assert gradients(weights) == [3.0, 0.0, 4.0]
    assert clipping.means.tolist() == pytest.approx([3.0, 4.0], rel=1e-6)
    weights[0].grad = torch.tensor([0.0, 9.0])  # twice as much as 1.5 times its mean
    clipped, clipping.means = clipping.clip(1.5, step=3)
    assert gradients(weights) == pytest.approx([0.0, 4.5, 4.0], rel=1e-6)
    assert clipped.rate.item() == 0.5
    assert clipped.norm.item() == pytest.approx((81 + 16) ** 0.5)
    assert clipping.means.tolist() == pytest.approx([3.0 + (4.5 - 3.0) / 4, 4.0], rel=1e-6)


def test_a_ratio_below_one_scales_from_the_first_step_on():
    weights = two_weights()
    RatioClipping(weights, beta=0.9).clip(0.5, step=1)
    assert gradients(weights) == pytest.approx([1.5, 0.0, 2.0], rel=1e-6)
