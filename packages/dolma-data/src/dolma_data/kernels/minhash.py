# mypy: disable-error-code="no-untyped-def"
"""Shingles of texts and their MinHash signatures (Broder 1997) in compiled loops."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]
from numba import njit

from .characters import read_character
from .hashing import finish

ALONE = np.uint32(1 << 31)  # a character that is a word by itself
BASE = np.uint64(0x9E3779B97F4A7C15)
WORD_BASE = np.uint64(0x100000001B3)
MOST = np.uint64(0xFFFFFFFFFFFFFFFF)
WITHOUT_SPACES = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"


@cache
def folded_characters() -> Any:
    """Lower case of every code point that belongs to words, 0 for all others; [0x110000] of uint32.

    Words hold letters, marks, digits and underscores; ``ALONE`` is set for scripts that put no spaces between them.
    """
    folded = np.zeros(sys.maxunicode + 1, dtype=np.uint32)
    text = "".join(chr(point) for point in range(0x40000) if not 0xD800 <= point <= 0xDFFF)
    for character in regex.findall(r"\w", text):
        lower = character.lower()
        folded[ord(character)] = ord(lower) if len(lower) == 1 else ord(character)
    for character in regex.findall(WITHOUT_SPACES, text):
        if folded[ord(character)]:
            folded[ord(character)] |= ALONE
    return folded


@njit(cache=True, nogil=True)
def shingle(buffer, starts, ends, folded, length, of_words):
    """Hashes of the shingles of each text, end to end, and their edges [N + 1].

    A shingle is ``length`` words, or characters (lower case, runs of others than word characters are one space); a
    shorter text is one shingle, a text without any word has none.
    """
    total = starts.shape[0] + 1
    for k in range(starts.shape[0]):
        total += ends[k] - starts[k]
    hashes = np.empty(total, dtype=np.uint64)
    edges = np.zeros(starts.shape[0] + 1, dtype=np.int64)
    last = np.zeros(length, dtype=np.uint64)
    top = np.uint64(1)  # BASE ^ length, modulo 2^64
    for _ in range(length):
        top *= BASE
    count = 0
    for k in range(starts.shape[0]):
        at = starts[k]
        units = 0
        rolling = np.uint64(0)
        word = np.uint64(0)
        in_word = False
        spaced = False
        while True:
            unit = np.uint64(0)
            complete = False
            if at >= ends[k]:
                if not (of_words and in_word):
                    break
                unit = finish(word)
                complete = True
                in_word = False
            else:
                point, size = read_character(buffer, at)
                value = folded[point]
                if of_words:
                    if in_word and (value == 0 or value & ALONE):
                        unit = finish(word)
                        complete = True
                        in_word = False  # the character is looked at again
                    else:
                        at += size
                        if value & ALONE:
                            unit = finish(np.uint64(value))
                            complete = True
                        elif value:
                            if not in_word:
                                word = np.uint64(0xCBF29CE484222325)
                            word = (word ^ np.uint64(value)) * WORD_BASE
                            in_word = True
                elif value == 0:
                    at += size
                    spaced = units > 0
                elif spaced:
                    unit = finish(np.uint64(0x20))
                    complete = True
                    spaced = False
                else:
                    at += size
                    unit = finish(np.uint64(value & ~ALONE))
                    complete = True
            if complete:
                slot = units % length
                rolling = rolling * BASE + unit
                if units >= length:
                    rolling -= last[slot] * top
                last[slot] = unit
                units += 1
                if units >= length:
                    hashes[count] = finish(rolling)
                    count += 1
        if 0 < units < length:
            hashes[count] = finish(rolling + np.uint64(units))
            count += 1
        edges[k + 1] = count
    return hashes[:count].copy(), edges


@njit(cache=True, nogil=True)
def sign(hashes, edges, factors, terms):
    """Signatures [N, P] of uint32: the least of ``factors[p] * hash + terms[p]`` (modulo 2^64), its upper half."""
    permutations = factors.shape[0]
    signatures = np.empty((edges.shape[0] - 1, permutations), dtype=np.uint32)
    least = np.empty(permutations, dtype=np.uint64)
    for k in range(edges.shape[0] - 1):
        least[:] = MOST
        for at in range(edges[k], edges[k + 1]):
            value = hashes[at]
            for p in range(permutations):
                least[p] = min(least[p], factors[p] * value + terms[p])
        for p in range(permutations):
            signatures[k, p] = np.uint32(least[p] >> np.uint64(32))
    return signatures


@njit(cache=True, nogil=True)
def band_keys(signatures, bands, rows):
    """One hash for each band of each signature, [bands, N]."""
    keys = np.empty((bands, signatures.shape[0]), dtype=np.uint64)
    for k in range(signatures.shape[0]):
        for band in range(bands):
            key = np.uint64(band + 1)
            for row in range(rows):
                key = finish(key * BASE + np.uint64(signatures[k, band * rows + row]))
            keys[band, k] = key
    return keys


@njit(cache=True, nogil=True)
def join(parents, members, others):
    """Unite the clusters of each pair; the root of a cluster is its least member."""
    for k in range(members.shape[0]):
        one = members[k]
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        two = others[k]
        while parents[two] != two:
            parents[two] = parents[parents[two]]
            two = parents[two]
        if one < two:
            parents[two] = one
        elif two < one:
            parents[one] = two


@njit(cache=True, nogil=True)
def find_roots(parents):
    """The root of every member; members of a cluster come after its root."""
    for k in range(parents.shape[0]):
        parents[k] = parents[parents[k]]


@njit(cache=True, nogil=True)
def jaccard(hashes, edges, members, others):
    """Jaccard similarity of pairs of sets, each a rising run of ``hashes`` between two ``edges``, [M]."""
    similarity = np.zeros(members.shape[0], dtype=np.float64)
    for k in range(members.shape[0]):
        one, end_one = edges[members[k]], edges[members[k] + 1]
        two, end_two = edges[others[k]], edges[others[k] + 1]
        union = (end_one - one) + (end_two - two)
        common = 0
        while one < end_one and two < end_two:
            if hashes[one] == hashes[two]:
                common += 1
                one += 1
                two += 1
            elif hashes[one] < hashes[two]:
                one += 1
            else:
                two += 1
        if union:
            similarity[k] = common / (union - common)
    return similarity
