"""One command at a time writes to an output: a lock of the system's, which ends with the processes that hold it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import UserError
from .files import PARTIAL, beside, writing

SECONDS_OF_ENDING = 2.0  # that the workers of a command that was killed may still take
SECONDS_BETWEEN_TRIES = 0.02


@contextmanager
def locked(output: str | Path) -> Iterator[None]:
    """Let no other command write to ``output``, a file or folder, inside the block; UserError where one does."""
    target = Path(output).resolve()
    with held(beside(target, f".lock{PARTIAL}"), str(output)):
        yield


@contextmanager
def held(file: Path, where: str) -> Iterator[None]:
    """Hold ``file``, which is removed at the end, as a lock of ``where``.

    Workers that begin as copies of this process hold it too, so that nobody else begins while they still write.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    tries_until = time.monotonic() + SECONDS_OF_ENDING
    while (stream := _try(file)) is None:
        if time.monotonic() > tries_until:
            raise UserError(
                f"process {_holder(file)} is writing there",
                where=where,
                fix="wait until it has ended, or give another output",
            )
        time.sleep(SECONDS_BETWEEN_TRIES)
    with stream:
        try:
            with writing(file):
                stream.truncate(0)
                os.write(stream.fileno(), str(os.getpid()).encode())
            yield
        finally:
            file.unlink(missing_ok=True)


def _try(file: Path) -> IO[str] | None:
    """The file, locked; None where another process holds it, or has just removed it."""
    stream = open(file, "a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(stream.fileno()), file.stat()):
            return stream
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        stream.close()
        raise OSError(error.errno, f"no lock can be had: {error.strerror}", str(file)) from error
    stream.close()
    return None


def _holder(file: Path) -> str:
    try:
        return file.read_text() or "just begun"
    except FileNotFoundError:
        return "just ended"
