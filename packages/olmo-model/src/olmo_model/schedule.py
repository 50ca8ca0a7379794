"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .config.optimization import ScheduleName


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up from ``warmup_start`` of the peak, then a decay that ends at ``alpha_f`` of it at ``t_max``.

    Steps count from 1. Fractions of the peak, as in OLMo v1: up to ``warmup`` start + (1 - start) * step / warmup;
    then, with s = (step - warmup) / (t_max - warmup), linear 1 - s * (1 - alpha_f) or cosine
    alpha_f + (1 - alpha_f) * (1 + cos(pi s)) / 2; from ``t_max`` on alpha_f.
    """

    name: ScheduleName
    peak: float
    warmup: int
    t_max: int
    warmup_start: float = 0.1
    alpha_f: float = 0.1

    def learning_rate(self, step: int) -> float:
        """Learning rate of the update that step number ``step`` makes."""
        if step < self.warmup:
            return self.peak * (self.warmup_start + (1 - self.warmup_start) * min(step, self.warmup) / self.warmup)
        if step >= self.t_max:
            return self.peak * self.alpha_f
        share = (step - self.warmup) / (self.t_max - self.warmup)
        if self.name == "linear_with_warmup":
            return self.peak * (1 - share * (1 - self.alpha_f))
        return self.peak * (self.alpha_f + (1 - self.alpha_f) * (1 + math.cos(math.pi * share)) / 2)
