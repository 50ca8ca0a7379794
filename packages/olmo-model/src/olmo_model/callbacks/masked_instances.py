"""How many instances the filter left out of the loss."""

from __future__ import annotations

from ..ranks import Ranks
from ..trainer import Row, Trainer


class MaskedInstances:
    """Adds ``train/masked_instances`` to logged steps: instances left out since the last of them."""

    def __init__(self, ranks: Ranks, *, interval: int, before: int = 0) -> None:
        """``before`` were left out since the last logged step when the run was saved that goes on."""
        self.ranks = ranks
        self.interval = interval
        self.before = before
        self.of_step: dict[int, int] = {}  # written when a batch is read, which may be ahead of its step

    def start(self, trainer: Trainer) -> None:
        """Nothing to do before the first step."""

    def step(self, trainer: Trainer, row: Row) -> None:
        """Count where it is time."""
        if trainer.due(self.interval) or trainer.current_step == 1:
            row["train/masked_instances"] = self.so_far(trainer.current_step)
            self.before = 0
            for step in [step for step in list(self.of_step) if step <= trainer.current_step]:
                del self.of_step[step]

    def so_far(self, step: int) -> int:
        """How many were left out up to a step, the one at hand, since the last that was logged. All ranks ask."""
        read = list(self.of_step)  # a copy made at once: the reader adds to it meanwhile
        done = sum(self.of_step[each] for each in read if each <= step)
        # all of a tensor group read the same instances; its first speaks for it
        return self.before + sum(self.ranks.gather(done)[:: self.ranks.tensor])

    def finish(self, trainer: Trainer) -> None:
        """Nothing is left to count."""
