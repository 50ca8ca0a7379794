"""The optimizer and the bound of the gradient."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .config.optimization import OptimizerSettings


def adamw(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), fused; weight decay on the weights of linear layers, none on embeddings.

    A head tied to the embedding counts as embedding, as in OLMo v1.
    """
    decayed = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    known = {id(weight) for weight in decayed}
    rest = [weight for weight in model.parameters() if id(weight) not in known]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.eps, weight_decay=0.0, fused=True
    )


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], bound: float) -> Tensor:
    """Scale all gradients by min(1, bound / (norm + 1e-6)) of their global L2 norm; returns the norm before."""
    gradients = [weight.grad for weight in parameters if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    coefficient = torch.clamp(bound / (norm + 1e-6), max=1.0)
    torch._foreach_mul_(gradients, coefficient)
    return norm
