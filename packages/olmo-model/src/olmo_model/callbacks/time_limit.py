"""The end of the time that a run has been given."""

from __future__ import annotations

import logging
import time

from ..trainer import Row, Trainer

log = logging.getLogger(__name__)


class TimeLimit:
    """Asks the trainer to stop after the first step that ends behind ``until``, a time of ``time.monotonic``."""

    def __init__(self, until: float) -> None:
        self.until = until

    def start(self, trainer: Trainer) -> None:
        """Nothing to do before the first step."""

    def step(self, trainer: Trainer, row: Row) -> None:
        """Look at the clock."""
        if time.monotonic() >= self.until and not trainer.stop_requested:
            log.info("the time limit is reached: finishing the step and saving it")
            trainer.stop_requested = True

    def finish(self, trainer: Trainer) -> None:
        """The clock is no longer of interest."""
