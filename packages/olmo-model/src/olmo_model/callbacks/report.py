"""The page of the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ..files import atomic_write
from ..run_folder import metrics_rows
from ..run_report import LOSS, Header, History, page
from ..trainer import Row, Trainer
from .console import seconds_left, time_left
from .peak_memory import CPU, GPU

log = logging.getLogger(__name__)


class Report:
    """Writes ``report.html`` with the first logged step, every ``interval`` logged steps, and at the end.

    Stands behind the callbacks that fill the row. That the page cannot be written is no reason to end a run.
    """

    def __init__(
        self,
        path: Path,
        metrics: Path,
        *,
        run_name: str,
        interval: int,
        log_interval: int,
        tokens_seen: Callable[[int], int],
    ) -> None:
        """``tokens_seen(s)`` is how many tokens the steps up to s have taken."""
        self.path = path
        self.metrics = metrics
        self.run_name = run_name
        self.interval = interval
        self.log_interval = log_interval
        self.tokens_seen = tokens_seen
        self.history = History()
        self.first_step = 0
        self.logged_steps = 0
        self.last: Row = {}

    def start(self, trainer: Trainer) -> None:
        """Read what the run has measured before."""
        self.first_step = trainer.current_step
        for step, line in metrics_rows(self.metrics):
            self._add(step, json.loads(line), logged=False)

    def step(self, trainer: Trainer, row: Row) -> None:
        """Take the row, and write the page where it is time."""
        logged = trainer.due(self.log_interval) or trainer.current_step == 1
        self._add(trainer.current_step, row, logged=logged)
        if logged:
            if self.logged_steps % self.interval == 0:
                self._write(trainer, "running")
            self.logged_steps += 1

    def finish(self, trainer: Trainer) -> None:
        """Write the page that is the last."""
        self._write(trainer, "complete" if trainer.complete else "stopped")

    def _add(self, step: int, row: Row, *, logged: bool) -> None:
        self.history.add(step, row, logged=logged)
        if LOSS in row:
            self.last = row

    def _write(self, trainer: Trainer, state: str) -> None:
        header = Header(
            run_name=self.run_name,
            state=state,
            step=trainer.current_step,
            max_steps=trainer.max_steps,
            written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
            facts=self._facts(trainer, state),
        )
        content = page(header, self.history).encode()
        try:
            with atomic_write(self.path) as stream:
                stream.write(content)
        except OSError as error:
            log.warning("%s is not up to date: %s", self.path, error)

    def _facts(self, trainer: Trainer, state: str) -> dict[str, str]:
        facts = {}
        if state == "running" and trainer.current_step > self.first_step:
            facts["time left"] = time_left(seconds_left(trainer, self.tokens_seen, self.first_step))
        for name, title, form in (
            (LOSS, "loss, nats per token", "{:.4f}"),
            ("throughput/tokens_per_second", "tokens per second", "{:,.0f}"),
            ("throughput/device/MFU", "MFU", "{:.1f} %"),
            (GPU, "peak GPU memory", "{:,.0f} MB"),
            (CPU, "peak memory", "{:,.0f} MB"),
        ):
            if name in self.last:
                facts[title] = form.format(self.last[name])
        return facts | {"tokens seen": f"{self.tokens_seen(trainer.current_step):,}"}
