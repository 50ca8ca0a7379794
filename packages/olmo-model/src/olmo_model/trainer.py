"""The training loop. It knows weights, a loss and an order of batches, but no model, no file and no schedule's form;
everything periodic is a callback."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .errors import UserError
from .optim import clip_gradients

Row = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step measured: mean loss in nats, learning rate used, global gradient norm before clipping."""

    loss: float
    learning_rate: float
    grad_norm: float


class Callback(Protocol):
    """Something that happens beside the training."""

    def start(self, trainer: Trainer) -> None:
        """Before the first step."""

    def step(self, trainer: Trainer, row: Row) -> None:
        """After every step; ``row`` gathers what this step adds to the metrics, from callback to callback."""

    def finish(self, trainer: Trainer) -> None:
        """After the last step, whether the run is complete or was asked to stop."""


class Trainer:
    """Runs steps ``step + 1`` to ``max_steps``.

    One step, in the order of OLMo v1: count; gradients to nothing; forward and backward of every micro-batch, each
    loss divided by their number; clip by global norm; set the learning rate of this step; update.
    """

    def __init__(
        self,
        *,
        parameters: Sequence[Tensor],
        compute_loss: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        learning_rate: Callable[[int], float],
        next_batch: Callable[[int], Tensor],
        max_steps: int,
        micro_batch_size: int,
        max_grad_norm: float,
        callbacks: Sequence[Callback] = (),
        describe_batch: Callable[[int], str] = lambda step: f"batch of step {step}",
        step: int = 0,
    ) -> None:
        """``next_batch(s)`` gives the ids [B, T] of step s on the device; ``compute_loss`` the mean loss of [b, T]."""
        self.parameters = parameters
        self.compute_loss = compute_loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.next_batch = next_batch
        self.max_steps = max_steps
        self.micro_batch_size = micro_batch_size
        self.max_grad_norm = max_grad_norm
        self.callbacks = callbacks
        self.describe_batch = describe_batch
        self.current_step = step
        self.seconds = 0.0  # spent in steps alone: evaluation and saving are not counted
        self.stop_requested = False
        self.result: StepResult | None = None

    @property
    def complete(self) -> bool:
        return self.current_step >= self.max_steps

    def due(self, interval: int) -> bool:
        """Whether this step is a multiple of ``interval`` or the last."""
        return self.current_step % interval == 0 or self.complete

    def fit(self) -> None:
        """Train until ``max_steps`` or until ``stop_requested`` is set; the step at hand is always finished."""
        for callback in self.callbacks:
            callback.start(self)
        while not self.complete and not self.stop_requested:
            started = time.perf_counter()
            self.result = self.train_step()
            self.seconds += time.perf_counter() - started
            row: Row = {}
            for callback in self.callbacks:
                callback.step(self, row)
        for callback in self.callbacks:
            callback.finish(self)

    def train_step(self) -> StepResult:
        """One update. A loss or gradient that is not finite raises before it reaches the weights."""
        self.current_step += 1
        micro_batches = torch.split(self.next_batch(self.current_step), self.micro_batch_size)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for micro_batch in micro_batches:
            loss = self.compute_loss(micro_batch) / len(micro_batches)
            value = loss.item()
            if not math.isfinite(value):
                self._refuse("loss", value)
            loss.backward()  # type: ignore[no-untyped-call]
            total += value
        norm = clip_gradients(self.parameters, self.max_grad_norm).item()
        if not math.isfinite(norm):
            self._refuse("gradient norm", norm)
        rate = self.learning_rate(self.current_step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return StepResult(loss=total, learning_rate=rate, grad_norm=norm)

    def _refuse(self, what: str, value: float) -> None:
        batch = self.describe_batch(self.current_step)
        raise UserError(
            f"the {what} is {value} at step {self.current_step}; its batch holds {batch}",
            fix="look at these documents, or lower optimizer.learning_rate and start from an earlier checkpoint",
        )
