# mypy: disable-error-code="no-untyped-def"
"""128-bit hashes of ranges of a buffer, and which of many hashes is the first of its kind, in compiled loops."""

from __future__ import annotations

import numpy as np
from numba import njit

C1 = np.uint64(0x87C37B91114253D5)
C2 = np.uint64(0x4CF5AD432745937F)
FMIX1 = np.uint64(0xFF51AFD7ED558CCD)
FMIX2 = np.uint64(0xC4CEB9FE1A85EC53)
ADD1 = np.uint64(0x52DCE729)
ADD2 = np.uint64(0x38495AB5)
FIVE = np.uint64(5)


@njit(cache=True, inline="always")
def rotate_left(value, bits):
    """``value`` rotated by ``bits`` of 64."""
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@njit(cache=True, inline="always")
def finish(value):
    """The finaliser of MurmurHash3: every bit of the input reaches every bit of the output."""
    value ^= value >> np.uint64(33)
    value *= FMIX1
    value ^= value >> np.uint64(33)
    value *= FMIX2
    return value ^ (value >> np.uint64(33))


@njit(cache=True, inline="always")
def read_word(buffer, at):
    """Eight bytes at ``at``, little-endian."""
    return (
        np.uint64(buffer[at])
        | (np.uint64(buffer[at + 1]) << np.uint64(8))
        | (np.uint64(buffer[at + 2]) << np.uint64(16))
        | (np.uint64(buffer[at + 3]) << np.uint64(24))
        | (np.uint64(buffer[at + 4]) << np.uint64(32))
        | (np.uint64(buffer[at + 5]) << np.uint64(40))
        | (np.uint64(buffer[at + 6]) << np.uint64(48))
        | (np.uint64(buffer[at + 7]) << np.uint64(56))
    )


@njit(cache=True, inline="always")
def mix_block(one, two, low, high):
    """One block of 16 bytes into the state."""
    one ^= rotate_left(low * C1, 31) * C2
    one = (rotate_left(one, 27) + two) * FIVE + ADD1
    two ^= rotate_left(high * C2, 33) * C1
    two = (rotate_left(two, 31) + one) * FIVE + ADD2
    return one, two


@njit(cache=True)
def murmur128(buffer, start, end):
    """MurmurHash3_x64_128 (Appleby, aappleby/smhasher) of ``buffer[start:end]`` with seed 0: two halves."""
    one = np.uint64(0)
    two = np.uint64(0)
    at = start
    while at + 16 <= end:
        one, two = mix_block(one, two, read_word(buffer, at), read_word(buffer, at + 8))
        at += 16
    low = np.uint64(0)
    high = np.uint64(0)
    for k in range(end - at):
        byte = np.uint64(buffer[at + k])
        if k < 8:
            low |= byte << np.uint64(8 * k)
        else:
            high |= byte << np.uint64(8 * (k - 8))
    if end - at > 8:
        two ^= rotate_left(high * C2, 33) * C1
    if end - at > 0:
        one ^= rotate_left(low * C1, 31) * C2
    length = np.uint64(end - start)
    one ^= length
    two ^= length
    one += two
    two += one
    one = finish(one)
    two = finish(two)
    one += two
    two += one
    return one, two


@njit(cache=True, nogil=True)
def hash_ranges(buffer, starts, ends):
    """:func:`murmur128` of N ranges, [N, 2]."""
    hashes = np.empty((starts.shape[0], 2), dtype=np.uint64)
    for k in range(starts.shape[0]):
        hashes[k, 0], hashes[k, 1] = murmur128(buffer, starts[k], ends[k])
    return hashes


@njit(cache=True, nogil=True)
def first_positions(hashes):
    """For each of N hashes [N, 2] the position of the first one equal to it (its own where it is the first)."""
    count = hashes.shape[0]
    room = 16
    while room < 2 * count:
        room *= 2
    mask = np.uint64(room - 1)
    table = np.full(room, -1, dtype=np.int64)
    first = np.empty(count, dtype=np.int64)
    for k in range(count):
        one = hashes[k, 0]
        two = hashes[k, 1]
        slot = (one ^ (one >> np.uint64(32))) & mask
        while True:
            found = table[slot]
            if found < 0:
                table[slot] = k
                first[k] = k
                break
            if hashes[found, 0] == one and hashes[found, 1] == two:
                first[k] = found
                break
            slot = (slot + np.uint64(1)) & mask
    return first


