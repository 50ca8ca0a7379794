"""Memory that a process shares with the workers that begin as copies of it: large values go there and back without a
pipe, which would copy them four times in pieces of 64 KiB."""

from __future__ import annotations

import io
import mmap
import pickle
from typing import Any

SLOT_BYTES = 16 << 20  # of address space; what is more in a value goes through the pipe
LARGE_BYTES = 1 << 16  # what is smaller goes through the pipe too
Place = tuple[int, int]  # first byte and the one behind the last
Message = tuple[bytes, list[Place]]  # a pickled value and the places of its buffers


class Arena:
    """Slots, each of which holds the large parts of one value at a time: a unit of work, then its result."""

    def __init__(self, slots: int) -> None:
        self.memory = mmap.mmap(-1, slots * SLOT_BYTES)  # pages that nothing is written to take no room

    def put(self, slot: int, value: object) -> Message:
        """Pickle a value, its large bytes and arrays into the slot."""
        pickled = io.BytesIO()
        pickler = _Pickler(pickled, self.memory, slot * SLOT_BYTES)
        pickler.dump(value)
        return pickled.getvalue(), pickler.buffers

    def take(self, message: Message) -> Any:
        """The value, all of it copied out of its slot."""
        pickled, buffers = message
        with memoryview(self.memory) as memory:
            copies = [bytearray(memory[start:end]) for start, end in buffers]
        return _Unpickler(io.BytesIO(pickled), self.memory, copies).load()


class _Pickler(pickle.Pickler):
    """Leaves places in the memory for large bytes (as persistent ids) and for arrays (as out-of-band buffers)."""

    def __init__(self, file: io.BytesIO, memory: mmap.mmap, start: int) -> None:
        super().__init__(file, protocol=5, buffer_callback=self._keep_here)
        self.buffers: list[Place] = []
        self._memory = memory
        self._at = start
        self._end = start + SLOT_BYTES

    def persistent_id(self, obj: Any) -> Place | None:
        return self._write(obj) if type(obj) is bytes and len(obj) >= LARGE_BYTES else None

    def _keep_here(self, buffer: pickle.PickleBuffer) -> bool:
        with buffer.raw() as data:
            place = self._write(data) if len(data) >= LARGE_BYTES else None
        if place is not None:
            self.buffers.append(place)
        return place is None

    def _write(self, data: bytes | memoryview) -> Place | None:
        place = self._at, self._at + len(data)
        if place[1] > self._end:
            return None
        self._memory[slice(*place)] = data
        self._at = place[1]
        return place


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, memory: mmap.mmap, buffers: list[bytearray]) -> None:
        super().__init__(file, buffers=buffers)
        self._memory = memory

    def persistent_load(self, pid: Place) -> bytes:
        return self._memory[slice(*pid)]
