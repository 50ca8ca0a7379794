# mypy: disable-error-code="no-untyped-def"
"""Counts of n-grams of ``str.split()`` words by the upper bits of their hashes, in memory that words do not add to."""

from __future__ import annotations

import numpy as np
from numba import njit

from .units import next_word

PRIME = np.uint64(0x9E3779B97F4A7C15)
SPREAD = np.uint64(0xC2B2AE3D27D4EB4F)
HALF = np.uint64(32)
LEAST_TABLE = 1024


@njit(cache=True)
def new_ring(longest):
    """Room for the last words, a power of two of them."""
    size = 1
    while size < longest:
        size *= 2
    return np.zeros(size, dtype=np.uint64)


@njit(cache=True, inline="always")
def hash_ngram(ring, first, n):
    """Hash of the n-gram that begins with word ``first``."""
    mask = ring.shape[0] - 1
    value = ring[first & mask]
    for place in range(1, n):
        value *= PRIME
        value ^= value >> HALF
        value ^= ring[(first + place) & mask]
    value *= SPREAD
    value ^= value >> HALF
    return value * PRIME


@njit(cache=True)
def count_by_cell(buffer, offsets, classes, lengths, bits):
    """How many n-grams of each of ``lengths`` [L] fall into a cell, the upper ``bits`` of their hashes: [L, 2^bits]."""
    counts = np.zeros((lengths.shape[0], 1 << bits), dtype=np.uint32)
    ring = new_ring(lengths.max())
    shift = np.uint64(64 - bits)
    for document in range(offsets.shape[0] - 1):
        at = offsets[document]
        words = 0
        while True:
            value, length, _, at = next_word(buffer, at, offsets[document + 1], classes)
            if length == 0:
                break
            ring[words & (ring.shape[0] - 1)] = value
            words += 1
            for k in range(lengths.shape[0]):
                if words >= lengths[k]:
                    counts[k, hash_ngram(ring, words - lengths[k], lengths[k]) >> shift] += 1
    return counts


@njit(cache=True, inline="always")
def find_slot(keys, rows, key):
    """Where ``key`` stands in an open-addressed table, or the free slot (its count is 0) where it belongs."""
    mask = keys.shape[0] - 1
    slot = np.int64((key ^ (key >> HALF)) & np.uint64(mask))
    while rows[slot, 0] and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True)
def count_followed(buffer, offsets, classes, n, followed, bits):
    """The n-grams that fall into cells of the mask ``followed`` [2^bits], in the order of their first places.

    Returns their hashes [N] and rows [N, 3]: how often each occurs, and the bytes of the buffer between which it does
    first, white space around it included.
    """
    keys = np.empty(LEAST_TABLE, dtype=np.uint64)
    rows = np.zeros((LEAST_TABLE, 3), dtype=np.int64)
    ring = new_ring(n)
    begins = np.zeros(ring.shape[0], dtype=np.int64)
    mask = ring.shape[0] - 1
    shift = np.uint64(64 - bits)
    found = 0
    for document in range(offsets.shape[0] - 1):
        at = offsets[document]
        words = 0
        while True:
            begin = at
            value, length, _, at = next_word(buffer, at, offsets[document + 1], classes)
            if length == 0:
                break
            ring[words & mask], begins[words & mask] = value, begin
            words += 1
            if words < n:
                continue
            key = hash_ngram(ring, words - n, n)
            if not followed[key >> shift]:
                continue
            slot = find_slot(keys, rows, key)
            if rows[slot, 0] == 0:
                found += 1
                if 2 * found > keys.shape[0]:
                    keys, rows = twice(keys, rows)
                    slot = find_slot(keys, rows, key)
                keys[slot], rows[slot, 1], rows[slot, 2] = key, begins[(words - n) & mask], at
            rows[slot, 0] += 1
    used = np.flatnonzero(rows[:, 0])
    used = used[np.argsort(rows[used, 1])]
    return keys[used], rows[used]


@njit(cache=True)
def twice(keys, rows):
    """The same table with twice the room."""
    more_keys = np.empty(2 * keys.shape[0], dtype=np.uint64)
    more_rows = np.zeros((2 * keys.shape[0], 3), dtype=np.int64)
    for slot in range(keys.shape[0]):
        if rows[slot, 0]:
            place = find_slot(more_keys, more_rows, keys[slot])
            more_keys[place], more_rows[place] = keys[slot], rows[slot]
    return more_keys, more_rows
