"""What a person sees while the run goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..trainer import Row, Trainer

log = logging.getLogger(__name__)


def time_left(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Console:
    """One line a logged step, one line a measured value of an evaluation."""

    def __init__(self, tokens_seen: Callable[[int], int]) -> None:
        """``tokens_seen(s)`` is how many tokens the steps up to s have taken."""
        self.tokens_seen = tokens_seen
        self.first_step = 0

    def start(self, trainer: Trainer) -> None:
        """Remember where this process began."""
        self.first_step = trainer.current_step

    def step(self, trainer: Trainer, row: Row) -> None:
        """Print what the step put into its row."""
        if "train/CrossEntropyLoss" in row:
            done = self.tokens_seen(trainer.current_step) - self.tokens_seen(self.first_step)
            to_do = self.tokens_seen(trainer.max_steps) - self.tokens_seen(trainer.current_step)
            left = to_do * trainer.seconds / done
            log.info(
                "step %d/%d  loss %.4f  learning rate %.3g  gradient norm %.3f  %s tokens/s  %s left",
                trainer.current_step,
                trainer.max_steps,
                row["train/CrossEntropyLoss"],
                row["optim/learning_rate"],
                row["optim/total_grad_norm"],
                f"{row['throughput/tokens_per_second']:,.0f}",
                time_left(left),
            )
        for name, value in row.items():
            if name.startswith("eval/"):
                log.info(
                    "step %d/%d  %s %.4f", trainer.current_step, trainer.max_steps, name.removeprefix("eval/"), value
                )

    def finish(self, trainer: Trainer) -> None:
        """Say how long the steps took."""
        done = trainer.current_step - self.first_step
        if done:
            tokens = self.tokens_seen(trainer.current_step) - self.tokens_seen(self.first_step)
            rate = tokens / trainer.seconds
            log.info("%d steps in %s, %s tokens/s", done, time_left(trainer.seconds), f"{rate:,.0f}")
