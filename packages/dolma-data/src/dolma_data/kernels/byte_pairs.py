# mypy: disable-error-code="no-untyped-def"
"""Byte-pair encoding in compiled loops: merging the bytes of a word, and remembering words that were merged before.

Sennrich et al. 2016 over the bytes of Radford et al. 2019: the pair of lowest rank is merged, the leftmost first.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .pretokens import LATER, earlier_end, find_added, later_end, plain

PADDING = 24  # bytes after the text that may be read
SHORT_WORD = 23  # bytes of a word that is remembered
WAYS = 2  # places of the memory where a word can stand
ROW = 8  # 64-bit numbers of a place, one cache line: three of the word, five of its ids
IDS_OF_NUMBER = 3  # ids in one of them
ID_BITS = 21
NO_ID = (1 << ID_BITS) - 1
MOST_IDS = IDS_OF_NUMBER * (ROW - 3)  # of a word that is remembered
LONG_WORD = 64  # bytes from which a heap finds the next pair
NO_RANK = np.int64(1 << 62)
PRIMES = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@intrinsic
def load_number(typing_context, buffer, at):
    """The eight bytes from ``at`` on as a little-endian number, in one instruction."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        place = builder.bitcast(place, cgutils.ir.IntType(64).as_pointer())
        return builder.load(place, align=1)

    return types.uint64(buffer, types.int64), generate


@plain
def find_pair(left, right, keys, values):
    """``rank << 32 | merged id`` of a pair of ids, or NO_RANK; ``keys`` is a hash table with 0 for a free place."""
    key = (np.uint64(left + 1) << np.uint64(32)) | np.uint64(right)
    mask = np.uint64(keys.shape[0] - 1)
    spread = key * PRIMES[0]
    place = (spread ^ (spread >> np.uint64(32))) & mask
    while True:
        found = keys[place]
        if found == key:
            return values[place]
        if found == 0:
            return NO_RANK
        place = (place + np.uint64(1)) & mask


@plain
def fill_pairs(lefts, rights, merged, keys, values):
    """Enter the merges in order of rank; of a pair that is listed twice the later rank counts, as in the library."""
    mask = np.uint64(keys.shape[0] - 1)
    for rank in range(lefts.shape[0]):
        key = (np.uint64(lefts[rank] + 1) << np.uint64(32)) | np.uint64(rights[rank])
        spread = key * PRIMES[0]
        place = (spread ^ (spread >> np.uint64(32))) & mask
        while keys[place] != 0 and keys[place] != key:
            place = (place + np.uint64(1)) & mask
        keys[place] = key
        values[place] = (np.int64(rank) << 32) | merged[rank]


@plain
def merge_short(buffer, start, end, merges, found, ids, at):
    """Write the ids of the word ``buffer[start:end]`` to ``ids`` from ``at`` on; returns the place after them.

    ``found`` is room for ``LONG_WORD`` numbers: rank and merged id of each pair.
    """
    byte_ids, keys, values = merges
    size = end - start
    for k in range(size):
        ids[at + k] = byte_ids[buffer[start + k]]
    for k in range(size - 1):
        found[k] = find_pair(ids[at + k], ids[at + k + 1], keys, values)
    while size > 1:
        best = 0
        for k in range(1, size - 1):
            if found[k] >> 32 < found[best] >> 32:
                best = k
        if found[best] == NO_RANK:
            break
        ids[at + best] = found[best] & 0xFFFFFFFF
        size -= 1
        for k in range(best + 1, size):
            ids[at + k] = ids[at + k + 1]
            found[k - 1] = found[k]
        if best:
            found[best - 1] = find_pair(ids[at + best - 1], ids[at + best], keys, values)
        if best < size - 1:
            found[best] = find_pair(ids[at + best], ids[at + best + 1], keys, values)
    return at + size


@plain
def sift_down(heap, size, at):
    """Put the entry at ``at`` below smaller ones."""
    entry = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = entry


