"""Saving the state of the run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..trainer import Row, Trainer

log = logging.getLogger(__name__)


class Writing(Protocol):
    """What goes on beside the training."""

    @property
    def failed(self) -> bool:
        """Whether the last checkpoint is known to have failed."""

    def wait(self) -> None:
        """Wait for the last checkpoint; raises what became of it."""


class Checkpointing:
    """Saves every ``interval`` steps, every ``permanent_interval`` and after the last step, for good; every
    ``ephemeral_interval`` steps and where the run is asked to stop, until the next."""

    def __init__(
        self,
        save: Callable[[int, bool], Path],
        writing: Writing,
        *,
        interval: int,
        permanent_interval: int | None = None,
        ephemeral_interval: int | None = None,
    ) -> None:
        """``save(step, ephemeral)`` begins to write the checkpoint of the finished step and returns its folder."""
        self.save = save
        self.writing = writing
        self.intervals = [each for each in (interval, permanent_interval) if each is not None]
        self.ephemeral_interval = ephemeral_interval
        self.saved_step = -1

    def start(self, trainer: Trainer) -> None:
        """The state at hand is already on disk, or is the seed's."""
        self.saved_step = trainer.current_step

    def step(self, trainer: Trainer, row: Row) -> None:
        """Save where it is time; a failure of the last one ends the run."""
        # also behind a failure that not all ranks know of yet: all of them wait and raise
        if any(map(trainer.due, self.intervals)):
            self._save(trainer, ephemeral=False)
        elif self.ephemeral_interval is not None and trainer.due(self.ephemeral_interval):
            self._save(trainer, ephemeral=True)
        elif self.writing.failed:
            trainer.stop_requested = True

    def finish(self, trainer: Trainer) -> None:
        """Save what is not saved yet, and see it all on disk."""
        self.writing.wait()
        if trainer.current_step != self.saved_step:
            self._save(trainer, ephemeral=not trainer.complete)
        self.writing.wait()

    def _save(self, trainer: Trainer, *, ephemeral: bool) -> None:
        trainer.settle()
        log.info("saving %s", self.save(trainer.current_step, ephemeral))
        self.saved_step = trainer.current_step
