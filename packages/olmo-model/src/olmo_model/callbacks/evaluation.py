"""Evaluation in the loop."""

from __future__ import annotations

from collections.abc import Callable

from ..trainer import Row, Trainer


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
