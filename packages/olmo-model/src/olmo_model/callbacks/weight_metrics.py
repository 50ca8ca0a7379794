"""Metrics of every weight, its gradient, and what the optimizer keeps for it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from ..optim.statistics import STATISTICS, statistics
from ..trainer import Row, Trainer

KEPT = ("exp_avg", "exp_avg_sq", "momentum")


class WeightMetrics:
    """Adds ``optim/{param,grad,exp_avg,…}/WEIGHT.{min,max,avg,norm}`` to the row every ``interval`` steps.

    Names and meaning are OLMo's (allenai/OLMo, olmo/optim.py): least and largest magnitude, mean, L2 norm. The gradient
    is the one that the update took, clipped where it was; weights are those after the step. Every rank calls this.
    """

    def __init__(self, *, interval: int) -> None:
        self.interval = interval

    def start(self, trainer: Trainer) -> None:
        """Nothing to do before the first step."""

    def step(self, trainer: Trainer, row: Row) -> None:
        """Measure where it is time; a value that is not finite is left out."""
        if trainer.current_step % self.interval:
            return
        names, tensors = zip(*self._tensors(trainer), strict=True)
        for name, values in zip(names, statistics(tensors).tolist(), strict=True):
            row |= {
                f"optim/{name}.{kind}": value
                for kind, value in zip(STATISTICS, values, strict=True)
                if math.isfinite(value)
            }

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to do."""

    def _tensors(self, trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
        update = trainer.update
        for name, weight in update.model.named_parameters():
            yield f"param/{name}", weight.detach()
            if weight.grad is not None:
                yield f"grad/{name}", weight.grad
            for key in KEPT:
                if key in update.optimizer.state.get(weight, {}):
                    yield f"{key}/{name}", update.optimizer.state[weight][key]