@njit(cache=True, nogil=True)
def order_by_upper_bits(hashes, bits):
    """Order of N hashes [N, 2] by the upper ``bits`` of their first half, equal ones as they stand.

    Returns where those of each value begin, [2^bits + 1], and their places [N].
    """
    shift = np.uint64(64 - bits)
    bounds = np.zeros((1 << bits) + 1, dtype=np.int64)
    for k in range(hashes.shape[0]):
        bounds[np.int64(hashes[k, 0] >> shift) + 1] += 1
    for value in range(1 << bits):
        bounds[value + 1] += bounds[value]
    following = bounds.copy()
    places = np.empty(hashes.shape[0], dtype=np.int32)
    for k in range(hashes.shape[0]):
        at = np.int64(hashes[k, 0] >> shift)
        places[following[at]] = k
        following[at] += 1
    return bounds, places


@njit(cache=True, nogil=True)
def make_table(hashes):
    """Open-addressing table of positions in ``hashes`` [N, 2]; of equal hashes the first."""
    room = 16
    while room < 2 * hashes.shape[0]:
        room *= 2
    table = np.full(room, -1, dtype=np.int64)
    mask = np.uint64(room - 1)
    for k in range(hashes.shape[0]):
        slot = (hashes[k, 0] ^ (hashes[k, 0] >> np.uint64(32))) & mask
        while table[slot] >= 0:
            found = table[slot]
            if hashes[found, 0] == hashes[k, 0] and hashes[found, 1] == hashes[k, 1]:
                break
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = k
    return table


@njit(cache=True, nogil=True, inline="always")
def find_position(table, hashes, one, two):
    """Position in ``hashes``, of which ``table`` is made, of the hash with the halves ``one`` and ``two``, or -1."""
    mask = np.uint64(table.shape[0] - 1)
    slot = (one ^ (one >> np.uint64(32))) & mask
    while table[slot] >= 0:
        found = table[slot]
        if hashes[found, 0] == one and hashes[found, 1] == two:
            return found
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)


@njit(cache=True, nogil=True)
def find_positions(table, hashes, asked):
    """:func:`find_position` of each of ``asked`` [M, 2]."""
    positions = np.empty(asked.shape[0], dtype=np.int64)
    for k in range(asked.shape[0]):
        positions[k] = find_position(table, hashes, asked[k, 0], asked[k, 1])
    return positions


@njit(cache=True, nogil=True)
def ngram_units(words, edges, whole, length, stride, as_dolma, skip_short):
    """Hashes that decide spans by their n-grams of ``length`` words.

    ``words`` [S + W, 2] are hashes of words behind S rows of room, those of span s ``words[edges[s]:edges[s + 1]]``,
    ``whole`` [S, 2] hashes of the spans. N-grams begin at every ``stride``-th word (0 and 1: each); ``as_dolma`` takes
    the first two always and counts the stride from the second. A span of fewer than two n-grams has the hash of the
    whole last, and that alone decides it, unless ``skip_short``. Returns hashes [H, 2], their number, the number of
    n-grams and whether the last hash decides, each [S]. An n-gram of one word has the hash of the word.

    The hashes take the place of ``words``: there is never more than one for every word and span that has been read.
    """
    spans = edges.shape[0] - 1
    step = max(stride, 1)
    hashes = words
    counts = np.zeros(spans, dtype=np.int64)
    counted = np.zeros(spans, dtype=np.int64)
    decides = np.zeros(spans, dtype=np.bool_)
    total = 0
    for span in range(spans):
        begin = total
        at = edges[span]
        while at + length <= edges[span + 1]:
            one = words[at, 0]
            two = words[at, 1]
            for word in range(at + 1, at + length):
                one, two = mix_block(one, two, words[word, 0], words[word, 1])
                one, two = finish(one), finish(two)
            hashes[total, 0], hashes[total, 1] = one, two
            total += 1
            at += 1 if as_dolma and at == edges[span] else step
        counted[span] = total - begin
        if counted[span] < 2 and not skip_short:
            hashes[total, 0], hashes[total, 1] = whole[span, 0], whole[span, 1]
            total += 1
            decides[span] = True
        counts[span] = total - begin
    return hashes[:total], counts, counted, decides
