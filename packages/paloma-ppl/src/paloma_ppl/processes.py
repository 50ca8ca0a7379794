"""Several processes under torchrun, which share the batches of a run between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

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


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, joined while open; without torchrun this one alone.

    They exchange nothing but that they have come to the same place: numbers go through the files of the run.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    from torch import distributed

    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        distributed.destroy_process_group()
