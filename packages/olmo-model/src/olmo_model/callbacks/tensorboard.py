"""Rows of metrics to TensorBoard (extra ``tensorboard``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserError
from ..trainer import Row, Trainer


class TensorBoard:
    """Writes every row as scalars under the same names. A run that goes on is the same run there: what it does again
    replaces what stood behind the checkpoint."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "tensorboard is not installed",
                where="tensorboard",
                fix="pip install 'olmo-model[tensorboard]', or set it to false",
            ) from error
        self.make_writer: Any = SummaryWriter
        self.folder = folder
        self.writer: Any = None

    def start(self, trainer: Trainer) -> None:
        """Open a file of events; TensorBoard discards what older files have from the next step on."""
        self.writer = self.make_writer(str(self.folder), purge_step=trainer.current_step + 1)

    def step(self, trainer: Trainer, row: Row) -> None:
        """Write the row, so that a reader sees it at once."""
        for name, value in row.items():
            self.writer.add_scalar(name, value, trainer.current_step)
        if row:
            self.writer.flush()

    def finish(self, trainer: Trainer) -> None:
        """Close the file."""
        self.writer.close()
