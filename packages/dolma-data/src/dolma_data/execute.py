"""Spread units of work over processes; results come back in the order of the work, whatever the number.

The contract between a command and what executes it, so that the same plan can run on processes of one machine or on
tasks of a cluster:

- A command is a plan (an iterable of units), a function of one unit, and a reduction that takes the results in the
  order of the plan.
- A unit and a result are picklable values and small: paths, ranges, settings, at most a few megabytes of lines; what is
  larger lies in a file at an artifact's path, which every worker can read.
- The function depends on its unit alone: on no global that the parent set, on no earlier unit, on no shared memory, and
  on no file but the inputs named in the unit. What it loads once (a model, a list) it loads by a path in its arguments.
- The function may be run again for the same unit after a worker was lost, and gives the same result; it leaves nothing
  behind, or files that are written whole under names that the unit gives.
- Where units end depends on the content of the inputs and on constants, never on the number of workers.

Only :func:`map_ordered` knows that the workers are processes of this machine.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

from .errors import UserError

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def map_ordered(function: Callable[[Unit], Result], units: Iterable[Unit], processes: int = 1) -> Iterator[Result]:
    """Yield ``function(unit)`` for every unit, in order, from ``processes`` worker processes (1: in this one).

    ``function`` is a module-level function (or a ``functools.partial`` of one); at most ``2 * processes`` units are
    under way, so that memory stays bounded. An exception in a worker ends the work and is raised here.
    """
    if processes < 1:
        raise UserError(f"processes is {processes}", fix="give 1 or more")
    if processes == 1:
        yield from map(function, units)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_serve_parent)
    waiting: deque[Future[Result]] = deque()
    try:
        for unit in units:
            waiting.append(pool.submit(function, unit))
            if len(waiting) >= 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _serve_parent() -> None:
    """Leave Ctrl-C to the parent process, and end with it even where it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
