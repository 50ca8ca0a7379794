"""The processes that run together: who this one is, and what they tell each other."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.rendezvous import rendezvous

from .command_line import one_line
from .errors import UserError
from .files import NO_ROOM

log = logging.getLogger(__name__)
AXES = REPLICATE, SHARD, TENSOR = ("replicate", "shard", "tensor")
PATIENCE = timedelta(minutes=30)  # for the slowest rank, at any one message
A_MINUTE, A_MOMENT = timedelta(minutes=1), timedelta(seconds=5)
Value = TypeVar("Value")


class SaidElsewhere(SystemExit):
    """Ends this process with the status of a user's error, which another rank reports."""


class SharedError(UserError):
    """A user's error that all ranks know of."""


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
        """``work()`` on every rank. If it is a UserError or an OSError on some, it ends on all, and the first rank says
        why once."""
        problem: UserError | None = None
        try:
            value = work()
        except (UserError, OSError) as error:
            problem = mendable(error)
        problems = self.gather(problem, aside=aside)
        failed = [rank for rank, problem in enumerate(problems) if problem is not None]
        if not failed:
            return value
        if not self.first:
            raise SaidElsewhere(2)
        said = problems[failed[0]]
        assert said is not None
        raise of_rank(failed[0], said, SharedError) from said

    def from_first(self, work: Callable[[], Value]) -> Value:
        """What ``work()`` gives on the first rank, on all of them; a UserError or an OSError there ends all."""
        found = self.together(lambda: work() if self.first else None)
        return self.gather(found)[0]  # type: ignore[return-value]


def mendable(error: UserError | OSError) -> UserError:
    """An error of a file as what a user reads of it."""
    if isinstance(error, UserError):
        return error
    fix = "check the path, its rights and the space left"
    return UserError(error.strerror or str(error), where=error.filename, fix=fix)


def of_rank(rank: int, error: UserError, kind: type[UserError] = UserError) -> UserError:
    """The error, with the rank that met it where that is not the first."""
    what = f"rank {rank}: {error.what}" if rank else error.what
    return kind(what, where=error.where, line=error.line, fix=error.fix)


ALONE = Ranks()


def launched() -> bool:
    """Whether ``torchrun`` (or another launcher that sets its variables) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def joined(kind: str, *, always: bool = False) -> Iterator[Ranks]:
    """This process among the ranks of the run; their group is left again at the end.

    ``kind`` is ``cpu`` (gloo) or ``cuda`` (NCCL beside gloo, a device for each local rank). One process that no
    launcher started is by itself, unless ``always``. Of several ranks one says what a user can mend, and all end with
    its status (``SaidElsewhere``), whichever of them met it and wherever the others are.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if not launched() and not always:
        take(device)
        yield Ranks(device=device)
        return
    if launched():
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store, _, _ = next(rendezvous("env://", rank, world, timeout=PATIENCE))
    else:
        rank, world, store = 0, 1, dist.HashStore()  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    words = Words(dist.PrefixStore("olmo-model", store), rank, world)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        with words.of_one():
            files = dist.new_group(backend="gloo", timeout=PATIENCE)
            assert isinstance(files, dist.ProcessGroup)
            ranks = Ranks(rank=rank, world=world, device=device, files=files)
            ranks.together(lambda: take(device))
            yield ranks
    finally:
        dist.destroy_process_group()
        words.linger()


def take(device: torch.device) -> None:
    """Make this the device of the process; a UserError where it is not there."""
    if device.type != "cuda":
        return
    there = torch.cuda.device_count()
    if device.index >= there:
        raise UserError(
            f"this machine has {there} CUDA devices, too few for local rank {device.index}",
            where="torchrun",
            fix=f"start with --nproc-per-node {there}",
        )
    torch.cuda.set_device(device)


class Words:
    """Which rank says why the run ends, known to all through the launcher's store, which needs no answer of a rank
    that waits for another, or has left."""

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self.store = store
        self.rank = rank
        self.world = world
        self.over = False

    @contextmanager
    def of_one(self) -> Iterator[None]:
        """A UserError, or an error of a named file, that leaves the block is told once, by the first rank that has one;
        the others, which may then find themselves without it in the middle of a message, end in silence."""
        try:
            yield
        except SaidElsewhere:
            self._heard(A_MINUTE)
            raise
        except (UserError, OSError) as error:
            nameless = isinstance(error, OSError) and error.filename is None and error.errno not in NO_ROOM
            if self.world == 1 or nameless:
                raise
            self._say(mendable(error))
            raise SaidElsewhere(2) from error
        except RuntimeError:  # what a message raises whose other end is gone
            if self.world > 1 and self._heard(A_MOMENT):
                raise SaidElsewhere(2) from None
            raise

    def linger(self) -> None:
        """Keep the store for those who have not heard yet, where the first rank holds it and not the launcher."""
        if self.over and self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            self._wait("all heard", A_MOMENT)

    def _say(self, error: UserError) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher ends all when the first has left
        self.over = True
        if self.store.add("speakers", 1) > 1:
            self._heard(A_MOMENT)
            return
        log.error("error: %s", one_line(str(of_rank(self.rank, error))))
        self.store.set("said", "")

    def _heard(self, patience: timedelta) -> bool:
        if not self._wait("said", patience):
            return False
        self.over = True
        if self.store.add("listeners", 1) == self.world - 1:
            self.store.set("all heard", "")
        return True

    def _wait(self, key: str, patience: timedelta) -> bool:
        try:
            self.store.wait([key], patience)
        except RuntimeError:  # nobody has spoken, or the store went with its rank
            return False
        return True
