"""Spread units of work over processes; results come back in the order of the work, whatever the number."""

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
