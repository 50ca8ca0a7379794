# mypy: disable-error-code="no-untyped-def"
"""Quality and repetition measures of Rae et al. 2021 (Gopher), appendix A, over indexed words and lines."""

from __future__ import annotations

import numpy as np
from numba import njit

from .units import HAS_LETTER, HAS_SYMBOL, hash_bytes

SHORT_WORD = 64  # words below this length are sorted by counting
TABLE_KEYS = 1 << 20  # counted in one table
KEY_PARTS = 16
PART_SHIFT = np.uint64(60)
PART_MASK = np.uint64(KEY_PARTS - 1)
NGRAM_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def table_size(entries):
    """Power of two that leaves half of an open-addressed table empty."""
    size = 16
    while size < 2 * entries:
        size *= 2
    return size


@njit(cache=True)
def count_keys(keys, candidates, space):
    """Count equal ``keys[i]`` among the i of ``candidates``.

    ``firsts[k]`` becomes the first i with the key of ``candidates[k]``, ``counts[i]`` of a first i how many have it.
    Many keys are counted part by part, by their upper bits, so that the table stays small beside them.
    """
    _, _, table, counts, firsts = space
    total = candidates.shape[0]
    if total <= TABLE_KEYS:
        size = table_size(total)
        table[:size] = 0
        count_part(keys, candidates, table[:size], counts, firsts, np.uint64(0), np.uint64(0))
        return
    held = np.zeros(KEY_PARTS, dtype=np.int64)
    for k in range(total):
        held[keys[candidates[k]] >> PART_SHIFT] += 1
    for part in range(KEY_PARTS):
        whole = np.zeros(table_size(held[part]), dtype=np.int32)
        count_part(keys, candidates, whole, counts, firsts, np.uint64(part), PART_MASK)


@njit(cache=True)
def count_part(keys, candidates, table, counts, firsts, part, part_mask):
    """Count the keys whose upper bits under ``part_mask`` are ``part``; ``table[slot]`` is 1 + the first i of a key."""
    mask = table.shape[0] - 1
    for k in range(candidates.shape[0]):
        i = candidates[k]
        key = keys[i]
        if (key >> PART_SHIFT) & part_mask != part:
            continue
        slot = np.int64((key ^ (key >> np.uint64(32))) & np.uint64(mask))
        while table[slot] != 0 and keys[table[slot] - 1] != key:
            slot = (slot + 1) & mask
        if table[slot] == 0:
            table[slot] = i + 1
            counts[i] = 0
        first = table[slot] - 1
        counts[first] += 1
        firsts[k] = first


@njit(cache=True)
def median_length(lengths):
    """Median, the mean of the middle two for an even number; 0 for none."""
    count = lengths.shape[0]
    if count == 0:
        return 0.0
    histogram = np.zeros(SHORT_WORD, dtype=np.int64)
    short = True
    for k in range(count):
        if lengths[k] >= SHORT_WORD:
            short = False
            break
        histogram[lengths[k]] += 1
    if not short:
        ordered = np.sort(lengths)
        return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2.0
    lower = upper = -1
    passed = 0
    for length in range(SHORT_WORD):
        passed += histogram[length]
        if lower < 0 and passed > (count - 1) // 2:
            lower = length
        if passed > count // 2:
            upper = length
            break
    return (lower + upper) / 2.0


@njit(cache=True, inline="always")
def sum_between(values, start, end):
    """Sum of ``values[start:end]``."""
    total = 0
    for k in range(start, end):
        total += values[k]
    return total


