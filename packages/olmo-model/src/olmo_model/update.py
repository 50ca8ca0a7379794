"""What happens to the weights once their gradients are there: clip, judge, set the learning rate, update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .config.optimization import GuardSettings, OptimizerSettings
from .guard import GuardState, fitted, fresh, judge
from .optim.build import build_optimizer, load_optimizer_state, optimizer_state
from .optim.clipping import Clipped, RatioClipping, clip_by_global_norm
from .optim.lion import LionW

Bound = Callable[[int], float]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What an update measured, scalars on the device; ``reasons`` (``guard.Reason``) is 0 where it was made."""

    learning_rate: float
    clipped: Clipped
    reasons: Tensor
    update_cosine: Tensor | None


class Update:
    """Moves the weights of a model by their gradients.

    In the order of OLMo: clip, then set the learning rate of the step, then update. A step that the guard holds back
    changes neither weights nor any state but the guard's own; that is done on the device (torch's ``found_inf``), and
    nothing here waits for it.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: OptimizerSettings,
        guard: GuardSettings,
        *,
        learning_rate: Callable[[int], float],
        bound_factor: Callable[[int], float] = lambda step: 1.0,
        tensor: int = 1,
    ) -> None:
        """``learning_rate(s)`` is that of step s; its bound of the gradient is multiplied by ``bound_factor(s)``.
        ``tensor`` ranks share each matrix."""
        self.model = model
        self.settings = settings
        self.guard = guard
        self.learning_rate = learning_rate
        self.bound_factor = bound_factor
        self.parameters = list(model.parameters())
        self.optimizer = build_optimizer(model, settings, tensor)
        # Its zeros are made now: after the first step they would lie where blocks keep things, and cut that place up.
        load_optimizer_state(model, self.optimizer, optimizer_state(model, self.optimizer))
        self.optimizer.grad_scale = None  # type: ignore[attr-defined]  # torch's fused step reads it with found_inf
        ratio = settings.max_grad_norm_ratio
        self.ratio = None if ratio is None else RatioClipping(self.parameters, beta=max(settings.betas))
        self.guard_state = fresh(guard, self.parameters[0].device)

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def apply(self, step: int, loss: Tensor) -> Applied:
        """The update of a step whose gradients are in place and whose loss was ``loss`` (a scalar)."""
        factor = self.bound_factor(step)
        means: Tensor | None = None
        if self.ratio is not None:
            assert self.settings.max_grad_norm_ratio is not None
            clipped, means = self.ratio.clip(self.settings.max_grad_norm_ratio * factor, step=step)
        else:
            bound = self.settings.max_grad_norm
            clipped = clip_by_global_norm(self.parameters, None if bound is None else bound * factor)
        reasons, self.guard_state = judge(self.guard_state, loss, clipped.norm, self.guard)
        held = reasons != 0
        rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.found_inf = held.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        if self.ratio is not None and means is not None:
            self.ratio.means = torch.where(held, self.ratio.means, means)
        cosine = self.optimizer.update_cosine if isinstance(self.optimizer, LionW) else None
        return Applied(learning_rate=rate, clipped=clipped, reasons=reasons, update_cosine=cosine)

    def state(self) -> dict[str, Any]:
        """Everything that decides later steps, as tensors: the optimizer's and the norms' by weight, the guard's."""
        state: dict[str, Any] = {"optimizer": optimizer_state(self.model, self.optimizer)}
        state["guard"] = dict(vars(self.guard_state))
        if self.ratio is not None:
            names = [name for name, _ in self.model.named_parameters()]
            state["norm_means"] = dict(zip(names, self.ratio.means.clone().unbind(), strict=True))
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Put a state in place; that of the guard may be of another window."""
        load_optimizer_state(self.model, self.optimizer, state["optimizer"])
        self.guard_state = fitted(GuardState(**state["guard"]), self.guard.window)
        if self.ratio is not None:
            self.ratio.means = torch.stack(list(state["norm_means"].values()))
