"""The bound of the gradient. Everything stays on the device: no host ever waits for a norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from .shards import local, over_shards

SMALL = 1e-6  # added to norms, as torch's clip_grad_norm_ and OLMo do


@dataclass(frozen=True)
class Clipped:
    """The global L2 norm before clipping, and the share of weights, counted as tensors, whose gradient was scaled."""

    norm: Tensor
    rate: Tensor


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradients there are."""
    return [weight.grad for weight in parameters if weight.grad is not None]


def norms_of(gradients: Sequence[Tensor]) -> Tensor:
    """L2 norm of each gradient, in float32: [P]. A sharded one's is that of all shards; all ranks call this."""
    norms = torch.stack(torch._foreach_norm(local(gradients), dtype=torch.float32))
    if not any(isinstance(part, DTensor) for part in gradients):
        return norms
    return over_shards(norms.square(), gradients).sqrt()


@torch.no_grad()
def clip_by_global_norm(parameters: Sequence[Tensor], bound: float | None) -> Clipped:
    """Scale all gradients by min(1, bound / (norm + 1e-6)) of their global L2 norm; None leaves them alone."""
    gradients = gradients_of(parameters)
    norm = torch.linalg.vector_norm(norms_of(gradients))
    if bound is None:
        return Clipped(norm, torch.zeros_like(norm))
    coefficient = torch.clamp(bound / (norm + SMALL), max=1.0)
    torch._foreach_mul_(local(gradients), coefficient)
    return Clipped(norm, (coefficient < 1).float())


class RatioClipping:
    """Bounds each gradient's norm by a multiple of the running mean of that norm (allenai/OLMo, olmo/optim.py,
    ``max_grad_norm_ratio``).

    The mean takes in the clipped norms with the larger of the optimizer's betas. As in OLMo it begins with the second
    step, with that step's own norm. ``means`` [P], in the order of the parameters, is NaN where there is none yet.
    """

    def __init__(self, parameters: Sequence[Tensor], *, beta: float) -> None:
        self.parameters = parameters
        self.beta = beta
        self.means = torch.full((len(parameters),), torch.nan, device=parameters[0].device)

    @torch.no_grad()
    def clip(self, ratio: float, *, step: int) -> tuple[Clipped, Tensor]:
        """Scale every gradient by min(1, ratio * mean / (norm + 1e-6)); also the means after a step that counts."""
        gradients = gradients_of(self.parameters)
        assert len(gradients) == len(self.parameters), "every parameter has a gradient"
        norms = norms_of(gradients)
        means = torch.where(self.means.isnan(), norms, self.means)
        coefficients = torch.clamp(ratio * means / (norms + SMALL), max=1.0)
        torch._foreach_mul_(local(gradients), list(coefficients.unbind()))
        clipped = Clipped(torch.linalg.vector_norm(norms), (coefficients < 1).float().mean())
        moved = means.lerp(norms * coefficients, 1 - self.beta)
        return clipped, self.means if step == 1 else moved
