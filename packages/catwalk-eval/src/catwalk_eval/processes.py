"""Several processes under torchrun, which share the batches of a run between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from .errors import UserError

FIX = "start the processes with torchrun, or unset WORLD_SIZE"
PATIENCE = timedelta(days=7)  # a process waits so long for the others to finish their batches


@dataclass(frozen=True)
class Processes:
    """This process's number and how many there are."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    def wait(self) -> None:
        """Wait until all have come here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()

    def total(self, number: int) -> int:
        """The sum of every process's ``number``, once all have given theirs."""
        if self.count == 1:
            return number
        import torch
        from torch import distributed

        numbers = torch.tensor([number], dtype=torch.int64)
        distributed.all_reduce(numbers)
        return int(numbers)


def stated(name: str, least: int, default: int | None = None) -> int:
    """The whole number that the environment states under ``name``; anything else is a UserError."""
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or int(text) < least:
        what = f"{name} is missing" if text is None else f"{name} is {text!r}"
        raise UserError(f"{what} in the environment", fix=FIX)
    return int(text)


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, joined while open; without torchrun this one alone.

    They exchange that they have come to the same place, and counts: scores go through the files of the run.
    """
    count = stated("WORLD_SIZE", 1, default=1)
    if count == 1:
        yield Processes()
        return
    rank, local_rank = stated("RANK", 0), stated("LOCAL_RANK", 0, default=0)
    stated("MASTER_PORT", 1)
    if rank >= count or not os.environ.get("MASTER_ADDR"):
        what = f"RANK is {rank} of WORLD_SIZE {count}" if rank >= count else "MASTER_ADDR is missing"
        raise UserError(f"{what} in the environment", fix=FIX)
    from torch import distributed

    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Processes(rank, count, local_rank)
    finally:
        distributed.destroy_process_group()
