"""Saving the state of the run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ..trainer import Row, Trainer

log = logging.getLogger(__name__)


class Checkpointing:
    """Saves every ``interval`` steps, after the last step, and where the run is asked to stop."""

    def __init__(self, save: Callable[[int], Path], *, interval: int) -> None:
        """``save(step)`` writes the checkpoint of the finished step and returns its folder."""
        self.save = save
        self.interval = interval
        self.saved_step = -1

    def start(self, trainer: Trainer) -> None:
        """The state at hand is already on disk, or is the seed's."""
        self.saved_step = trainer.current_step

    def step(self, trainer: Trainer, row: Row) -> None:
        """Save where it is time."""
        if trainer.due(self.interval):
            trainer.settle()
            self._save(trainer.current_step)

    def finish(self, trainer: Trainer) -> None:
        """Save what is not saved yet."""
        if trainer.current_step != self.saved_step:
            self._save(trainer.current_step)

    def _save(self, step: int) -> None:
        log.info("saved %s", self.save(step))
        self.saved_step = step
