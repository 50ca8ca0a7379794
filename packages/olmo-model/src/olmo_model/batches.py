"""What a rank trains on, step by step, read while the step before is computed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .callbacks.masked_instances import MaskedInstances
from .instance_filter import repeating
from .label_masks import LabelMasks
from .pieces import Pieces
from .plan import Plan
from .ranks import Ranks
from .trainer import Batch

LONGEST_WINDOW = 32  # steps


class Windows:
    """Steps whose instances, behind URLs, are asked for together while the steps before them are computed."""

    def __init__(self, plan: Plan, ranks: Ranks, pieces: Sequence[Pieces]) -> None:
        self.plan = plan
        self.ranks = ranks
        self.pieces = pieces
        size = len(plan.instances_of(plan.max_steps, ranks))  # a batch only grows
        self.steps = min(each.room // (2 * size) for each in pieces)
        self.steps = max(1, min(LONGEST_WINDOW, self.steps))
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="windows")
        self._asked: dict[int, tuple[dict[int, npt.NDArray[np.uint32]], Future[None]]] = {}

    def numbers(self, step: int) -> npt.NDArray[np.uint32]:
        """The instances of a step, once they are here; those of the next window are then on their way."""
        window = (step - 1) // self.steps
        self._asked = {number: asked for number, asked in self._asked.items() if number >= window}
        for number in (window, window + 1):
            if number not in self._asked and number * self.steps < self.plan.max_steps:
                self._asked[number] = self._ask(number, step)
        numbers, here = self._asked[window]
        here.result()
        return numbers[step]

    def close(self) -> None:
        """Ask for nothing further."""
        self._reader.shutdown(cancel_futures=True)
        for each in self.pieces:
            each.close()

    def _ask(self, window: int, step: int) -> tuple[dict[int, npt.NDArray[np.uint32]], Future[None]]:
        first, last = max(step, window * self.steps + 1), min((window + 1) * self.steps, self.plan.max_steps)
        numbers = {each: self.plan.instances_of(each, self.ranks) for each in range(first, last + 1)}
        return numbers, self._reader.submit(self._fetch, list(numbers.values()))

    def _fetch(self, numbers: Sequence[npt.NDArray[np.uint32]]) -> None:
        places = self.plan.instances.places(np.concatenate(numbers))
        for each in self.pieces:
            each.fetch(places)


class Batches:
    """The batches of a plan that one rank takes. A batch is ids [B, T], then, where the settings leave labels out of
    the loss, which instances count [B], and, with masks of labels, which ids [B, T]."""

    def __init__(self, plan: Plan, ranks: Ranks, masked: MaskedInstances | None = None) -> None:
        """``masked`` is told of instances left out, possibly ahead of their step."""
        self.plan = plan
        self.ranks = ranks
        self.masked = masked
        data = plan.config.data
        self.filter = data.instance_filter
        self.masks = LabelMasks(data.label_masks, plan.instances) if data.label_masks else None
        self.waited = 0.0  # seconds that steps waited for their batch
        pieces = [plan.instances.pieces] + ([self.masks.pieces] if self.masks is not None else [])
        self._windows = Windows(plan, ranks, pieces) if any(each.remote for each in pieces) else None
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._ahead: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """The tensors of a step, on their way to the device."""
        began = time.perf_counter()
        ahead, self._ahead = self._ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == step else self._read(step)
        if step < self.plan.max_steps:
            self._ahead = step + 1, self._reader.submit(self._read, step + 1)
        self.waited += time.perf_counter() - began
        return tuple(part.to(self.ranks.device, non_blocking=True) for part in batch)

    def close(self) -> None:
        """Read no further."""
        self._reader.shutdown(cancel_futures=True)
        if self._windows is not None:
            self._windows.close()

    def _read(self, step: int) -> Batch:
        numbers = self.plan.instances_of(step, self.ranks) if self._windows is None else self._windows.numbers(step)
        ids = self.plan.instances.batch(numbers)
        found: list[npt.NDArray[Any]] = [ids]
        if self.filter.enabled or self.masks is not None:
            out = np.zeros(len(ids), dtype=bool)
            if self.filter.enabled:
                wanted = self.filter
                out = repeating(
                    ids, min_period=wanted.min_period, max_period=wanted.max_period, max_count=wanted.max_count
                )
            if self.masked is not None:
                self.masked.of_step[step] = int(out.sum())
            found.append(~out)
        if self.masks is not None:
            found.append(self.masks.batch(numbers))
        return tuple(self._tensor(part) for part in found)

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self.ranks.device.type == "cuda" else tensor
