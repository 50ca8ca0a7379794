# mypy: disable-error-code="no-untyped-def"
"""Words and lines of a batch: offsets, lengths, hashes, in one pass each over the UTF-8 buffer."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import BYTE_NEWLINE, LETTER, SPACE, read_character

HAS_LETTER = 1
HAS_SYMBOL = 2  # "#" or the ellipsis character: the symbols of Rae et al. 2021
FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)


@njit(cache=True, inline="always")
def finish_hash(value):
    """Spread the entropy of a 64-bit FNV-1a value over all bits (the finaliser of MurmurHash3)."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return value


@njit(cache=True)
def hash_bytes(buffer, start, end):
    """64-bit hash of ``buffer[start:end]``; equal to the word hashes of :func:`index_words`."""
    value = FNV_OFFSET
    for at in range(start, end):
        value = (value ^ np.uint64(buffer[at])) * FNV_PRIME
    return finish_hash(value)


@njit(cache=True)
def index_words(buffer, offsets, classes):
    """Words as ``str.split()`` finds them.

    Returns ``first`` [D + 1] (words of document d are ``first[d]:first[d + 1]``) and for each of W words its 64-bit
    ``hashes``, its length in code points and its flags (``HAS_LETTER``, ``HAS_SYMBOL``).
    """
    documents = offsets.shape[0] - 1
    room = buffer.shape[0] // 2 + documents + 1  # untouched pages cost nothing
    hashes = np.empty(room, dtype=np.uint64)
    lengths = np.empty(room, dtype=np.int32)
    flags = np.empty(room, dtype=np.uint8)
    first = np.zeros(documents + 1, dtype=np.int64)
    count = 0
    for document in range(documents):
        at = offsets[document]
        end = offsets[document + 1]
        value = FNV_OFFSET
        length = 0
        flag = 0
        while at < end:
            byte = buffer[at]
            if byte < 0x80:
                kind = classes[byte]
                size = 1
                symbol = byte == 0x23
            else:
                point, size = read_character(buffer, at)
                kind = classes[point]
                symbol = point == 0x2026
            if kind & SPACE:
                if length:
                    hashes[count] = finish_hash(value)
                    lengths[count] = length
                    flags[count] = flag
                    count += 1
                    value = FNV_OFFSET
                    length = 0
                    flag = 0
                at += size
            else:
                length += 1
                flag |= kind & LETTER
                if symbol:
                    flag |= HAS_SYMBOL
                for _ in range(size):
                    value = (value ^ np.uint64(buffer[at])) * FNV_PRIME
                    at += 1
        if length:
            hashes[count] = finish_hash(value)
            lengths[count] = length
            flags[count] = flag
            count += 1
        first[document + 1] = count
    return first, hashes[:count], lengths[:count], flags[:count]


@njit(cache=True)
def next_word(buffer, at, end, classes):
    """The word that begins at or after ``at``: hash, length in code points (0: there is none), flags, where it ends."""
    value = FNV_OFFSET
    length = flag = 0
    while at < end:
        byte = buffer[at]
        size = 1
        if byte < 0x80:
            kind = classes[byte]
            symbol = byte == 0x23
        else:
            point, size = read_character(buffer, at)
            kind = classes[point]
            symbol = point == 0x2026
        if kind & SPACE:
            at += size
            if length:
                break
            continue
        length += 1
        flag |= HAS_LETTER if kind & LETTER else 0
        flag |= HAS_SYMBOL if symbol else 0
        for _ in range(size):
            value = (value ^ np.uint64(buffer[at])) * FNV_PRIME
            at += 1
    return finish_hash(value), length, flag, at


@njit(cache=True)
def count_words(buffer, offsets, classes):
    """Words of each document as :func:`index_words` finds them, [D]."""
    counts = np.zeros(offsets.shape[0] - 1, dtype=np.int64)
    for document in range(counts.shape[0]):
        at = offsets[document]
        inside = False
        while at < offsets[document + 1]:
            point = np.int64(buffer[at])
            size = 1
            if point >= 0x80:
                point, size = read_character(buffer, at)
            at += size
            space = (classes[point] & SPACE) != 0
            counts[document] += inside < (not space)
            inside = not space
    return counts


@njit(cache=True)
def index_lines(buffer, offsets):
    r"""Lines as ``text.split("\n")`` finds them.

    Returns ``first`` [D + 1] and for each of L lines ``starts``, ``ends`` (bytes of the buffer, newline left out) and
    ``characters``, the code points of its document before it.
    """
    documents = offsets.shape[0] - 1
    total = documents
    for at in range(buffer.shape[0]):
        total += buffer[at] == BYTE_NEWLINE
    starts = np.empty(total, dtype=np.int64)
    ends = np.empty(total, dtype=np.int64)
    characters = np.empty(total, dtype=np.int64)
    first = np.zeros(documents + 1, dtype=np.int64)
    count = 0
    for document in range(documents):
        starts[count] = offsets[document]
        characters[count] = 0
        passed = 0
        for at in range(offsets[document], offsets[document + 1]):
            byte = buffer[at]
            passed += (byte & 0xC0) != 0x80
            if byte == BYTE_NEWLINE:
                ends[count] = at
                count += 1
                starts[count] = at + 1
                characters[count] = passed
        ends[count] = offsets[document + 1]
        count += 1
        first[document + 1] = count
    return first, starts, ends, characters
