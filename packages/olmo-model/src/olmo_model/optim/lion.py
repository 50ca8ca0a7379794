"""LionW: the sign of a mean of gradients as update (Chen et al. 2023), with decoupled decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .shards import local, over_shards


class LionW(torch.optim.Optimizer):
    """The optimizer LionW.

    ``weight -= rate * (decay * weight + sign(b1 * mean + (1 - b1) * gradient))``, and then
    ``mean = b2 * mean + (1 - b2) * gradient``. After a step ``update_cosine`` is the cosine between the signs and what
    they were taken of, over all weights (a scalar on the device). A step with ``found_inf`` 1 (a scalar tensor, as
    torch's fused optimizers read it) changes nothing. Element by element throughout, so each rank moves what it
    holds of the weights.
    """

    found_inf: Tensor | None = None
    update_cosine: Tensor | None = None

    def __init__(self, groups: Any, *, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all weights that have a gradient."""
        assert closure is None
        sums, moved_weights = [], []  # of each weight: raw times sign, raw squared, sign squared
        for group in self.param_groups:
            sharded = [weight for weight in group["params"] if weight.grad is not None]
            if not sharded:
                continue
            moved_weights += sharded
            first, second = group["betas"]
            gradients = local([weight.grad for weight in sharded])
            means = local([self.mean(weight) for weight in sharded])
            weights = local(sharded)
            raw = torch._foreach_lerp(means, gradients, 1 - first)
            signed = torch._foreach_sign(raw)
            for a, b in zip(raw, signed, strict=True):
                sums.append(torch.stack([(a * b).sum(), a.square().sum(), b.square().sum()]))
            rate: float = group["lr"]
            new_means = torch._foreach_lerp(means, gradients, 1 - second)
            new_weights = torch._foreach_mul(weights, 1 - rate * group["weight_decay"])
            torch._foreach_add_(new_weights, signed, alpha=-rate)
            for kept, moved in ((means, new_means), (weights, new_weights)):
                if self.found_inf is not None:
                    moved = tuple(torch.where(self.found_inf != 0, a, b) for a, b in zip(kept, moved, strict=True))
                torch._foreach_copy_(kept, moved)
        if sums:
            product, size, signs = over_shards(torch.stack(sums, dim=1), moved_weights).sum(dim=1)
            self.update_cosine = product / (size * signs).sqrt()

    def mean(self, weight: Tensor) -> Tensor:
        """The running mean of a weight, zeros at first."""
        state = self.state[weight]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(weight)
        mean: Tensor = state["exp_avg"]
        return mean
