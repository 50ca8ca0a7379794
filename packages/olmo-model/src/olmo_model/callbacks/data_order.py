"""The ledger of the data order."""

from __future__ import annotations

from pathlib import Path

from ..order import LedgerRow, Order, append_to_ledger
from ..trainer import Row, Trainer


class DataOrder:
    """Writes down from which step on which order holds: at the start, and where an epoch begins.

    The row stands on disk before the first of its steps is taken.
    """

    def __init__(self, path: Path, order: Order, *, sequence_length: int, tokens_fingerprint: str) -> None:
        self.path = path
        self.order = order
        self.sequence_length = sequence_length
        self.tokens_fingerprint = tokens_fingerprint

    def start(self, trainer: Trainer) -> None:
        """Write where the run begins or goes on."""
        self._write(trainer.current_step + 1)

    def step(self, trainer: Trainer, row: Row) -> None:
        """Write where the next step begins an epoch."""
        if (
            self.order.position(trainer.current_step + 1)[1] == 0
            and not trainer.complete
            and not trainer.stop_requested
        ):
            self._write(trainer.current_step + 1)

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to write."""

    def _write(self, step: int) -> None:
        epoch, first_instance = self.order.position(step)
        row = LedgerRow(
            first_step=step,
            first_instance=first_instance,
            epoch=epoch,
            batch_size=self.order.batch_size,
            sequence_length=self.sequence_length,
            seed=self.order.seed,
            instances=self.order.instances,
            tokens_fingerprint=self.tokens_fingerprint,
        )
        append_to_ledger(self.path, row)
