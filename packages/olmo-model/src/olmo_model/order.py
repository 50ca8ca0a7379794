"""The data order as a pure function, and its ledger: which instances did step N take?"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import UserError

FORMAT_VERSION = 1
ORDER = "olmo"
COUNTS = ("first_step", "first_instance", "epoch", "batch_size", "sequence_length", "seed", "instances")


def shuffled(instances: int, seed: int, epoch: int) -> npt.NDArray[np.uint32]:
    """OLMo's order: ``arange(instances)`` as uint32, shuffled by PCG64 seeded with ``seed + epoch``."""
    order = np.arange(instances, dtype=np.uint32)
    np.random.Generator(np.random.PCG64(seed + epoch)).shuffle(order)
    return order


class Order:
    """Which instances each step takes. Steps count from 1; the rest of an epoch below a whole batch is dropped."""

    def __init__(self, *, instances: int, batch_size: int, seed: int) -> None:
        if instances < batch_size:
            raise UserError(
                f"the data has {instances} instances, fewer than global_batch_size {batch_size}",
                where="data.tokens",
                fix="lower global_batch_size or data.sequence_length, or add data",
            )
        self.instances = instances
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = instances // batch_size
        self._epoch = -1
        self._shuffled = np.empty(0, dtype=np.uint32)

    def position(self, step: int) -> tuple[int, int]:
        """Epoch of a step, and where in the epoch's order its first instance stands."""
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        return epoch, index * self.batch_size

    def batch(self, step: int) -> npt.NDArray[np.uint32]:
        """Instances of a step, [batch_size]."""
        epoch, first = self.position(step)
        if epoch != self._epoch:
            self._shuffled, self._epoch = shuffled(self.instances, self.seed, epoch), epoch
        return self._shuffled[first : first + self.batch_size]


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """A start or change of the order. Step s takes the instances from
    ``first_instance + (s - first_step) * batch_size`` on of the order of ``seed`` and ``epoch``."""

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
