"""The end of a run whose loss has gone up for good."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

from ..run_folder import metrics_rows
from ..run_report import LOSS
from ..trainer import Row, Trainer

log = logging.getLogger(__name__)


class EarlyStopping:
    """Asks the trainer to stop when a logged loss, after the warm-up, is more than ``factor`` times the least so far.

    The rule of OLMo's ``early_stopping_factor`` (allenai/OLMo, olmo/train.py). Stands behind the callback that puts
    the loss into the row.
    """

    def __init__(self, factor: float, metrics: Path, *, after_step: int) -> None:
        """``metrics`` is the file with the losses so far."""
        self.metrics = metrics
        self.factor = factor
        self.after_step = after_step
        self.least = math.inf

    def start(self, trainer: Trainer) -> None:
        """Find the least of what was logged up to the checkpoint that the run goes on from."""
        rows = (json.loads(line) for step, line in metrics_rows(self.metrics) if step <= trainer.current_step)
        self.least = min((row[LOSS] for row in rows if LOSS in row), default=math.inf)

    def step(self, trainer: Trainer, row: Row) -> None:
        """Compare the loss, where the row has one."""
        loss = row.get(LOSS)
        if loss is None:
            return
        if trainer.current_step > self.after_step and loss > self.factor * self.least and not trainer.stop_requested:
            log.warning(
                "the loss %.4f is more than %g times the least, %.4f: the run saves and stops",
                loss,
                self.factor,
                self.least,
            )
            trainer.stop_requested = True
        self.least = min(self.least, loss)

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to do."""
