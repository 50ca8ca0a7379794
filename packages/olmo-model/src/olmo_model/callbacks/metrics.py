"""Rows of ``metrics.jsonl``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from ..accelerators import utilization
from ..files import atomic_write
from ..run_folder import metrics_rows
from ..trainer import Row, Trainer
from .peak_memory import PeakMemory


class Metrics:
    """Adds the measurements of logged steps to the row, and writes every row that holds something.

    A logged step whose loss or gradient is not finite adds nothing; the next one counts its tokens and time.
    """

    def __init__(
        self,
        path: Path,
        *,
        log_interval: int,
        tokens_seen: Callable[[int], int],
        memory: PeakMemory,
        flops_per_token: int,
        peak_flops: float | None,
        devices: int = 1,
    ) -> None:
        """``tokens_seen(s)`` is how many tokens the steps up to s have taken; ``peak_flops`` are those of one of the
        ``devices``, None where they are not known."""
        self.path = path
        self.log_interval = log_interval
        self.tokens_seen = tokens_seen
        self.memory = memory
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.devices = devices
        self.logged_step = 0
        self.logged_seconds = 0.0

    def start(self, trainer: Trainer) -> None:
        """Remove rows after the checkpoint that the run goes on from: their steps are done again."""
        self.logged_step = trainer.current_step
        keep_rows_up_to(self.path, trainer.current_step)

    def step(self, trainer: Trainer, row: Row) -> None:
        """Add this step's measurements where it is logged, and write the row."""
        if trainer.due(self.log_interval) or trainer.current_step == 1:
            assert trainer.result is not None
            measured = trainer.result.row()
            if measured:
                row |= measured | self._throughput(trainer) | self.memory.row
                self.logged_step, self.logged_seconds = trainer.current_step, trainer.seconds
        if row:
            self.write(trainer.current_step, row)

    def _throughput(self, trainer: Trainer) -> Row:
        """Since the last logged step; time of evaluations and checkpoints is not counted."""
        total = self.tokens_seen(trainer.current_step)
        seconds = trainer.seconds - self.logged_seconds
        rate = (total - self.tokens_seen(self.logged_step)) / seconds
        row = {
            "throughput/tokens_per_second": rate,
            "throughput/total_tokens": total,
            "throughput/device/tokens_per_second": rate / self.devices,
            "throughput/device/batches_per_second": (trainer.current_step - self.logged_step) / seconds,
        }
        if self.peak_flops is not None:
            row["throughput/device/MFU"] = utilization(self.flops_per_token, rate / self.devices, self.peak_flops)
        return row

    def write(self, step: int, row: Row) -> None:
        """Append a row."""
        line = json.dumps({"step": step, "time": round(time.time(), 3)} | row)
        with open(self.path, "ab") as stream:
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def holds_evaluation(self, step: int) -> bool:
        """Whether a row of this step has values of an evaluation."""
        return any(row_step == step and b'"eval/' in line for row_step, line in metrics_rows(self.path))

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to write."""


def keep_rows_up_to(path: Path, step: int) -> None:
    """Rewrite the metrics, whole or not at all, without the rows after ``step`` and without an unfinished last line."""
    kept = [line for row_step, line in metrics_rows(path) if row_step <= step]
    with atomic_write(path) as stream:
        stream.writelines(line + b"\n" for line in kept)
