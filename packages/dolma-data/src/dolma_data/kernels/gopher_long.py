# mypy: disable-error-code="no-untyped-def"
"""The measures of :mod:`kernels.gopher` over one long text, in memory that its words and lines do not add to.

Kept are hashes of the words, where there are no more than ``MOST_HASHES`` of them, and for every length of n-grams a
bit a word that says whether the one that begins there is repeated. The words (or the text, where their hashes are not
kept) are read again for every length; where more different n-grams turn up than a table for ``most`` takes, once for
every part of them, divided by the upper bits of their hashes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import BYTE_NEWLINE
from .gopher import NGRAM_FACTOR, table_size
from .units import HAS_LETTER, HAS_SYMBOL, hash_bytes, next_word

LONGEST = 10  # n-grams
COUNTED_LENGTH = 1 << 16  # of words: longer ones are so few that they are sorted
RING = 16  # recent words that are held: a power of two, not below LONGEST
WINDOW = 1 << 14  # words that are read again together
MOST_HASHES = 1 << 25  # of words, 8 bytes each
MOST_KEYS = 1 << 20  # in half of a table, 32 bytes each
ONCE = np.uint64(1 << 32)
PLACE = np.uint64((1 << 32) - 1)


@njit(cache=True)
def new_table(keys):
    """An open-addressed table that ``keys`` fill half: rows of a key and of its number times 2^32 plus its place."""
    return np.zeros((table_size(keys), 2), dtype=np.uint64)


@njit(cache=True, inline="always")
def count_key(table, key, place):
    """Count ``key``; returns how often it has come and the place where it did first."""
    mask = table.shape[0] - 1
    slot = np.int64((key ^ (key >> np.uint64(32))) & np.uint64(mask))
    while table[slot, 1] != 0 and table[slot, 0] != key:
        slot = (slot + 1) & mask
    if table[slot, 1] == 0:
        table[slot, 0] = key
        table[slot, 1] = np.uint64(place)
    table[slot, 1] += ONCE
    return np.int64(table[slot, 1] >> np.uint64(32)), np.int64(table[slot, 1] & PLACE)


@njit(cache=True, inline="always")
def in_part(key, part, parts):
    """Whether the upper bits of ``key`` fall into ``part`` of ``parts``."""
    return ((key >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32) == np.uint64(part)


@njit(cache=True)
def more_parts(parts, passed, total):
    """How many parts to take where a table was full after ``passed`` of ``total``: new keys come ever more rarely."""
    return parts + 1 + parts * (total - passed) // max(passed, 1)


@njit(cache=True, inline="always")
def is_set(bits, i):
    """Bit i."""
    return (bits[i >> 3] >> (i & 7)) & 1


@njit(cache=True, inline="always")
def set_bit(bits, i):
    """Set bit i."""
    bits[i >> 3] |= np.uint8(1 << (i & 7))


@njit(cache=True)
def count_ngrams(text, n, alive, table, part, parts, repeated):
    """Mark in ``repeated`` where an n-gram of ``part`` begins that occurs more than once.

    Only those whose (n-1)-grams are ``alive`` (n > 2) are looked at. Returns after how many words ``table`` was full
    (0: it was not), the number of the most frequent n-gram and its first place.
    """
    buffer, classes, hashes, words = text
    window = hashes
    kept = hashes.shape[0] > 0
    if not kept:
        window = np.empty(WINDOW + LONGEST, dtype=np.uint64)
    table[:] = 0
    size = table.shape[0]
    at = begin = held = entries = 0
    while begin + n <= words:
        count = min(WINDOW, words - n + 1 - begin)
        if kept:
            window = hashes[begin : begin + count + n - 1]
        else:
            for k in range(held - WINDOW):
                window[k] = window[WINDOW + k]
            held = max(held - WINDOW, 0)
            while held < count + n - 1:
                window[held], _, _, at = next_word(buffer, at, buffer.shape[0], classes)
                held += 1
        for k in range(count):
            i = begin + k
            if n > 2 and not (is_set(alive, i) and is_set(alive, i + 1)):
                continue
            key = np.uint64(0)
            for word in range(n):
                key = key * NGRAM_FACTOR + window[k + word]
            if not in_part(key, part, parts):
                continue
            times, first = count_key(table, key, i)
            if times == 1:
                entries += 1
                if 5 * entries > 4 * size:
                    return i + 1, 0, 0
            else:
                set_bit(repeated, i)
                set_bit(repeated, first)
        begin += count
    best, best_at = np.int64(0), np.int64(0)
    for slot in range(size):
        times, first = np.int64(table[slot, 1] >> np.uint64(32)), np.int64(table[slot, 1] & PLACE)
        if times > best or (times == best and first < best_at):
            best, best_at = times, first
    return 0, best, best_at


@njit(cache=True)
def repeated_ngrams(text, n, alive, table, parts, repeated):
    """Mark where n-grams begin that occur more than once; returns the number of the most frequent one, the first place
    of the first such, and how many ``parts`` it took."""
    while True:
        best = best_at = full = 0
        for part in range(parts):
            full, times, place = count_ngrams(text, n, alive, table, part, parts, repeated)
            if full:
                break
            if times > best or (times == best and place < best_at):
                best, best_at = times, place
        if not full:
            return best, best_at, parts
        parts = more_parts(parts, full, text[3])


@njit(cache=True)
def score_words(buffer, classes, required, row, most, most_hashes):
    """Fill the scores of words and n-grams; returns the code points of all words."""
    end = buffer.shape[0]
    histogram = np.zeros(COUNTED_LENGTH, dtype=np.int64)
    longer = np.empty(end // COUNTED_LENGTH + 1, dtype=np.int64)
    hashes = np.empty(min(most_hashes, end // 2 + 1), dtype=np.uint64)  # untouched pages cost nothing
    at = words = symbols = letters = needed = everything = long_words = 0
    while True:
        value, length, flag, at = next_word(buffer, at, end, classes)
        if length == 0:
            break
        if words < hashes.shape[0]:
            hashes[words] = value
        elif words == most_hashes:
            hashes = np.empty(0, dtype=np.uint64)
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
    hashes = hashes[:words]
    most = most if hashes.shape[0] else 4 * most  # there is more room, and every reading takes longer
    longest = min(words, LONGEST)
    repeated = np.zeros((longest + 1, words // 8 + 1), dtype=np.uint8)
    best = np.zeros((longest + 1, 2), dtype=np.int64)  # number and first place
    table = new_table(min(words, most))
    parts = 1
    for n in range(2, longest + 1):
        number, place, parts = repeated_ngrams(
            (buffer, classes, hashes, words), n, repeated[n - 1], table, parts, repeated[n]
        )
        best[n, 0], best[n, 1] = max(number, 1), place if number > 1 else 0
    score_ngrams((buffer, classes), repeated, best, everything, row)
    row[10] = words
    row[11] = median_of(histogram, np.sort(longer[:long_words]), words)
    row[12] = symbols / max(words, 1)
    row[13] = letters / max(words, 1)
    row[14] = needed
    return everything


@njit(cache=True)
def score_ngrams(text, repeated, best, everything, row):
    """Fill the scores of n-grams in one reading, by where the ``repeated`` ones are and which is the ``best`` one."""
    buffer, classes = text
    longest = repeated.shape[0] - 1
    recent = np.zeros(RING, dtype=np.int64)
    totals = np.zeros(longest + 1, dtype=np.int64)  # code points of all n-grams
    characters = np.zeros(longest + 1, dtype=np.int64)  # of the repeated ones, or of the best one
    at = words = 0
    while True:
        _, length, _, at = next_word(buffer, at, buffer.shape[0], classes)
        if length == 0:
            break
        recent[words & (RING - 1)] = length
        words += 1
        within = 0
        for n in range(1, min(words, longest) + 1):
            within += recent[(words - n) & (RING - 1)]
            totals[n] += within
            if n > 4:
                characters[n] += within if is_set(repeated[n], words - n) else 0
            elif words - n == best[n, 1]:
                characters[n] = within
    for n in range(2, longest + 1):
        row[n - 2] = best[n, 0] * characters[n] / everything if n <= 4 else characters[n] / totals[n]


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
def read_lines(buffer, between_runs, table, part, parts):
    r"""One reading of the pieces ``text.split("\n")`` or, where ``between_runs``, ``re.split(r"\n+", text)``.

    Returns where in the text ``table`` was full (0: it was not), all pieces, those that begin with a bullet, those that
    end in an ellipsis; and of ``part`` the repeated ones and their code points.
    """
    table[:] = 0
    size = table.shape[0]
    end = buffer.shape[0]
    start = pieces = bullets = ellipses = repeated = characters = entries = 0
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
            if in_part(key, part, parts):
                times, _ = count_key(table, key, 0)
                if times == 1:
                    entries += 1
                    if 5 * entries > 4 * size:
                        return stop + 1, 0, 0, 0, 0, 0
                else:
                    copies = 2 if times == 2 else 1  # the first one counts as soon as there is another
                    repeated += copies
                    for place in range(start, stop):
                        characters += copies * ((buffer[place] & 0xC0) != 0x80)
        start = stop + 1
    return 0, pieces, bullets, ellipses, repeated, characters


@njit(cache=True)
def score_lines(buffer, between_runs, most):
    """Fractions of lines with a bullet, with an ellipsis, and repeated; the code points of all repeated ones."""
    parts = 1
    table = new_table(min(buffer.shape[0] + 1, most))
    while True:
        pieces = bullets = ellipses = repeated = characters = full = 0
        for part in range(parts):
            full, pieces, bullets, ellipses, more, of_them = read_lines(buffer, between_runs, table, part, parts)
            if full:
                break
            repeated += more
            characters += of_them
        if not full:
            return bullets / pieces, ellipses / pieces, repeated / pieces, characters
        parts = more_parts(parts, full, buffer.shape[0])


@njit(cache=True)
def score_long_document(buffer, characters, classes, required, between_runs, most, most_hashes):
    """The scores of one text, [19], equal to those of :func:`kernels.gopher.score_documents`.

    ``characters`` are its code points; tables are half full with ``most`` keys, and hold 1.6 times as many. Hashes of
    words are kept where there are at most ``most_hashes``.
    """
    row = np.full(19, np.nan)
    row[9] = characters
    everything = score_words(buffer, classes, required, row, most, most_hashes)
    bullets, ellipses, repeated, of_them = score_lines(buffer, between_runs, most)
    row[15] = bullets
    row[16] = ellipses
    row[17] = repeated
    row[18] = of_them / max(everything, 1)
    return row
