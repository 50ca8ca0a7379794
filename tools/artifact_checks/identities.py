"""Sets of identities (such as source and id) in eight bytes each, so that large artifacts fit into memory."""

from __future__ import annotations

import hashlib
from array import array

import numpy as np
import numpy.typing as npt


def key(*parts: str | int) -> int:
    """64 bits of a hash over the parts."""
    joined = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little")


class Identities:
    """A growing multiset of keys; once frozen it answers membership."""

    def __init__(self) -> None:
        self.keys = array("Q")
        self.frozen: npt.NDArray[np.uint64] | None = None

    def add(self, *parts: str | int) -> None:
        self.keys.append(key(*parts))

    def __len__(self) -> int:
        return len(self.keys)

    def sorted(self) -> npt.NDArray[np.uint64]:
        """All keys in order, repeated ones included."""
        if self.frozen is None or len(self.frozen) != len(self.keys):
            self.frozen = np.sort(np.frombuffer(self.keys, dtype=np.uint64)) if self.keys else np.empty(0, np.uint64)
        return self.frozen

    def repeated(self) -> set[int]:
        """Keys that occur more than once (rarely: two identities with equal hashes)."""
        ordered = self.sorted()
        return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())

    def __contains__(self, wanted: int) -> bool:
        ordered = self.sorted()
        place = int(np.searchsorted(ordered, np.uint64(wanted)))
        return place < len(ordered) and int(ordered[place]) == wanted

    def holds(self, wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """For each of the wanted keys whether this set has it."""
        ordered = self.sorted()
        places = np.searchsorted(ordered, wanted)
        inside = places < len(ordered)
        inside[inside] = ordered[places[inside]] == wanted[inside]
        return inside

    def missing_from(self, other: Identities) -> set[int]:
        """Keys of this set that the other does not hold."""
        return set(np.setdiff1d(self.sorted(), other.sorted()).tolist())
