"""The training loop. It knows an update, a loss and an order of batches, but no model, no file and no schedule's form;
everything periodic is a callback."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from .errors import UserError
from .guard import NON_FINITE, Reason, stopping
from .loss import Loss
from .ranks import ALONE, Ranks, SharedError
from .update import Applied, Update

Row = dict[str, float]
Batch = tuple[Tensor, ...]  # each with the instances of the step as its first dimension


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step measured: cross-entropy in nats and, where it is on, z-loss, means over its micro-batches as
    scalars on the device, and what its update measured. Reading a value there waits for the step."""

    step: int
    cross_entropy: Tensor
    z_loss: Tensor | None
    applied: Applied

    def row(self) -> Row:
        """The values under their names in the metrics; none where the step was not finite."""
        row = {
            "train/CrossEntropyLoss": self.cross_entropy.item(),
            "optim/learning_rate": self.applied.learning_rate,
            "optim/total_grad_norm": self.applied.clipped.norm.item(),
            "optim/clipping_rate": self.applied.clipped.rate.item(),
        }
        if self.z_loss is not None:
            row["train/ZLoss"] = self.z_loss.item()
        if self.applied.update_cosine is not None:
            row["optim/update_cos_sim"] = self.applied.update_cosine.item()
        return row if not int(self.applied.reasons) & NON_FINITE else {}


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

    One step, in the order of OLMo: count; gradients to nothing; forward and backward of every micro-batch, each loss
    divided by their number; then the update. Nothing in a step waits for the device: whether a step was held back is
    asked for together with others (``settle``), which is exact since a step that stops the run also keeps all later
    ones from changing the weights.

    Of several ranks each takes micro-batches of its own, as many as the others; the loss of a step is the mean over all
    of them, so it is the same for any number of ranks.
    """

    def __init__(
        self,
        *,
        compute_loss: Callable[..., Loss],
        update: Update,
        next_batch: Callable[[int], Batch],
        max_steps: int,
        micro_batch_size: int,
        ranks: Ranks = ALONE,
        before_backward: Callable[[bool], None] = lambda last: None,
        settle_interval: int = 1,
        callbacks: Sequence[Callback] = (),
        on_skipped: Callable[[int, str], None] = lambda step, reason: None,
        describe_batch: Callable[[int], str] = lambda step: f"batch of step {step}",
        step: int = 0,
    ) -> None:
        """``next_batch(s)`` gives this rank's tensors of step s on the device, ``compute_loss`` takes some of them;
        ``before_backward`` is told whether a micro-batch is the last of the step."""
        self.compute_loss = compute_loss
        self.update = update
        self.next_batch = next_batch
        self.max_steps = max_steps
        self.micro_batch_size = micro_batch_size
        self.ranks = ranks
        self.before_backward = before_backward
        self.settle_interval = settle_interval
        self.callbacks = callbacks
        self.on_skipped = on_skipped
        self.describe_batch = describe_batch
        self.current_step = step
        self.seconds = 0.0  # spent in steps alone: evaluation and saving are not counted
        self.stop_requested = False
        self.result: StepResult | None = None
        self._unsettled: list[StepResult] = []
        self._problem: UserError | OSError | None = None

    @property
    def complete(self) -> bool:
        return self.current_step >= self.max_steps

    def due(self, interval: int) -> bool:
        """Whether this step is a multiple of ``interval`` or the last."""
        return self.current_step % interval == 0 or self.complete

    def fit(self) -> None:
        """Train until ``max_steps`` or until ``stop_requested`` is set on any rank; the step at hand is always
        finished."""
        self._call(lambda callback: callback.start(self))
        self._share_problem()
        while not self.complete and not self.ranks.any(self.stop_requested):
            started = time.perf_counter()
            self.train_step()
            if self.due(self.settle_interval):
                self.settle()
            self.seconds += time.perf_counter() - started
            row: Row = {}
            self._call(lambda callback, row=row: callback.step(self, row))  # type: ignore[misc]
        self._share_problem()
        self.settle()
        self._call(lambda callback: callback.finish(self))
        self._share_problem()

    def _call(self, work: Callable[[Callback], None]) -> None:
        """Let every callback work. One that fails on this rank alone does not keep the next from it, for they may need
        all ranks; it ends the training once all of them are there to hear why."""
        for callback in self.callbacks:
            try:
                work(callback)
            except (UserError, OSError) as error:
                if self.ranks.world == 1 or isinstance(error, SharedError):
                    raise
                self._problem = self._problem or error
                self.stop_requested = True

    def _share_problem(self) -> None:
        def tell() -> None:
            if self._problem is not None:
                raise self._problem

        self.ranks.together(tell)

    def train_step(self) -> StepResult:
        """One update, unless the guard holds it back."""
        self.current_step += 1
        splits = [torch.split(part, self.micro_batch_size) for part in self.next_batch(self.current_step)]
        self.update.clear()
        count = len(splits[0])
        sums = torch.zeros(2, device=splits[0][0].device)  # of cross-entropy and z-loss
        with_z_loss = False
        for number, micro_batch in enumerate(zip(*splits, strict=True), start=1):
            self.before_backward(number == count)
            loss = self.compute_loss(*micro_batch)
            (loss.total / count).backward()  # type: ignore[no-untyped-call]
            sums[0] += loss.cross_entropy
            if loss.z_loss is not None:
                with_z_loss = True
                sums[1] += loss.z_loss
        cross_entropy, z_loss = self.ranks.mean(sums / count).unbind()
        applied = self.update.apply(self.current_step, cross_entropy)
        self.result = StepResult(
            step=self.current_step,
            cross_entropy=cross_entropy,
            z_loss=z_loss if with_z_loss else None,
            applied=applied,
        )
        self._unsettled.append(self.result)
        return self.result

    def settle(self) -> None:
        """Learn which of the last steps were held back: skipped ones are made known; one that stops the run raises.

        The one place that waits for the device, once for all steps since the last time. Whoever keeps the state of the
        run calls it first. All ranks call it together.
        """
        if not self._unsettled:
            return
        all_reasons = torch.stack([result.applied.reasons for result in self._unsettled]).tolist()
        for result, number in zip(self._unsettled, all_reasons, strict=True):
            reasons = Reason(number)
            if not reasons:
                continue
            account = self._account(result, reasons)
            if reasons & stopping(self.update.guard):
                self.ranks.together(partial(self._stop, result.step, account))
            self.on_skipped(result.step, account)
        self._unsettled.clear()

    def _stop(self, step: int, account: str) -> None:
        if self.ranks.first:
            raise UserError(
                f"{account} at step {step}; its batch holds {self.describe_batch(step)}",
                fix="look at these documents, let guard skip such steps, or lower optimizer.learning_rate and "
                "start from an earlier checkpoint",
            )

    def _account(self, result: StepResult, reasons: Reason) -> str:
        """``the loss is nan``: what was found, of the loss where both are to blame."""
        if reasons & (Reason.LOSS_NOT_FINITE | Reason.LOSS_SPIKE):
            what = f"the loss is {result.cross_entropy.item():.6g}"
        else:
            what = f"the gradient norm is {result.applied.clipped.norm.item():.6g}"
        if reasons & NON_FINITE:
            return what
        guard = self.update.guard
        return f"{what}, more than {guard.sigma:g} standard deviations above the last {guard.window}"
