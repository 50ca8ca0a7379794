"""Arrays in one file, read one by one or a stretch of rows at a time: what workers leave for each other.

A header of fixed size says where each array is; their bytes follow as they are in memory. NumPy's own ``.npz`` is a zip
archive, whose directory is read in Python for every array that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from ..resuming import write_stream

HEADER = 2048  # bytes
GATHERED = 1 << 18  # rows that are taken at a time


class Place(NamedTuple):
    """Type, shape and first byte of an array."""

    kind: str
    shape: list[int]
    at: int


@dataclass(frozen=True)
class Gathered:
    """An array to be written: the rows ``places`` of ``source``, which are never all held beside it."""

    source: npt.NDArray[Any]
    places: npt.NDArray[np.int32]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the rows."""
        return self.source.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return (len(self.places), *self.source.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def rows(self) -> Iterator[npt.NDArray[Any]]:
        """The array, stretch by stretch."""
        for begin in range(0, len(self.places), GATHERED):
            yield self.source[self.places[begin : begin + GATHERED]]


def write_columns(path: Path, columns: Mapping[str, npt.NDArray[Any] | Gathered]) -> None:
    """Write arrays into one file."""
    places: dict[str, Place] = {}
    at = HEADER
    for name, column in columns.items():
        places[name] = Place(column.dtype.str, list(column.shape), at)
        at += column.nbytes
    header = msgspec.json.encode(places)
    assert len(header) <= HEADER
    write_stream(path, _buffers(header.ljust(HEADER), columns))


def _buffers(header: bytes, columns: Mapping[str, npt.NDArray[Any] | Gathered]) -> Iterator[Any]:
    yield header
    for column in columns.values():
        for rows in column.rows() if isinstance(column, Gathered) else (column,):
            yield np.ascontiguousarray(rows).data


class Columns:
    """Arrays of a file that :func:`write_columns` has written."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._places = msgspec.json.decode(os.pread(self._file, HEADER, 0), type=dict[str, Place])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def read(self, name: str, begin: int = 0, end: int | None = None) -> npt.NDArray[Any]:
        """Rows ``[begin:end]`` of an array."""
        kind, (rows, *more), at = self._places[name]
        column = np.empty(((rows if end is None else end) - begin, *more), dtype=np.dtype(kind))
        row = column.itemsize * int(np.prod(more, dtype=np.int64))
        if column.nbytes and os.preadv(self._file, [column.data], at + begin * row) != column.nbytes:
            raise EOFError(f"array {name} is cut off")
        return column
