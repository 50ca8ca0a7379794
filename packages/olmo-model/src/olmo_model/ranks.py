"""The processes that run together: who this one is, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from .errors import UserError

AXES = REPLICATE, SHARD, TENSOR = ("replicate", "shard", "tensor")
PATIENCE = timedelta(minutes=30)  # for the slowest rank, at any one message
Value = TypeVar("Value")


class SaidElsewhere(SystemExit):
    """Ends this process with the status of a user's error, which another rank reports."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of the run. ``mesh`` says how the model is spread over them, None where it is not;
    ``line`` has all of them in a row where there are tensor groups; ``files`` is a group of its own for messages while
    the training goes on, None where no launcher started others."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mesh: DeviceMesh | None = None
    line: DeviceMesh | None = None
    files: dist.ProcessGroup | None = None

    @property
    def tensor(self) -> int:
        """Ranks of a tensor group."""
        return 1 if self.mesh is None else self.mesh[TENSOR].size()

    @property
    def data_ranks(self) -> int:
        """Ranks, or tensor groups, that read instances of their own."""
        return self.world // self.tensor

    @property
    def data_rank(self) -> int:
        """Which of them this is."""
        return self.rank // self.tensor

    @property
    def first(self) -> bool:
        """Whether this process speaks for all: it writes what there is once."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all ranks, which each gets."""
        if self.world == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.world

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any rank."""
        if self.world == 1:
            return flag
        up = torch.tensor(int(flag))
        dist.all_reduce(up, dist.ReduceOp.MAX)
        return bool(up)

    def gather(self, value: Value, *, aside: bool = False) -> list[Value]:
        """The value of every rank, in their order; ``aside`` of the training, on the group for files."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.files if aside else None)
        return values

    def together(self, work: Callable[[], Value], *, aside: bool = False) -> Value:
        """``work()`` on every rank. If it is a UserError on some, it ends on all, and the first rank says why once."""
        problem: UserError | None = None
        try:
            value = work()
        except UserError as error:
            problem = error
        problems = self.gather(problem, aside=aside)
        failed = [rank for rank, problem in enumerate(problems) if problem is not None]
        if not failed:
            return value
        if not self.first:
            raise SaidElsewhere(2)
        said = problems[failed[0]]
        assert said is not None
        what = f"rank {failed[0]}: {said.what}" if failed[0] else said.what
        raise UserError(what, where=said.where, line=said.line, fix=said.fix) from said


ALONE = Ranks()


def launched() -> bool:
    """Whether ``torchrun`` (or another launcher that sets its variables) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def joined(kind: str, *, always: bool = False) -> Iterator[Ranks]:
    """This process among the ranks of the run; their group is left again at the end.

    ``kind`` is ``cpu`` (gloo) or ``cuda`` (NCCL beside gloo, a device for each local rank). One process that no
    launcher started is by itself, unless ``always``.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    if not launched() and not always:
        yield Ranks(device=device)
        return
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    alone = None if launched() else dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=alone, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        files = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(files, dist.ProcessGroup)
        yield Ranks(rank=rank, world=world, device=device, files=files)
    finally:
        dist.destroy_process_group()
