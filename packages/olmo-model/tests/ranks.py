"""Runs a function in several processes that form a group, as ``torchrun`` would start them."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch
from separate import CONTEXT

_workers: list[tuple[Any, Any]] = []  # process and pipe; kept for the next tests


def on_ranks(world: int, function: Callable[..., Any], *arguments: Any, seconds: float = 300) -> list[Any]:
    """``function(*arguments)`` of every rank, in order of the ranks; an exception in one is raised here.

    The function is one of a module, and its results can be pickled.
    """
    while len(_workers) < world:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        _workers.append((process, ours))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for rank, (_, pipe) in enumerate(_workers[:world]):
        places = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": world,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        pipe.send(({name: str(value) for name, value in places.items()}, function, arguments))
    results = []
    try:
        for rank, (_, pipe) in enumerate(_workers[:world]):
            assert pipe.poll(seconds), f"rank {rank} gave no answer in {seconds} seconds"
            problem, value = pipe.recv()
            assert not problem, f"rank {rank}:\n{problem}"
            results.append(value)
    finally:
        if len(results) < world:  # the others may wait for one that has failed
            end_ranks()
    return results


def outcome(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[str]]:
    """What a rank's ``function`` returns, or the status that it ends the process with, and the warnings and errors that
    the package logs meanwhile."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("olmo_model")
    log.addHandler(handler)
    try:
        return function(*arguments), lines
    except SystemExit as end:
        return end.code, lines
    finally:
        log.removeHandler(handler)


def end_ranks() -> None:
    """End all processes; the next call begins with new ones."""
    while _workers:
        process, pipe = _workers.pop()
        process.kill()
        pipe.close()


atexit.register(end_ranks)


def _work(pipe: Any) -> None:
    torch.set_num_threads(1)
    while True:
        variables, function, arguments = pipe.recv()
        os.environ |= variables
        try:
            pipe.send(("", function(*arguments)))
        except BaseException:
            pipe.send((traceback.format_exc(), None))
