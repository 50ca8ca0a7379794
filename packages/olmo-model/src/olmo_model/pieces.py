"""Equal pieces of files of numbers, those behind URLs read ahead together and kept up to a limit."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import UserError
from .places import is_url
from .remote import REQUESTS, RemoteFile, open_all
from .token_files import LocalFile, NumberFile

CACHE_BYTES = 1 << 28
BLOCK_BYTES = 1 << 20  # kept together where everything fits the cache
GAP_BYTES = 1 << 16  # read through, for that takes less time than another request
REQUEST_BYTES = 1 << 23

Place = tuple[int, int]  # number of a file and of the first number of a piece in it
Block = tuple[int, int]  # number of a file and of a block in it


@dataclass(frozen=True)
class Stretch:
    """Neighbouring bytes of a file, read in one request, and the blocks in it that are wanted."""

    file: int
    start: int
    end: int
    blocks: tuple[int, ...]


def open_files(places: Sequence[str], dtype: npt.DTypeLike) -> list[NumberFile]:
    """Files of numbers by path or URL; one that is missing is a UserError."""

    def opened(place: str) -> NumberFile:
        if is_url(place):
            return RemoteFile(place, dtype)
        if not Path(place).is_file():
            raise UserError("the file is missing", where=place, fix="check its path")
        return LocalFile(place, dtype)

    return open_all(opened, places) if any(map(is_url, places)) else [opened(place) for place in places]


class Pieces:
    """Pieces of ``length`` numbers, each of which starts at a multiple of that."""

    def __init__(self, files: Sequence[NumberFile], length: int, cache_bytes: int = CACHE_BYTES) -> None:
        """What is behind URLs is kept in ``cache_bytes`` of memory, in blocks of many pieces where all of it fits, else
        piece by piece; what was used longest ago goes first."""
        self.files = files
        self.length = length
        self.cache_bytes = cache_bytes
        far = [file for file in files if isinstance(file, RemoteFile)]
        self.remote = bool(far)
        self.bytes = length * far[0].dtype.itemsize if far else 0
        self.fits = sum(file.size for file in far) <= cache_bytes
        self.block = self.bytes * max(1, BLOCK_BYTES // self.bytes) if far and self.fits else self.bytes
        self._kept: OrderedDict[Block, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    @property
    def room(self) -> int:
        """Pieces that are kept at the same time, at least."""
        return sys.maxsize if not self.remote or self.fits else self.cache_bytes // self.bytes

    def read(self, places: Sequence[Place]) -> list[npt.NDArray[Any]]:
        """The pieces at places, in order."""
        blocks = self.fetch(places)
        return [self._piece(file, start, blocks) for file, start in places]

    def fetch(self, places: Sequence[Place]) -> dict[Block, bytes]:
        """The blocks behind URLs that hold the pieces at places, by as few requests as that takes, and keep them."""
        wanted = sorted({self._block(place) for place in places if isinstance(self.files[place[0]], RemoteFile)})
        with self._lock:
            found = {block: self._kept[block] for block in wanted if block in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        stretches = self.stretches([block for block in wanted if block not in found])
        for stretch, data in zip(stretches, self._pool.map(self._get, stretches), strict=True) if stretches else ():
            for block in stretch.blocks:
                offset = block * self.block - stretch.start
                found[stretch.file, block] = data[offset : offset + self.block]
        with self._lock:
            for key in wanted:
                if key not in self._kept:
                    self._kept[key] = found[key]
                    self._size += len(found[key])
            while self._size > self.cache_bytes:
                self._size -= len(self._kept.popitem(last=False)[1])
        return found

    def stretches(self, blocks: Sequence[Block]) -> list[Stretch]:
        """The requests for blocks (rising): neighbours, and what has little between it, together."""
        found: list[Stretch] = []
        for file, block in blocks:
            start = block * self.block
            end = min(start + self.block, self._remote(file).size)
            last = found[-1] if found else None
            near = last is not None and last.file == file and start - last.end <= GAP_BYTES
            if last is not None and near and end - last.start <= REQUEST_BYTES:
                found[-1] = Stretch(file, last.start, end, (*last.blocks, block))
            else:
                found.append(Stretch(file, start, end, (block,)))
        return found

    def close(self) -> None:
        """Ask for nothing further."""
        if "_pool" in self.__dict__:
            self._pool.shutdown(cancel_futures=True)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(REQUESTS, thread_name_prefix="pieces")

    def _remote(self, file: int) -> RemoteFile:
        found = self.files[file]
        assert isinstance(found, RemoteFile)
        return found

    def _block(self, place: Place) -> Block:
        file, start = place
        return file, start * self._remote(file).dtype.itemsize // self.block

    def _get(self, stretch: Stretch) -> bytes:
        return self._remote(stretch.file).bytes(stretch.start, stretch.end)

    def _piece(self, number: int, start: int, blocks: dict[Block, bytes]) -> npt.NDArray[Any]:
        file = self.files[number]
        if not isinstance(file, RemoteFile):
            return file.read(start, start + self.length)
        offset = start * file.dtype.itemsize % self.block
        return np.frombuffer(blocks[self._block((number, start))], file.dtype, count=self.length, offset=offset)
