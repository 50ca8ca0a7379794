"""What a person sees while the run goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..trainer import Row, Trainer
from .peak_memory import CPU, GPU

log = logging.getLogger(__name__)


def time_left(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seconds_left(trainer: Trainer, tokens_seen: Callable[[int], int], first_step: int) -> float:
    """Seconds that the steps to come will take, at the speed since ``first_step``."""
    done = tokens_seen(trainer.current_step) - tokens_seen(first_step)
    return (tokens_seen(trainer.max_steps) - tokens_seen(trainer.current_step)) * trainer.seconds / done


def use_of_device(row: Row) -> str:
    """``  MFU 41.2 %  peak memory 1,234 MB``: what of it the row has."""
    parts = [f"  MFU {row['throughput/device/MFU']:.1f} %"] if "throughput/device/MFU" in row else []
    parts += [f"  peak memory {row[name]:,.0f} MB" for name in (GPU, CPU) if name in row]
    return "".join(parts)


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
            log.info(
                "step %d/%d  loss %.4f  learning rate %.3g  gradient norm %.3f  %s tokens/s%s  %s left",
                trainer.current_step,
                trainer.max_steps,
                row["train/CrossEntropyLoss"],
                row["optim/learning_rate"],
                row["optim/total_grad_norm"],
                f"{row['throughput/tokens_per_second']:,.0f}",
                use_of_device(row),
                time_left(seconds_left(trainer, self.tokens_seen, self.first_step)),
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