@plain
def push(heap, size, entry):
    """Add an entry; the heap holds ``size`` before."""
    at = size
    while at > 0:
        parent = (at - 1) // 2
        if heap[parent] <= entry:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = entry


@plain
def merge_long(buffer, start, end, merges, room, ids, at):
    """As :func:`merge_short` for words of any length, in time that grows with n log n.

    ``symbols`` are the ids, -1 where one was merged into that before it; ``before`` and ``after`` link them; ``heap``
    holds ``rank << 40 | place``, and never more than two entries a byte since a merge takes one and brings two.
    """
    byte_ids, keys, values = merges
    _, symbols, before, after, heap, _ = room
    size = end - start
    entries = 0
    for k in range(size):
        symbols[k] = byte_ids[buffer[start + k]]
        before[k] = k - 1
        after[k] = k + 1
    for k in range(size - 1):
        found = find_pair(symbols[k], symbols[k + 1], keys, values)
        if found != NO_RANK:
            push(heap, entries, ((found >> 32) << 40) | k)
            entries += 1
    while entries:
        entry = heap[0]
        entries -= 1
        heap[0] = heap[entries]
        sift_down(heap, entries, 0)
        place = entry & ((1 << 40) - 1)
        if symbols[place] == -1 or after[place] >= size:
            continue
        other = after[place]
        found = find_pair(symbols[place], symbols[other], keys, values)
        if found >> 32 != entry >> 40:
            continue  # one of the two was merged meanwhile
        symbols[place] = found & 0xFFFFFFFF
        symbols[other] = -1
        after[place] = after[other]
        if after[place] < size:
            before[after[place]] = place
            found = find_pair(symbols[place], symbols[after[place]], keys, values)
            if found != NO_RANK:
                push(heap, entries, ((found >> 32) << 40) | place)
                entries += 1
        if before[place] >= 0:
            found = find_pair(symbols[before[place]], symbols[place], keys, values)
            if found != NO_RANK:
                push(heap, entries, ((found >> 32) << 40) | before[place])
                entries += 1
    place = 0
    while place < size:
        ids[at] = symbols[place]
        at += 1
        place = after[place]
    return at


@plain
def merge_giant(buffer, start, end, merges, room, ids, at):
    """As :func:`merge_long` a stretch of some bytes at a time, so that little of ``room`` is touched.

    Ids are what merging gives as soon as every two neighbours are what merging gives of their bytes alone. So the next
    stretch may begin at any id of the last one if it begins with that same id: it and the one before it were neighbours
    there. Of an id far from the end of a stretch that is almost always so; where not, the word is merged as a whole.
    """
    after = room[3]
    width = room[5]
    begin = start
    first = at
    expected = np.int64(-1)
    while True:
        behind = min(end, begin + width)
        stop = merge_long(buffer, begin, behind, merges, room, ids, at)
        if expected >= 0 and ids[at] != expected:
            break
        if behind == end:
            return stop
        place = 0
        while after[place] < width - width // 16:
            place = after[place]
            at += 1
        if place == 0:
            break
        begin += place
        expected = np.int64(ids[at])
    return merge_long(buffer, start, end, merges, room, ids, first)


