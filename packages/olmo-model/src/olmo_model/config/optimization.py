"""How weights move: the optimizer and its learning rate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..ranges import above, number

ScheduleName = Literal["linear_with_warmup", "cosine_with_warmup"]


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW (Loshchilov and Hutter 2019) with the decay on linear weights only, embeddings left out."""

    learning_rate: float = field(default=4e-4, metadata=above(0))
    """Peak learning rate."""

    betas: tuple[float, float] = field(default=(0.9, 0.95), metadata=number(0, 1, below=True))
    """Decay of the running means of gradient and squared gradient."""

    eps: float = field(default=1e-5, metadata=above(0))
    """Added to the root of the squared gradient's mean."""

    weight_decay: float = field(default=0.1, metadata=number(0))
    """Decoupled weight decay, times the learning rate at every step."""

    max_grad_norm: float = field(default=1.0, metadata=above(0))
    """Bound of the global L2 norm of the gradient."""


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """How the learning rate moves: a linear warm-up, then a decay to a fraction of the peak."""

    name: ScheduleName = "linear_with_warmup"
    """Form of the decay."""

    warmup: str = "2000"
    """Length of the warm-up: steps ("2000") or tokens ("20e6T")."""

    warmup_start: float = field(default=0.1, metadata=number(0, 1))
    """Learning rate before the first step as a fraction of the peak."""

    t_max: str | None = None
    """Where the decay ends, in steps or tokens; the end of the run where unset."""

    alpha_f: float = field(default=0.1, metadata=number(0, 1))
    """Learning rate at the end of the decay as a fraction of the peak."""
