"""Rows of ``metrics.jsonl``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from ..run_folder import metrics_rows
from ..trainer import Row, Trainer


class Metrics:
    """Adds the measurements of logged steps to the row, and writes every row that holds something.

    A logged step whose loss or gradient is not finite adds nothing; the next one counts its tokens and time.
    """

    def __init__(self, path: Path, *, log_interval: int, tokens_seen: Callable[[int], int]) -> None:
        """``tokens_seen(s)`` is how many tokens the steps up to s have taken."""
        self.path = path
        self.log_interval = log_interval
        self.tokens_seen = tokens_seen
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
                total = self.tokens_seen(trainer.current_step)
                tokens = total - self.tokens_seen(self.logged_step)
                row |= measured | {
                    "throughput/tokens_per_second": tokens / (trainer.seconds - self.logged_seconds),
                    "throughput/total_tokens": total,
                }
                self.logged_step, self.logged_seconds = trainer.current_step, trainer.seconds
        if row:
            self.write(trainer.current_step, row)

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
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(b"".join(line + b"\n" for line in kept))
    os.replace(partial, path)
