"""The data order as a pure function, and its ledger: which instances did step N take?"""

from __future__ import annotations

import json
import os
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .batch_schedule import BatchSchedule
from .errors import UserError
from .mixture import Mixture, permutation

FORMAT_VERSION = 1
ORDER = "olmo"
COUNTS = ("first_step", "first_instance", "epoch", "batch_size", "sequence_length", "seed", "instances")


def shuffled(instances: int, seed: int, epoch: int) -> npt.NDArray[np.uint32]:
    """OLMo's order: ``arange(instances)`` as uint32, shuffled by PCG64 seeded with ``seed + epoch``."""
    return permutation(instances, seed + epoch)


@dataclass(frozen=True)
class Stretch:
    """Steps from ``first_step`` on take ``batch_size`` instances each, from ``first_instance`` of an epoch on."""

    first_step: int
    epoch: int
    first_instance: int
    batch_size: int


class Order:
    """Which instances each step takes. Steps count from 1; the rest of an epoch below a whole batch is dropped."""

    def __init__(self, *, instances: int, batches: BatchSchedule, seed: int, mixture: Mixture | None = None) -> None:
        """``instances`` are those of an epoch: with a ``mixture`` its places."""
        largest = max(batches.sizes)
        if instances < largest:
            raise UserError(
                f"the data has {instances} instances, fewer than global_batch_size {largest}",
                where="data.tokens",
                fix="lower global_batch_size or data.sequence_length, or add data",
            )
        self.instances = instances
        self.batches = batches
        self.seed = seed
        self.mixture = mixture
        self._stretches = stretches(instances, batches)
        self._shuffled = -1, np.empty(0, dtype=np.uint32)  # epoch and its order; one value, since threads share it

    def position(self, step: int) -> tuple[int, int]:
        """Epoch of a step, and where in the epoch's order its first instance stands."""
        stretch = self._stretches[bisect_right(self._stretches, step, key=lambda stretch: stretch.first_step) - 1]
        size = stretch.batch_size
        index = step - stretch.first_step
        here = (self.instances - stretch.first_instance) // size  # steps that the epoch has left for the stretch
        if index < here:
            return stretch.epoch, stretch.first_instance + index * size
        epochs, index = divmod(index - here, self.instances // size)
        return stretch.epoch + 1 + epochs, index * size

    def steps_of_epochs(self, epochs: int) -> int:
        """Steps of the first so many epochs."""
        steps = range(1, epochs * self.instances + 2)
        return bisect_left(steps, epochs, key=lambda step: self.position(step)[0])

    def begins(self, step: int) -> bool:
        """Whether a step is the first of an epoch or of a batch size."""
        return self.position(step)[1] == 0 or any(stage.first_step == step for stage in self.batches.stages)

    def taken_before(self, step: int) -> int:
        """Instances that all steps before this one took."""
        return self.batches.taken_before(step)

    def batch(self, step: int) -> npt.NDArray[np.uint32]:
        """Instances of a step, as many as its batch size."""
        epoch, first = self.position(step)
        kept, order = self._shuffled
        if epoch != kept:
            order = shuffled(self.instances, self.seed, epoch)
            if self.mixture is not None:
                order = self.mixture.instances(order, self.seed, epoch)
            self._shuffled = epoch, order
        return order[first : first + self.batches.batch_size(step)]

    def row(
        self, step: int, *, sequence_length: int, tokens_fingerprint: str, skipped_steps: tuple[int, ...] = ()
    ) -> LedgerRow:
        """The row of the ledger that begins at a step."""
        epoch, first_instance = self.position(step)
        return LedgerRow(
            first_step=step,
            first_instance=first_instance,
            epoch=epoch,
            batch_size=self.batches.batch_size(step),
            sequence_length=sequence_length,
            seed=self.seed,
            instances=self.instances,
            tokens_fingerprint=tokens_fingerprint,
            mixture=None if self.mixture is None else asdict(self.mixture),
            skipped_steps=skipped_steps,
        )


def stretches(instances: int, batches: BatchSchedule) -> list[Stretch]:
    """The stages of batch sizes laid along the epochs; the last stretch goes on through all further epochs."""
    result: list[Stretch] = []
    epoch = position = 0
    for number, stage in enumerate(batches.stages):
        step, size = stage.first_step, stage.batch_size
        final = number + 1 == len(batches.stages)
        while final or step < batches.stages[number + 1].first_step:
            here = (instances - position) // size
            if here == 0:
                epoch, position = epoch + 1, 0
                continue
            result.append(Stretch(step, epoch, position, size))
            if final:
                break
            steps = min(here, batches.stages[number + 1].first_step - step)
            step, position = step + steps, position + steps * size
    return result


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """A start or change of the order. Step s takes the instances from
    ``first_instance + (s - first_step) * batch_size`` on of the order of ``seed`` and ``epoch``. The steps in
    ``skipped_steps`` took their instances too, but made no update."""

    first_step: int
    first_instance: int
    epoch: int
    batch_size: int
    sequence_length: int
    seed: int
    instances: int
    tokens_fingerprint: str
    mixture: dict[str, Any] | None = None
    skipped_steps: tuple[int, ...] = ()
    order: str = ORDER
    format_version: int = FORMAT_VERSION

    def parts(self) -> Mixture | None:
        """The mixture whose places ``instances`` counts, where there are several sources; ValueError or another where
        it is none."""
        if self.mixture is None:
            return None
        found = Mixture(*(tuple(int(count) for count in self.mixture[name]) for name in ("counts", "taken")))
        if found.places != self.instances:
            raise ValueError("the places of the mixture are not those of the row")
        return found


@dataclass(frozen=True)
class Segment:
    """Steps ``first`` to ``last`` (inclusive) that one row of the ledger rules."""

    first: int
    last: int
    row: LedgerRow

    def start_of(self, step: int) -> int:
        """Position in the shuffled order of the first instance of a step."""
        return self.row.first_instance + (step - self.row.first_step) * self.row.batch_size


def append_to_ledger(path: Path, row: LedgerRow) -> None:
    """Append a row; what a killed writer left of a last line is cut off first."""
    line = json.dumps({"format_version": row.format_version} | asdict(row)).encode() + b"\n"
    with open(path, "ab+") as stream:
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def read_ledger(path: Path) -> list[LedgerRow]:
    """The rows of a ledger, an unfinished last line left out."""
    if not path.is_file():
        raise UserError("the run has no data order yet", where=path, fix="give the folder of a run that has started")
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            values = json.loads(line)
            version = values["format_version"]
            row = LedgerRow(**values | {"skipped_steps": tuple(values["skipped_steps"])})
            row.parts()
            counts = [getattr(row, name) for name in COUNTS] + list(row.skipped_steps)
            if not all(type(count) is int and count >= 0 for count in counts):
                raise ValueError("a count that is none")
            if min(row.first_step, row.batch_size, row.sequence_length) < 1:
                raise ValueError("a count that has to be at least one")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError("not a row of the data order", where=path, line=number, fix="restore the file") from error
        if version != FORMAT_VERSION or row.order != ORDER:
            raise UserError(
                f"order {row.order!r} of format {version} is unknown",
                where=path,
                line=number,
                fix="use a newer version",
            )
        rows.append(row)
    return rows


def segments(rows: list[LedgerRow], last_step: int) -> list[Segment]:
    """What was in force up to ``last_step``: a later row replaces all before it from its first step on."""
    result: list[Segment] = []
    for row in rows:
        result = [
            Segment(old.first, min(old.last, row.first_step - 1), old.row)
            for old in result
            if old.first < row.first_step
        ]
        if row.first_step <= last_step:
            result.append(Segment(row.first_step, last_step, row))
    return result
