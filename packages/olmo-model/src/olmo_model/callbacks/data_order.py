"""The ledger of the data order."""

from __future__ import annotations

from pathlib import Path

from ..order import Order, append_to_ledger
from ..ranks import Ranks
from ..trainer import Row, Trainer


class DataOrder:
    """Writes down from which step on which order holds: at the start, where an epoch or a batch size begins, and where
    a step made no update.

    The row stands on disk before the first of its steps is taken; that of a skipped step as soon as the skipping is
    known, and before any row of a later step. The first rank writes; every rank has one.
    """

    def __init__(
        self, path: Path, order: Order, ranks: Ranks, *, sequence_length: int, tokens_fingerprint: str
    ) -> None:
        self.path = path
        self.order = order
        self.ranks = ranks
        self.sequence_length = sequence_length
        self.tokens_fingerprint = tokens_fingerprint

    def start(self, trainer: Trainer) -> None:
        """Write where the run begins or goes on."""
        self.write(trainer.current_step + 1)

    def step(self, trainer: Trainer, row: Row) -> None:
        """Write where the next step begins an epoch or a batch size."""
        if self.order.begins(trainer.current_step + 1) and not trainer.complete:
            trainer.settle()
            if not trainer.stop_requested:
                self.write(trainer.current_step + 1)

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to write."""

    def write(self, step: int, skipped_steps: tuple[int, ...] = ()) -> None:
        """Append the row that begins at a step."""
        if not self.ranks.first:
            return
        row = self.order.row(
            step,
            sequence_length=self.sequence_length,
            tokens_fingerprint=self.tokens_fingerprint,
            skipped_steps=skipped_steps,
        )
        append_to_ledger(self.path, row)
