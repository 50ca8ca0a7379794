"""How many instances the filter left out of the loss."""

from __future__ import annotations

from ..ranks import Ranks
from ..trainer import Row, Trainer


class MaskedInstances:
    """Adds ``train/masked_instances`` to logged steps: instances left out since the last of them."""

    def __init__(self, ranks: Ranks, *, interval: int) -> None:
        self.ranks = ranks
        self.interval = interval
        self.of_step: dict[int, int] = {}  # written when a batch is read, which may be ahead of its step

    def start(self, trainer: Trainer) -> None:
        """Nothing to do before the first step."""

    def step(self, trainer: Trainer, row: Row) -> None:
        """Count where it is time."""
        if trainer.due(self.interval) or trainer.current_step == 1:
            read = list(self.of_step)  # a copy made at once: the reader adds to it meanwhile
            done = sum(self.of_step.pop(step) for step in read if step <= trainer.current_step)
            # all of a tensor group read the same instances; its first speaks for it
            row["train/masked_instances"] = sum(self.ranks.gather(done)[:: self.ranks.tensor])

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to count."""
