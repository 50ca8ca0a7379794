# mypy: disable-error-code="no-untyped-def"
"""The measures of :mod:`kernels.gopher` over one long text, in memory that its words and lines do not add to.

Nothing is kept of a word or a line but a bit that says whether an n-gram there can be repeated. The text is read again
for every length of n-grams; where more different ones turn up than a table for ``most`` takes, once more for every part
of them, divided by the upper bits of their hashes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import BYTE_NEWLINE, LETTER, SPACE, read_character
from .gopher import NGRAM_FACTOR, table_size
from .units import FNV_OFFSET, FNV_PRIME, HAS_LETTER, HAS_SYMBOL, finish_hash, hash_bytes

LONGEST = 10  # n-grams
COUNTED_LENGTH = 1 << 16  # of words: longer ones are so few that they are sorted
RING = 16  # recent words that are held: a power of two, not below LONGEST
MOST_KEYS = 1 << 22  # in half of a table, 32 bytes each


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
def find_slot(keys, firsts, key):
    """Where ``key`` stands in an open-addressed table, or the free slot (``firsts`` is -1) where it belongs."""
    mask = keys.shape[0] - 1
    slot = np.int64((key ^ (key >> np.uint64(32))) & np.uint64(mask))
    while firsts[slot] >= 0 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, inline="always")
def _is_set(bits, i):
    return (bits[i >> 3] >> (i & 7)) & 1


@njit(cache=True)
def read_ngrams(buffer, classes, n, alive, table, part, parts, collect, survivors):
    """One reading of the n-grams of ``part`` whose (n-1)-grams are ``alive`` (n > 2).

    With ``collect`` they are entered into ``table``; stops and returns True where it is full. Else those that occur
    more than once are marked in ``survivors``; returns False, their characters, the number of the most frequent one,
    its place and its characters.
    """
    keys, counts, firsts = table
    hashes = np.zeros(RING, dtype=np.uint64)
    lengths = np.zeros(RING, dtype=np.int64)
    end = buffer.shape[0]
    at = held = characters = best_at = best_characters = 0
    best = 1
    word = -1
    while True:
        value, length, _, at = next_word(buffer, at, end, classes)
        if length == 0:
            return False, characters, best, best_at, best_characters
        word += 1
        hashes[word & (RING - 1)] = value
        lengths[word & (RING - 1)] = length
        i = word - n + 1
        if i < 0 or (n > 2 and not (_is_set(alive, i) and _is_set(alive, i + 1))):
            continue
        key = np.uint64(0)
        for k in range(n):
            key = key * NGRAM_FACTOR + hashes[(i + k) & (RING - 1)]
        if np.int64(key >> np.uint64(40)) % parts != part:
            continue
        slot = find_slot(keys, firsts, key)
        if collect:
            if firsts[slot] < 0:
                held += 1
                if 5 * held > 4 * keys.shape[0]:
                    return True, 0, 0, 0, 0
                keys[slot], counts[slot], firsts[slot] = key, 0, i
            counts[slot] += 1
        elif counts[slot] > 1:
            size = 0
            for k in range(n):
                size += lengths[(i + k) & (RING - 1)]
            survivors[i >> 3] |= np.uint8(1 << (i & 7))
            characters += size
            if firsts[slot] == i and counts[slot] > best:
                best, best_at, best_characters = counts[slot], i, size


@njit(cache=True)
def repeated_ngrams(buffer, classes, n, alive, words, most, parts):
    """Of the n-grams: which begin one that occurs more than once (bits), their characters, the number and the
    characters of the most frequent one (the first of several), and how many ``parts`` it took."""
    size = table_size(min(words, most))
    table = (np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.int32))
    while True:
        survivors = np.zeros(words // 8 + 1, dtype=np.uint8)
        characters = best_characters = 0
        best, best_at = 1, words
        full = False
        for part in range(parts):
            table[2][:] = -1
            full = read_ngrams(buffer, classes, n, alive, table, part, parts, True, survivors)[0]
            if full:
                break
            _, more, count, place, length = read_ngrams(buffer, classes, n, alive, table, part, parts, False, survivors)
            characters += more
            if count > best or (count == best and count > 1 and place < best_at):
                best, best_at, best_characters = count, place, length
        if not full:
            return survivors, characters, best, best_characters, parts
        parts *= 4


@njit(cache=True)
def score_words(buffer, classes, required, row, most):
    """Fill the scores of words and n-grams; returns the code points of all words."""
    end = buffer.shape[0]
    histogram = np.zeros(COUNTED_LENGTH, dtype=np.int64)
    longer = np.empty(end // COUNTED_LENGTH + 1, dtype=np.int64)
    first_words = np.zeros(LONGEST + 1, dtype=np.int64)  # code points of the first n words
    recent = np.zeros(LONGEST, dtype=np.int64)
    totals = np.zeros(LONGEST + 1, dtype=np.int64)  # code points of all n-grams
    at = words = symbols = letters = needed = everything = long_words = 0
    while True:
        value, length, flag, at = next_word(buffer, at, end, classes)
        if length == 0:
            break
        recent[words % LONGEST] = length
        words += 1
        everything += length
        symbols += (flag & HAS_SYMBOL) != 0
        letters += (flag & HAS_LETTER) != 0
        for r in range(required.shape[0]):
            needed += value == required[r]
        if length < COUNTED_LENGTH:
            histogram[length] += 1
        else:
            longer[long_words] = length
            long_words += 1
        within = 0
        for n in range(1, min(words, LONGEST) + 1):
            within += recent[(words - n) % LONGEST]
            totals[n] += within
            if words == n:
                first_words[n] = within
    alive = np.zeros(1, dtype=np.uint8)
    parts = 1
    for n in range(2, LONGEST + 1):
        if words < n:
            break
        alive, characters, best, best_characters, parts = repeated_ngrams(
            buffer, classes, n, alive, words, most, max(parts // 4, 1)
        )
        if n <= 4:
            row[n - 2] = best * (best_characters if best > 1 else first_words[n]) / everything
        else:
            row[n - 2] = characters / totals[n]
    row[10] = words
    row[11] = median_of(histogram, np.sort(longer[:long_words]), words)
    row[12] = symbols / max(words, 1)
    row[13] = letters / max(words, 1)
    row[14] = needed
    return everything


@njit(cache=True)
def median_of(histogram, longer, count):
    """Median of lengths that are counted in ``histogram`` or, sorted, ``longer``; 0 for none."""
    if count == 0:
        return 0.0
    total = 0.0
    for place in ((count - 1) // 2, count // 2):
        passed = 0
        for length in range(histogram.shape[0]):
            passed += histogram[length]
            if passed > place:
                total += length
                break
        else:
            total += longer[place - passed]
    return total / 2.0


@njit(cache=True)
def read_lines(buffer, between_runs, table, part, parts, collect):
    r"""One reading of the pieces ``text.split("\n")`` or, where ``between_runs``, ``re.split(r"\n+", text)``.

    With ``collect`` those of ``part`` are entered into ``table``; stops and returns True where it is full. Returns
    False, all pieces, those that begin with a bullet, those that end in an ellipsis; and without ``collect`` the
    repeated ones of the part and their code points.
    """
    keys, counts, firsts = table
    end = buffer.shape[0]
    start = pieces = bullets = ellipses = repeated = characters = held = 0
    while start <= end:
        stop = start
        while stop < end and buffer[stop] != BYTE_NEWLINE:
            stop += 1
        if not (between_runs and start == stop and start > 0 and stop < end):
            pieces += 1
            if stop > start:
                bullets += buffer[start] == 0x2A or buffer[start] == 0x2D
                ellipses += (
                    stop - start >= 3
                    and buffer[stop - 3] == 0xE2
                    and buffer[stop - 2] == 0x80
                    and buffer[stop - 1] == 0xA6
                )
            key = hash_bytes(buffer, start, stop)
            if np.int64(key >> np.uint64(40)) % parts == part:
                slot = find_slot(keys, firsts, key)
                if collect:
                    if firsts[slot] < 0:
                        held += 1
                        if 5 * held > 4 * keys.shape[0]:
                            return True, 0, 0, 0, 0, 0
                        keys[slot], counts[slot], firsts[slot] = key, 0, 0
                    counts[slot] += 1
                elif counts[slot] > 1:
                    repeated += 1
                    for place in range(start, stop):
                        characters += (buffer[place] & 0xC0) != 0x80
        start = stop + 1
    return False, pieces, bullets, ellipses, repeated, characters


@njit(cache=True)
def score_lines(buffer, between_runs, most):
    """Fractions of lines with a bullet, with an ellipsis, and repeated; the code points of all repeated ones."""
    parts = 1
    size = table_size(min(buffer.shape[0] + 1, most))
    table = (np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.int32))
    while True:
        pieces = bullets = ellipses = repeated = characters = 0
        full = False
        for part in range(parts):
            table[2][:] = -1
            full = read_lines(buffer, between_runs, table, part, parts, True)[0]
            if full:
                break
            _, pieces, bullets, ellipses, more, of_them = read_lines(buffer, between_runs, table, part, parts, False)
            repeated += more
            characters += of_them
        if not full:
            return bullets / pieces, ellipses / pieces, repeated / pieces, characters
        parts *= 4


@njit(cache=True)
def score_long_document(buffer, characters, classes, required, between_runs, most):
    """The scores of one text, [19], equal to those of :func:`kernels.gopher.score_documents`.

    ``characters`` are its code points; tables are half full with ``most`` keys, and hold 1.6 times as many.
    """
    row = np.full(19, np.nan)
    row[9] = characters
    everything = score_words(buffer, classes, required, row, most)
    bullets, ellipses, repeated, of_them = score_lines(buffer, between_runs, most)
    row[15] = bullets
    row[16] = ellipses
    row[17] = repeated
    row[18] = of_them / max(everything, 1)
    return row
