"""Units in processes in which nothing of this package is loaded, nor anything else set, but the libraries under it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import traceback
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")  # its processes begin as copies of one that has loaded these alone
CONTEXT.set_forkserver_preload(["msgspec", "numba", "regex", "scipy.sparse.csgraph", "tokenizers"])
STARTING = threading.Lock()
INHERITED = ("PATH", "HOME", "PYTHONPATH", "NUMBA_CACHE_DIR", "TMPDIR")


def run(unit: Path, result: Path, times: int) -> None:
    """Do what the file ``unit`` says, a pickled function and its argument, so many times, in another folder and with a
    bare environment; the last result is pickled to ``result``. AssertionError with the traceback where it fails."""
    process = CONTEXT.Process(target=_work, args=(unit, result, times))
    with STARTING:  # to start one asks for the exit codes of all, and two threads would take them from each other
        process.start()
    process.join()
    failed = result.with_suffix(".failed")
    assert not failed.exists(), failed.read_text()
    assert result.exists(), "the process of the unit ended without an answer"


def _work(unit: Path, result: Path, times: int) -> None:
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    os.environ.clear()
    os.environ.update(kept)
    os.chdir("/")
    try:
        message = unit.read_bytes()
        for _ in range(times):
            function, argument = pickle.loads(message)
            done = function(argument)
        answer = result.with_suffix(".answer")
        answer.write_bytes(pickle.dumps(done))
        answer.rename(result)
    except BaseException:
        result.with_suffix(".failed").write_text(traceback.format_exc())