@plain
def encode_word(buffer, start, end, merges, memory, room, ids, at):
    """Write the ids of a word, from the memory of words or by merging; returns the place after them."""
    size = end - start
    if size > SHORT_WORD:
        if size > room[5]:
            return merge_giant(buffer, start, end, merges, room, ids, at)
        if size >= LONG_WORD:
            return merge_long(buffer, start, end, merges, room, ids, at)
        return merge_short(buffer, start, end, merges, room[0], ids, at)
    first = load_number(buffer, start)
    second = np.uint64(0)
    third = np.uint64(0)
    if size < 8:
        first &= (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
    elif size < 16:
        second = load_number(buffer, start + 8) & ((np.uint64(1) << np.uint64(8 * (size - 8))) - np.uint64(1))
    else:
        second = load_number(buffer, start + 8)
        third = load_number(buffer, start + 16) & ((np.uint64(1) << np.uint64(8 * (size - 16))) - np.uint64(1))
    third |= np.uint64(size) << np.uint64(56)
    spread = (first ^ (first >> np.uint64(32))) * PRIMES[0]
    spread = (spread ^ second ^ (spread >> np.uint64(29))) * PRIMES[1]
    spread = (spread ^ third ^ (spread >> np.uint64(32))) * PRIMES[2]
    place = (spread >> np.uint64(32)) & np.uint64(memory.shape[0] - 1)
    for way in range(WAYS):
        row = place ^ np.uint64(way)
        if memory[row, 0] == first and memory[row, 1] == second and memory[row, 2] == third:
            for k in range(3, ROW):
                packed = memory[row, k]
                for _ in range(IDS_OF_NUMBER):
                    token = packed & np.uint64(NO_ID)
                    if token == np.uint64(NO_ID):
                        return at
                    ids[at] = token
                    at += 1
                    packed >>= np.uint64(ID_BITS)
            return at
    stop = merge_short(buffer, start, end, merges, room[0], ids, at)
    if stop - at <= MOST_IDS:
        for k in range(ROW):  # what stands in the first place moves to the second
            memory[place ^ np.uint64(1), k] = memory[place, k]
        memory[place, 0] = first
        memory[place, 1] = second
        memory[place, 2] = third
        read = at
        for k in range(3, ROW):
            packed = np.uint64(0)
            for j in range(IDS_OF_NUMBER):
                token = np.uint64(NO_ID)
                if read < stop:
                    token = np.uint64(ids[read])
                    read += 1
                packed |= token << np.uint64(ID_BITS * j)
            memory[place, k] = packed
    return stop


@plain
def encode_piece(buffer, at, end, kinds, cut, digits, merges, memory, room, ids, count):
    """Cut text without added tokens and write the ids of its words; returns the number of ids so far."""
    if cut & LATER:
        while at < end:
            stop = later_end(buffer, at, end, kinds, cut, digits)
            count = encode_word(buffer, at, stop, merges, memory, room, ids, count)
            at = stop
    else:
        while at < end:
            stop = earlier_end(buffer, at, end, kinds)
            count = encode_word(buffer, at, stop, merges, memory, room, ids, count)
            at = stop
    return count


@plain
def next_added(buffer, at, end, trie):
    """As :func:`find_added`, without the tokens that are passed over."""
    pairs, children, ids = trie
    if ids.shape[0] == 1:
        return end, end, -1
    while True:
        start, stop, token = find_added(buffer, at, end, pairs, children, ids)
        if token >= -1:
            return start, stop, token
        at = stop


@plain
def encode_texts(buffer, offsets, kinds, cut, digits, merges, raw, added, memory, room, ids, firsts):
    """Write the ids of all texts to ``ids`` [as many as bytes], and where those of each begin to ``firsts`` [D + 1].

    ``buffer`` has ``PADDING`` bytes after the last text. ``merges`` are the ids of bytes and the table of pairs.
    ``raw`` and ``added`` are tries of added tokens: the first are found in the text as it is, the second between them,
    as the library does with tokens that are not and that are normalised. ``memory`` holds words that were merged
    before. ``room`` is to work in: [LONG_WORD], three times [bytes of the longest text], [twice that]; last how many
    bytes of a word are merged together.
    """
    count = 0
    for text in range(offsets.shape[0] - 1):
        part = offsets[text]
        end = offsets[text + 1]
        while part < end:
            part_end, next_part, raw_token = next_added(buffer, part, end, raw)
            piece = part
            while piece < part_end:
                piece_end, next_piece, token = next_added(buffer, piece, part_end, added)
                count = encode_piece(buffer, piece, piece_end, kinds, cut, digits, merges, memory, room, ids, count)
                if token >= 0:
                    ids[count] = token
                    count += 1
                piece = next_piece
            if raw_token >= 0:
                ids[count] = raw_token
                count += 1
            part = next_part
        firsts[text + 1] = count
