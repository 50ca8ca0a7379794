# mypy: disable-error-code="no-untyped-def"
"""Quality and repetition measures of Rae et al. 2021 (Gopher), appendix A, over indexed words and lines."""

from __future__ import annotations

import numpy as np
from numba import njit

from .units import HAS_LETTER, HAS_SYMBOL, hash_bytes

SHORT_WORD = 64  # words below this length are sorted by counting
NGRAM_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def table_size(entries):
    """Power of two that leaves half of an open-addressed table empty."""
    size = 16
    while size < 2 * entries:
        size *= 2
    return size


@njit(cache=True)
def count_keys(keys, candidates, table, counts, slots):
    """Count equal ``keys[i]`` among the i of ``candidates``.

    ``slots[k]`` is the place of ``candidates[k]`` in the table, ``table[slot]`` is 1 + the first i with that key,
    ``counts[slot]`` how many have it.
    """
    size = table_size(candidates.shape[0])
    mask = np.uint64(size - 1)
    table[:size] = 0
    for k in range(candidates.shape[0]):
        i = candidates[k]
        key = keys[i]
        slot = np.int64((key ^ (key >> np.uint64(32))) & mask)
        while table[slot] != 0 and keys[table[slot] - 1] != key:
            slot = (slot + 1) & (size - 1)
        if table[slot] == 0:
            table[slot] = i + 1
            counts[slot] = 0
        counts[slot] += 1
        slots[k] = slot


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


@njit(cache=True)
def score_ngrams(words, before, scores, space):
    """Fill the nine n-gram fractions of one document; stays NaN where it has fewer than n words.

    An n-gram can only be repeated where both (n-1)-grams inside it are, so each n looks at the survivors of n - 1.
    ``before`` are sums of word lengths: words i to j have ``before[j] - before[i]`` code points.
    """
    keys, candidates, table, counts, slots = space
    count = words.shape[0]
    total = before[count]
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
        count_keys(keys, candidates[:repeated], table, counts, slots)
        best = 1
        best_at = 0  # where all occur once, the first one counts as most common
        kept = 0
        characters = 0
        for k in range(repeated):
            slot = slots[k]
            if counts[slot] < 2:
                continue
            i = candidates[k]
            if counts[slot] > best and table[slot] == i + 1:
                best = counts[slot]
                best_at = i
            characters += before[i + n] - before[i]
            candidates[kept] = i
            kept += 1
        repeated = kept
        if n <= 4:
            scores[n - 2] = best * (before[best_at + n] - before[best_at]) / total
        else:
            everything = 0
            for i in range(last + 1):
                everything += before[i + n] - before[i]
            scores[n - 2] = characters / everything


@njit(cache=True)
def score_lines(buffer, starts, ends, space, between_runs):
    r"""Look at the pieces ``text.split("\n")`` or, where ``between_runs``, ``re.split(r"\n+", text)``.

    Returns the fractions that begin with a bullet, end in an ellipsis and are repeated, and the code points of all
    repeated pieces.
    """
    keys, candidates, table, counts, slots = space
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
        slots[pieces] = k
        pieces += 1
        if end > start:
            bullets += buffer[start] == 0x2A or buffer[start] == 0x2D
            ellipses += (
                end - start >= 3 and buffer[end - 3] == 0xE2 and buffer[end - 2] == 0x80 and buffer[end - 1] == 0xA6
            )
    which = slots[:pieces].copy()
    count_keys(keys, candidates[:pieces], table, counts, slots)
    repeated = 0
    characters = 0
    for k in range(pieces):
        if counts[slots[k]] > 1:
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
    size = table_size(largest)
    space = (
        np.empty(largest + 1, dtype=np.uint64),
        np.empty(largest + 1, dtype=np.int64),
        np.empty(size, dtype=np.int64),
        np.empty(size, dtype=np.int64),
        np.empty(largest + 1, dtype=np.int64),
    )
    before = np.zeros(largest + 1, dtype=np.int64)
    for document in range(documents):
        row = scores[document]
        low, high = first_word[document], first_word[document + 1]
        count = high - low
        symbols = letters = needed = 0
        for k in range(low, high):
            before[k - low + 1] = before[k - low] + word_lengths[k]
            symbols += (flags[k] & HAS_SYMBOL) != 0
            letters += (flags[k] & HAS_LETTER) != 0
            for r in range(required.shape[0]):
                needed += words[k] == required[r]
        score_ngrams(words[low:high], before, row, space)
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
        row[18] = characters / max(before[count], 1)
    return scores
