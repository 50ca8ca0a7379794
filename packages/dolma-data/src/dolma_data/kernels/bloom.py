# mypy: disable-error-code="no-untyped-def"
"""Probes of a Bloom filter (Bloom 1970) in compiled loops."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def probe(words, bits, probes, hashes, add):
    """Whether each of ``hashes`` [N, 2] is held, one after the other; with ``add`` it is held afterwards.

    The places are those of enhanced double hashing (Dillinger and Manolios 2004, section 5.2) of the two halves.
    """
    held = np.zeros(hashes.shape[0], dtype=np.bool_)
    size = np.uint64(bits)
    for k in range(hashes.shape[0]):
        place = hashes[k, 0] % size
        step = hashes[k, 1] % size
        found = True
        for turn in range(probes):
            word = place >> np.uint64(6)
            bit = np.uint64(1) << (place & np.uint64(63))
            if not words[word] & bit:
                found = False
                if not add:
                    break
                words[word] |= bit
            place += step
            if place >= size:
                place -= size
            step += np.uint64(turn + 1)
            if step >= size:
                step %= size
        held[k] = found
    return held


@njit(cache=True, nogil=True)
def count_bits(words):
    """Bits that are set."""
    total = np.int64(0)
    for word in words:
        value = np.uint64(word)
        value -= (value >> np.uint64(1)) & np.uint64(0x5555555555555555)
        value = (value & np.uint64(0x3333333333333333)) + ((value >> np.uint64(2)) & np.uint64(0x3333333333333333))
        value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        total = total + np.int64((value * np.uint64(0x0101010101010101)) >> np.uint64(56))
    return total
