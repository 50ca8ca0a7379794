"""What a rank trains on, step by step, read while the step before is computed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .callbacks.masked_instances import MaskedInstances
from .instance_filter import repeating
from .label_masks import LabelMasks
from .plan import Plan
from .ranks import Ranks
from .trainer import Batch


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
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._ahead: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """The tensors of a step, on their way to the device."""
        ahead, self._ahead = self._ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == step else self._read(step)
        if step < self.plan.max_steps:
            self._ahead = step + 1, self._reader.submit(self._read, step + 1)
        return tuple(part.to(self.ranks.device, non_blocking=True) for part in batch)

    def close(self) -> None:
        """Read no further."""
        self._reader.shutdown(cancel_futures=True)

    def _read(self, step: int) -> Batch:
        numbers = self.plan.instances_of(step, self.ranks)
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
