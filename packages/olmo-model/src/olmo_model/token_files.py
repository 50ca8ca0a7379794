"""Files of bare numbers without a header, ids or masks of labels, on a disk, read piece by piece."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import UserError

OPEN_FILES = 256  # that stay open, in a process; what is beyond is opened for every piece


class NumberFile(Protocol):
    """A file of numbers of one type, wherever it lies."""

    @property
    def name(self) -> str:
        """Path or URL."""

    @property
    def size(self) -> int:
        """Bytes of the file."""

    def __len__(self) -> int:
        """Numbers in the file."""

    def read(self, start: int, end: int) -> npt.NDArray[Any]:
        """The numbers from ``start`` to ``end``, exclusive. A file that has become shorter is a UserError."""


class LocalFile:
    """A file on a disk. Reads are positioned: mapped memory would fetch what lies around each piece too."""

    _open = threading.Semaphore(OPEN_FILES)

    def __init__(self, path: str | Path, dtype: npt.DTypeLike) -> None:
        """A size that is no whole number of numbers is the caller's to refuse."""
        self.path = Path(path)
        self.dtype = np.dtype(dtype)
        self.size = self.path.stat().st_size
        self._file: int | None = None
        if self._open.acquire(blocking=False):
            self._file = os.open(self.path, os.O_RDONLY)

    @property
    def name(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return self.size // self.dtype.itemsize

    def read(self, start: int, end: int) -> npt.NDArray[Any]:
        file = os.open(self.path, os.O_RDONLY) if self._file is None else self._file
        try:
            data = _read(file, (end - start) * self.dtype.itemsize, start * self.dtype.itemsize)
        finally:
            if self._file is None:
                os.close(file)
        if len(data) != (end - start) * self.dtype.itemsize:
            raise UserError(
                f"the file ends before number {end}, of {len(self)} that it had",
                where=self.path,
                fix="restore it; the run goes on from its newest checkpoint",
            )
        return np.frombuffer(data, dtype=self.dtype)

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]
            self._open.release()


def _read(file: int, count: int, offset: int) -> bytes:
    """``pread`` of as much as there is; the system gives at most 2 GiB at once."""
    data = os.pread(file, count, offset)
    while len(data) < count and (more := os.pread(file, count - len(data), offset + len(data))):
        data += more
    return data
