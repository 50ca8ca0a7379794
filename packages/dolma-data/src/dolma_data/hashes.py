"""Texts as 128-bit hashes in NumPy arrays: which are equal, which are in a list. Equal hashes count as equal texts.

The hash is MurmurHash3_x64_128: two different ones among 10^12 texts share one with probability below 10^-14.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .kernels.hashing import find_positions, first_positions, hash_ranges, make_table

Hashes = npt.NDArray[np.uint64]  # [N, 2]


def hash_texts(texts: Iterable[bytes]) -> Hashes:
    """Hash of each text, [N, 2]."""
    listed = list(texts)
    ends = np.cumsum([len(text) for text in listed], dtype=np.int64)
    starts = np.concatenate([np.zeros(min(len(listed), 1), dtype=np.int64), ends[:-1]])
    hashes: Hashes = hash_ranges(np.frombuffer(b"".join(listed), dtype=np.uint8), starts, ends)
    return hashes


def as_hashes(digests: bytes) -> Hashes:
    """Hashes laid end to end as big-endian halves, as an array, [N, 2]."""
    return np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def first_copies(hashes: Hashes) -> npt.NDArray[np.int64]:
    """For each of N hashes the position of the first one equal to it (its own where it is the first)."""
    first: npt.NDArray[np.int64] = first_positions(np.ascontiguousarray(hashes))
    return first


class HashIndex:
    """Positions of hashes in a list; of equal ones the first."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = np.ascontiguousarray(hashes)
        self._table = make_table(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, hashes: Hashes) -> Any:
        """Position in the list for each of N hashes, -1 where it is not there."""
        return find_positions(self._table, self._hashes, np.ascontiguousarray(hashes))

    def find_ngrams(self, words: Hashes, edges: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """N-grams of words that are in the list; see :func:`kernels.ngrams.find_ngrams`."""
        from .kernels.ngrams import find_ngrams  # here, because most commands need no n-grams

        hits: npt.NDArray[np.int64] = find_ngrams(self._table, self._hashes, words, edges, length)
        return hits
