"""From settings to an optimizer, and its state by the names of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config.optimization import OptimizerSettings
from .groups import parameter_groups
from .lion import LionW
from .muon import Muon

State = dict[str, dict[str, Tensor]]  # by weight, then by what is kept for it


def build_optimizer(model: nn.Module, settings: OptimizerSettings, tensor: int = 1) -> torch.optim.Optimizer:
    """The optimizer that ``settings.name`` says, over the groups of ``parameter_groups``.

    ``tensor`` ranks share each matrix.
    """
    groups = parameter_groups(model, settings)
    rate, betas = settings.learning_rate, settings.betas
    if settings.name == "lionw":
        return LionW(groups, lr=rate, betas=betas)
    if settings.name == "muon":
        return Muon(
            groups,
            lr=rate,
            betas=betas,
            eps=settings.eps,
            momentum=settings.muon.momentum,
            nesterov=settings.muon.nesterov,
            iterations=settings.muon.iterations,
            tensor=tensor,
        )
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=settings.eps, weight_decay=0.0, fused=True)


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """What the optimizer keeps for every weight, by name; zeros, as it begins with, where it has kept nothing yet."""
    kept: dict[int, tuple[str, ...]] = {}
    for group in optimizer.param_groups:
        if group["orthogonal"]:
            names: tuple[str, ...] = ("momentum",)
        else:
            names = ("exp_avg",) if isinstance(optimizer, LionW) else ("exp_avg", "exp_avg_sq", "step")
        kept |= {id(weight): names for weight in group["params"]}
    state: State = {}
    for name, weight in model.named_parameters():
        own = optimizer.state.get(weight) or {}
        state[name] = {key: own[key] if key in own else _zeros(key, weight) for key in kept[id(weight)]}
    return state


def load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Put the state of ``optimizer_state`` in place."""
    for name, weight in model.named_parameters():
        optimizer.state[weight] = dict(state[name])


def _zeros(key: str, weight: Tensor) -> Tensor:
    if key == "step":
        return torch.zeros((), dtype=torch.float32, device=weight.device)
    return torch.zeros_like(weight.detach())