@njit(cache=True)
def score_ngrams(words, lengths, scores, space):
    """Fill the nine n-gram fractions of one document; stays NaN where it has fewer than n words.

    An n-gram can only be repeated where both (n-1)-grams inside it are, so each n looks at the survivors of n - 1.
    """
    keys, candidates, _, counts, firsts = space
    count = words.shape[0]
    total = sum_between(lengths, 0, count)
    for i in range(count):
        keys[i] = words[i]
        candidates[i] = i
    repeated = count - 1
    for n in range(2, 11):
        if count < n:
            return
        last = count - n  # the n-grams begin at 0 … last
        for i in range(last + 1):
            keys[i] = keys[i] * NGRAM_FACTOR + words[i + n - 1]
        if n > 2:
            kept = 0
            for k in range(repeated):
                if candidates[k] <= last and k + 1 < repeated and candidates[k + 1] == candidates[k] + 1:
                    candidates[kept] = candidates[k]
                    kept += 1
            repeated = kept
        count_keys(keys, candidates[:repeated], space)
        best = 1
        best_at = 0  # where all occur once, the first one counts as most common
        kept = 0
        characters = 0
        for k in range(repeated):
            i = candidates[k]
            first = firsts[k]
            if counts[first] < 2:
                continue
            if first == i and counts[first] > best:
                best = counts[first]
                best_at = i
            characters += sum_between(lengths, i, i + n)
            candidates[kept] = i
            kept += 1
        repeated = kept
        if n <= 4:
            scores[n - 2] = best * sum_between(lengths, best_at, best_at + n) / total
        else:
            within = sum_between(lengths, 0, n)
            everything = within
            for i in range(last):
                within += lengths[i + n] - lengths[i]
                everything += within
            scores[n - 2] = characters / everything


@njit(cache=True)
def score_lines(buffer, starts, ends, space, between_runs):
    r"""Look at the pieces ``text.split("\n")`` or, where ``between_runs``, ``re.split(r"\n+", text)``.

    Returns the fractions that begin with a bullet, end in an ellipsis and are repeated, and the code points of all
    repeated pieces.
    """
    keys, candidates, _, counts, firsts = space
    pieces = 0
    bullets = 0
    ellipses = 0
    count = starts.shape[0]
    for k in range(count):
        start, end = starts[k], ends[k]
        if between_runs and start == end and 0 < k < count - 1:
            continue
        candidates[pieces] = pieces
        keys[pieces] = hash_bytes(buffer, start, end)
        firsts[pieces] = k
        pieces += 1
        if end > start:
            bullets += buffer[start] == 0x2A or buffer[start] == 0x2D
            ellipses += (
                end - start >= 3 and buffer[end - 3] == 0xE2 and buffer[end - 2] == 0x80 and buffer[end - 1] == 0xA6
            )
    which = firsts[:pieces].copy()
    count_keys(keys, candidates[:pieces], space)
    repeated = 0
    characters = 0
    for k in range(pieces):
        if counts[firsts[k]] > 1:
            repeated += 1
            for at in range(starts[which[k]], ends[which[k]]):
                characters += (buffer[at] & 0xC0) != 0x80
    return bullets / pieces, ellipses / pieces, repeated / pieces, characters


@njit(cache=True)
def score_documents(
    buffer, lengths, first_word, words, word_lengths, flags, first_line, starts, ends, required, between_runs
):
    """All scores, [D, 19] in the order of ``taggers.gopher.TYPES``; NaN where a document is too short for an n-gram.

    ``lengths`` [D] are code points; ``required`` are the hashes of the required words.
    """
    documents = lengths.shape[0]
    scores = np.full((documents, 19), np.nan)
    largest = 1
    for document in range(documents):
        largest = max(largest, first_word[document + 1] - first_word[document])
        largest = max(largest, first_line[document + 1] - first_line[document])
    space = (
        np.empty(largest + 1, dtype=np.uint64),
        np.empty(largest + 1, dtype=np.int32),
        np.empty(table_size(min(largest, TABLE_KEYS)), dtype=np.int32),
        np.empty(largest + 1, dtype=np.int32),
        np.empty(largest + 1, dtype=np.int32),
    )
    for document in range(documents):
        row = scores[document]
        low, high = first_word[document], first_word[document + 1]
        count = high - low
        symbols = letters = needed = everything = 0
        for k in range(low, high):
            everything += word_lengths[k]
            symbols += (flags[k] & HAS_SYMBOL) != 0
            letters += (flags[k] & HAS_LETTER) != 0
            for r in range(required.shape[0]):
                needed += words[k] == required[r]
        score_ngrams(words[low:high], word_lengths[low:high], row, space)
        row[9] = lengths[document]
        row[10] = count
        row[11] = median_length(word_lengths[low:high])
        row[12] = symbols / max(count, 1)
        row[13] = letters / max(count, 1)
        row[14] = needed
        low, high = first_line[document], first_line[document + 1]
        bullets, ellipses, repeated, characters = score_lines(
            buffer, starts[low:high], ends[low:high], space, between_runs
        )
        row[15] = bullets
        row[16] = ellipses
        row[17] = repeated
        row[18] = characters / max(everything, 1)
    return scores
