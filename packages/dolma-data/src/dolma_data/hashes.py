"""Texts as 128-bit hashes in NumPy arrays: which are equal, which are in a list. Equal hashes count as equal texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

DIGEST_BYTES = 16
Hashes = npt.NDArray[np.uint64]  # [N, 2], the upper half first


def hash_texts(texts: Iterable[bytes]) -> Hashes:
    """xxh3-128 of each text, [N, 2]: two different ones among 10^12 texts share one with probability below 10^-14."""
    return as_hashes(b"".join(map(xxhash.xxh3_128_digest, texts)))


def as_hashes(digests: bytes) -> Hashes:
    """Digests laid end to end as an array, [N, 2]."""
    return np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def first_copies(hashes: Hashes) -> npt.NDArray[np.int64]:
    """For each of N hashes the position of the first one equal to it (its own where it is the first)."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable, so positions rise among equals
    ordered = hashes[order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    group = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[group]
    return first


class HashIndex:
    """Positions of hashes in a list; of equal ones the first."""

    def __init__(self, hashes: Hashes) -> None:
        first = first_copies(hashes)
        unique = np.flatnonzero(first == np.arange(len(first)))
        self._positions = unique[np.argsort(hashes[unique, 0], kind="stable")]
        self._upper = hashes[self._positions, 0]
        self._lower = hashes[self._positions, 1]

    def __len__(self) -> int:
        return len(self._positions)

    def find(self, hashes: Hashes) -> Any:
        """Position in the list for each of N hashes, -1 where it is not there."""
        if not len(self) or not len(hashes):
            return np.full(len(hashes), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._upper, hashes[:, 0]), len(self) - 1)
        equal = (self._upper[at] == hashes[:, 0]) & (self._lower[at] == hashes[:, 1])
        return np.where(equal, self._positions[at], -1)
