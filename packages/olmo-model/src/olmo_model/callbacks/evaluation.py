"""Evaluation in the loop."""

from __future__ import annotations

from collections.abc import Callable

from ..ranks import Ranks
from ..trainer import Row, Trainer
from .metrics import Metrics


class Evaluation:
    """Adds the values of ``evaluate`` to the row every ``interval`` steps and after the last."""

    def __init__(self, evaluate: Callable[[], Row], *, interval: int) -> None:
        self.evaluate = evaluate
        self.interval = interval

    def start(self, trainer: Trainer) -> None:
        """Nothing to do before the first step."""

    def step(self, trainer: Trainer, row: Row) -> None:
        """Evaluate where it is time."""
        if trainer.due(self.interval):
            row |= self.evaluate()

    def finish(self, trainer: Trainer) -> None:
        """The last step has been evaluated."""


class EvaluationOnLoad:
    """Evaluates once before the first step; its row stands at the step before that one, 0 in a new run."""

    def __init__(self, evaluate: Callable[[], Row], metrics: Metrics, ranks: Ranks) -> None:
        """``metrics`` is a callback of the first rank that stands before this one."""
        self.evaluate = evaluate
        self.metrics = metrics
        self.ranks = ranks

    def start(self, trainer: Trainer) -> None:
        """Evaluate and write the row, unless there is one with these values, as where a run goes on."""
        if not self.ranks.from_first(lambda: self.metrics.holds_evaluation(trainer.current_step)):
            row = self.evaluate()
            if self.ranks.first:
                self.metrics.write(trainer.current_step, row)

    def step(self, trainer: Trainer, row: Row) -> None:
        """Nothing to do after the first."""

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to do."""
