"""Rows of metrics to Weights & Biases (extra ``wandb``)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ..config.training import WandbSettings
from ..errors import UserError
from ..trainer import Row, Trainer


class WeightsAndBiases:
    """Logs every row. A run that goes on is the same run there: its id comes from the folder's place."""

    def __init__(self, settings: WandbSettings, root: Path, config: dict[str, Any]) -> None:
        if settings.mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else wandb reports on itself over the network
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                "wandb is not installed", where="wandb.project", fix="pip install 'olmo-model[wandb]', or unset it"
            ) from error
        self.wandb: Any = wandb
        self.settings = settings
        self.root = root
        self.config = config
        self.run: Any = None

    def start(self, trainer: Trainer) -> None:
        """Open the run."""
        self.run = self.wandb.init(
            project=self.settings.project,
            entity=self.settings.entity,
            group=self.settings.group,
            mode=self.settings.mode,
            name=self.settings.name or self.config["run_name"],
            tags=None if self.settings.tags is None else list(self.settings.tags),
            id=hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:16],
            resume="allow" if self.settings.mode == "online" else None,
            dir=str(self.root),
            config=self.config,
        )

    def step(self, trainer: Trainer, row: Row) -> None:
        """Send the row."""
        if row:
            self.run.log(row, step=trainer.current_step)

    def finish(self, trainer: Trainer) -> None:
        """Close the run."""
        self.run.finish()
