"""The most memory that the run has taken."""

from __future__ import annotations

import resource
import sys

import torch

from ..ranks import Ranks
from ..trainer import Row, Trainer

GPU, CPU = "System/Peak GPU Memory (MB)", "System/Peak CPU Memory (MB)"


def peak_memory(device: torch.device) -> int:
    """Bytes of this process at most since it began: on CUDA those that its tensors took on the device, else those
    resident in the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class PeakMemory:
    """Holds ready, for logged steps, the peak of the rank that took most. Every rank has one; it stands before the
    callback that writes it."""

    def __init__(self, ranks: Ranks, *, log_interval: int) -> None:
        self.ranks = ranks
        self.log_interval = log_interval
        self.row: Row = {}

    def start(self, trainer: Trainer) -> None:
        """Nothing to do before the first step."""

    def step(self, trainer: Trainer, row: Row) -> None:
        """Ask all ranks where the step is logged."""
        if trainer.due(self.log_interval) or trainer.current_step == 1:
            name = GPU if self.ranks.device.type == "cuda" else CPU
            self.row = {name: max(self.ranks.gather(peak_memory(self.ranks.device))) / 1e6}

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to ask."""
