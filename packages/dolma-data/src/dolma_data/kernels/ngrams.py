# mypy: disable-error-code="no-untyped-def"
"""Hashes of words without case and of all their n-grams, in compiled loops."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import read_character
from .hashing import find_position, finish, mix_block
from .minhash import ALONE


@njit(cache=True, nogil=True)
def hash_folded(buffer, first, after, folded):
    """128-bit hashes of words in lower case, [W, 2]; ``folded`` are ``kernels.minhash.folded_characters``."""
    hashes = np.empty((first.shape[0], 2), dtype=np.uint64)
    for k in range(first.shape[0]):
        one = np.uint64(0)
        two = np.uint64(0)
        at = first[k]
        count = np.uint64(0)
        while at < after[k]:
            point, size = read_character(buffer, at)
            value = np.uint64(folded[point] & ~ALONE)
            if value == 0:
                value = np.uint64(point)
            count += np.uint64(1)
            one, two = mix_block(one, two, value, count)
            at += size
        one = finish(one + two)
        hashes[k, 0], hashes[k, 1] = one, finish(two + one)
    return hashes


@njit(cache=True, nogil=True, inline="always")
def hash_ngram(words, at, length):
    """Hash of the ``length`` words from ``at`` on, two halves."""
    one = words[at, 0]
    two = words[at, 1]
    for word in range(at + 1, at + length):
        one, two = mix_block(one, two, words[word, 0], words[word, 1])
    one = finish(one + two)
    return one, finish(two + one)


@njit(cache=True, nogil=True)
def find_ngrams(table, hashes, words, edges, length):
    """Where n-grams of ``length`` words stand that are among ``hashes``, of which ``table`` is made, [H, 3].

    ``words`` and ``edges`` as for :func:`all_ngrams`; of each hit the run, its place there and that among ``hashes``.
    """
    hits = np.empty((64, 3), dtype=np.int64)
    count = 0
    for run in range(edges.shape[0] - 1):
        for at in range(edges[run], edges[run + 1] - length + 1):
            one, two = hash_ngram(words, at, length)
            position = find_position(table, hashes, one, two)
            if position < 0:
                continue
            if count == hits.shape[0]:
                more = np.empty((2 * count, 3), dtype=np.int64)
                more[:count] = hits
                hits = more
            hits[count, 0], hits[count, 1], hits[count, 2] = run, at - edges[run], position
            count += 1
    return hits[:count]


@njit(cache=True, nogil=True)
def all_ngrams(words, edges, length):
    """Hashes of the n-grams of ``length`` words that begin at each word of each run, [G, 2], and their edges."""
    runs = edges.shape[0] - 1
    out_edges = np.zeros(runs + 1, dtype=np.int64)
    for run in range(runs):
        out_edges[run + 1] = out_edges[run] + max(0, edges[run + 1] - edges[run] - length + 1)
    hashes = np.empty((out_edges[runs], 2), dtype=np.uint64)
    for run in range(runs):
        for k in range(out_edges[run + 1] - out_edges[run]):
            one, two = hash_ngram(words, edges[run] + k, length)
            hashes[out_edges[run] + k, 0], hashes[out_edges[run] + k, 1] = one, two
    return hashes, out_edges
