"""Spread units of work over processes; results come back in the order of the work, whatever the number.

The contract between a command and what executes it, so that the same plan runs on processes of one machine or, without
being rewritten, on tasks of a cluster:

- A command is a plan (an iterable of units), a function of one unit, and a reduction that takes the results in the
  order of the plan. Plan and reduction run in the command's own process.
- Function, unit and result are pickled: a module-level function or a ``functools.partial`` of one, paths, ranges,
  settings, at most some megabytes of lines. What is larger lies in a file at an artifact's path or in the unfinished
  folder beside it (``NAME.partial``, ``NAME.progress.partial``), which every worker can read and write.
- The function depends on its unit alone: on no variable that another process set, on no earlier unit, on no memory,
  lock, queue or open file that it shares, and on no file but those that the unit names. What it loads once (a model, a
  list) it loads by a path or a name in its arguments, and keeps only what it would load again.
- The function may be run again for the same unit after a worker was lost, and gives the same result, from the unit as
  it was pickled: a run may take its own copy apart, to free what is large once it has been read. It leaves nothing
  behind, or files, or ranges of a file that no other unit has, that are written whole under names that the unit gives.
- Units may run in any order and anywhere; where they end depends on the content of the inputs and on constants, never
  on the number of workers.
- Paths are meant as the command was given them, so workers stand in its working directory, with its environment.

A unit is an in-memory value while it is under way, so an executor takes units from the plan as it has room for them.
:func:`executed_by` puts another executor in the place of :func:`on_this_machine`; nothing else knows what a worker is.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .arena import Arena
from .errors import UserError

Unit = TypeVar("Unit")
Result = TypeVar("Result")
MOST_PROCESSES = 4096  # all of them are started, so a slip of the finger would be the end of the machine
MILLISECONDS_OF_ENDING = 20  # that the system takes at most to end a thread (those of the last pool) after Python did


class Executor(Protocol):
    """Yields ``function(unit)`` for every unit in the order of ``units``, by the contract of this module."""

    def __call__(
        self, function: Callable[[Any], Any], units: Iterable[Any], processes: int
    ) -> Iterator[Any]: ...  # pragma: no cover


def map_ordered(
    function: Callable[[Unit], Result],
    units: Iterable[Unit],
    processes: int = 1,
    rehearse: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """Yield ``function(unit)`` for every unit, in order, from ``processes`` workers of the executor that is set.

    ``function`` is a module-level function (or a ``functools.partial`` of one). An exception in a worker ends the work
    and is raised here.

    ``rehearse`` loads what ``function`` needs, compiled code before all. It is called in this process where workers
    begin as copies of it, so that it is loaded once for all; that saves time and memory, and changes no result.
    """
    if not 1 <= processes <= MOST_PROCESSES:
        raise UserError(f"processes is {processes}", fix=f"give 1 to {MOST_PROCESSES}")
    if rehearse is not None and workers_are_copies(processes):
        rehearse()
    return _executor.get()(function, units, processes)


def workers_are_copies(processes: int) -> bool:
    """Whether ``processes`` workers would begin as copies of this process, with all that it has loaded."""
    return processes > 1 and _executor.get() is on_this_machine and start_method() == "fork"


@contextmanager
def executed_by(executor: Executor) -> Iterator[None]:
    """Have ``executor`` run the units of every command inside the block."""
    token = _executor.set(executor)
    try:
        yield
    finally:
        _executor.reset(token)


def on_this_machine(function: Callable[[Unit], Result], units: Iterable[Unit], processes: int) -> Iterator[Result]:
    """Run units in processes of this machine (1: in this one), at most ``2 * processes`` under way.

    UserError where a worker ends without an answer; mostly the system has killed it for want of memory.
    """
    if processes == 1:
        yield from map(function, units)
        return
    method = start_method()
    most = 2 * processes
    arena = Arena(most) if method == "fork" else None  # workers of another kind get and give all through pipes
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(processes, context, _serve_parent, (arena,))
    slots = deque(range(most))
    waiting: deque[tuple[int, Future[Any]]] = deque()

    def submit(unit: Unit) -> None:
        slot = slots.popleft()
        message = unit if arena is None else arena.put(slot, unit)
        waiting.append((slot, pool.submit(_work, function, slot, message)))

    def take() -> Result:
        slot, future = waiting.popleft()
        message = future.result()
        slots.append(slot)
        result: Result = message if arena is None else arena.take(message)
        return result

    try:
        for unit in units:
            submit(unit)
            del unit  # it is with the worker now, and may be large
            if not slots:
                yield take()
        while waiting:
            yield take()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process ended without an answer: killed, perhaps for want of memory",
            fix="run the same command again, with fewer --processes where memory is short",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_executor: ContextVar[Executor] = ContextVar("executor", default=on_this_machine)


def start_method() -> str:
    """``fork`` on Linux, where a worker is there at once with all that is loaded, as long as this process has no other
    thread: what one holds at that moment (a lock, a half-changed state) a copy would hold for ever. Else ``spawn``."""
    if sys.platform != "linux" or threading.active_count() > 1:
        return "spawn"
    for _ in range(MILLISECONDS_OF_ENDING):
        if len(list(Path("/proc/self/task").iterdir())) == 1:
            return "fork"
        time.sleep(0.001)
    return "spawn"


_arena: Arena | None = None  # of a worker


def _work(function: Callable[[Any], Any], slot: int, message: Any) -> Any:
    """Do in a worker what is asked for, the result by the way that the unit came."""
    if _arena is None:
        return function(message)
    unit = _arena.take(message)
    del message
    return _arena.put(slot, function(unit))


def _serve_parent(arena: Arena | None) -> None:
    """Leave Ctrl-C to the parent process, and end with it even where it was killed; ``arena`` is shared with it."""
    global _arena
    _arena = arena
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a copy of the parent has its handler
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
