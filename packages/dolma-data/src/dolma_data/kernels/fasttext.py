# mypy: disable-error-code="no-untyped-def"
"""Inference of fastText classifiers over ranges of a UTF-8 buffer, equal to the library's up to rounding.

What a token adds to the average does not depend on where it stands, so it is computed once and kept in a table as long
as no other token takes its place; frequent words then cost one hash and one addition.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from .lowercase import GROWTH, lowercase

FNV_OFFSET = np.uint32(2166136261)
FNV_PRIME = np.uint32(16777619)
WIDE_OFFSET = np.uint64(0xCBF29CE484222325)
WIDE_PRIME = np.uint64(0x100000001B3)
NGRAM_FACTOR = np.uint64(116049371)
FLOOR = 1e-5  # what the library adds inside each logarithm
LOG_FLOOR = math.log(FLOOR)
WORD = 0
LABEL = 1
STOP = 2  # the token </s>, where the library stops reading
LEFT_ANGLE = 0x3C
RIGHT_ANGLE = 0x3E
ROWS_AT_ONCE = 128
MOST_SLOTS = 1 << 18
LEAST_SLOTS = 1 << 10
WIDEST_KEPT = 24  # bytes of a token that is kept
TABLE_BYTES = 16 << 20  # of kept vectors
SIGMOID_STEPS = 512
SIGMOID_LIMIT = 8.0


@njit(cache=True, inline="always")
def is_separator(byte):
    """Where fastText splits: space, tab, line feed, vertical tab, form feed, carriage return, NUL."""
    return byte == 0x20 or (0x09 <= byte <= 0x0D) or byte == 0


@njit(cache=True)
def hash_token(buffer, start, end):
    """FNV-1a of 32 bits over signed bytes, as the library has it."""
    value = FNV_OFFSET
    for at in range(start, end):
        byte = np.uint32(buffer[at])
        if byte & np.uint32(0x80):
            byte |= np.uint32(0xFFFFFF00)
        value = np.uint32((value ^ byte) * FNV_PRIME)
    return value


@njit(cache=True)
def fill_table(entries, offsets, table):
    """Open-addressed table from token to 1 + its number; ``table`` is zero and a power of two long."""
    mask = np.uint32(table.shape[0] - 1)
    for number in range(offsets.shape[0] - 1):
        slot = hash_token(entries, offsets[number], offsets[number + 1]) & mask
        while table[slot] != 0:
            slot = (slot + np.uint32(1)) & mask
        table[slot] = number + 1


@njit(cache=True)
def find_token(entries, offsets, table, buffer, start, end, hashed):
    """Number of the token ``buffer[start:end]``, -1 where it is not in the table."""
    mask = np.uint32(table.shape[0] - 1)
    slot = hashed & mask
    while table[slot] != 0:
        number = table[slot] - 1
        first = offsets[number]
        if offsets[number + 1] - first == end - start:
            same = True
            for k in range(end - start):
                if entries[first + k] != buffer[start + k]:
                    same = False
                    break
            if same:
                return number
        slot = (slot + np.uint32(1)) & mask
    return -1


@njit(cache=True, inline="always")
def row_of_bucket(bucket, pruned, word_count):
    """Row of a bucket of n-grams, -1 where it was pruned away."""
    if pruned.shape[0] == 0:
        return word_count + bucket
    row = np.int64(pruned[bucket])
    return word_count + row if row >= 0 else -1


@njit(cache=True, inline="always")
def add_rows(inputs, rows, count, vector):
    """Add ``inputs[rows[k]]`` for each k below ``count``."""
    for k in range(count):
        row = rows[k]
        for d in range(vector.shape[0]):
            vector[d] += inputs[row, d]


@njit(cache=True)
def add_subwords(scratch, start, end, inputs, pruned, word_count, buckets, shortest, longest, vector):
    """Add the character n-grams of the token with its angle brackets ``scratch[start:end]``; returns how many.

    Rows are found first and added then, so that the processor waits for several at a time.
    """
    added = np.int64(0)
    found = np.int64(0)
    rows = np.empty(ROWS_AT_ONCE + 1, dtype=np.uint32)
    size = np.uint32(buckets)
    kept = pruned.shape[0] > 0
    for first in range(start, end):
        if (scratch[first] & 0xC0) == 0x80:
            continue
        value = FNV_OFFSET
        at = first
        characters = 1
        while at < end and characters <= longest:
            while True:
                byte = np.uint32(scratch[at])
                if byte & np.uint32(0x80):
                    byte |= np.uint32(0xFFFFFF00)
                value = np.uint32((value ^ byte) * FNV_PRIME)
                at += 1
                if at >= end or (scratch[at] & 0xC0) != 0x80:
                    break
            if characters >= shortest and not (characters == 1 and (first == start or at == end)):
                bucket = np.uint32(value % size)
                row = pruned[bucket] if kept else np.int32(bucket)
                rows[found] = np.uint32(word_count + row)
                found += row >= 0
                if found == ROWS_AT_ONCE:
                    add_rows(inputs, rows, found, vector)
                    added += found
                    found = np.int64(0)
            characters += 1
    add_rows(inputs, rows, found, vector)
    return added + found


@njit(cache=True, inline="always")
def is_stop(scratch, start, end):
    """Whether a token is ``</s>``."""
    return (
        end - start == 4
        and scratch[start] == 0x3C
        and scratch[start + 1] == 0x2F
        and scratch[start + 2] == 0x73
        and scratch[start + 3] == 0x3E
    )


@njit(cache=True, inline="always")
def has_label_prefix(scratch, start, end):
    """Whether a token begins with ``__label__``."""
    if end - start < 9 or scratch[start] != 0x5F or scratch[start + 1] != 0x5F:
        return False
    return (
        scratch[start + 2] == 0x6C
        and scratch[start + 3] == 0x61
        and scratch[start + 4] == 0x62
        and scratch[start + 5] == 0x65
        and scratch[start + 6] == 0x6C
        and scratch[start + 7] == 0x5F
        and scratch[start + 8] == 0x5F
    )


@njit(cache=True)
def embed_token(scratch, end, dictionary, inputs, pruned, settings, vector):
    """Sum into ``vector`` what the token ``scratch[1:end]`` (there is room for its brackets) adds to the average.

    Returns ``(kind, rows added, hash)``.
    """
    entries, offsets, table = dictionary
    word_count, buckets, shortest, longest, _, _ = settings
    vector[:] = 0
    hashed = hash_token(scratch, 1, end)
    number = find_token(entries, offsets, table, scratch, 1, end, hashed)
    stop = is_stop(scratch, 1, end)
    if number >= word_count or (number < 0 and has_label_prefix(scratch, 1, end)):
        return LABEL, 0, hashed
    added = 0
    if number >= 0:
        for d in range(vector.shape[0]):
            vector[d] += inputs[number, d]
        added = 1
    if stop:
        return STOP, added, hashed
    if longest > 0 and buckets > 0:
        scratch[0] = LEFT_ANGLE
        scratch[end] = RIGHT_ANGLE
        added += add_subwords(scratch, 0, end + 1, inputs, pruned, word_count, buckets, shortest, longest, vector)
    return WORD, added, hashed


@njit(cache=True)
def add_word_ngrams(recent, length, hashed, inputs, pruned, word_count, buckets, total):
    """Add the word n-grams that end with a token; ``recent`` holds the ``length`` hashes before it, newest last."""
    added = 0
    for first in range(recent.shape[0] - length, recent.shape[0]):
        value = np.uint64(np.int64(recent[first]))
        for k in range(first + 1, recent.shape[0]):
            value = value * NGRAM_FACTOR + np.uint64(np.int64(recent[k]))
        value = value * NGRAM_FACTOR + np.uint64(np.int64(np.int32(hashed)))
        row = row_of_bucket(np.int64(value % np.uint64(buckets)), pruned, word_count)
        if row >= 0:
            for d in range(total.shape[0]):
                total[d] += inputs[row, d]
            added += 1
    return added


@njit(cache=True, inline="always")
def is_known(buffer, first, size, key, slot, keys, sizes, texts):
    """Whether the kept token ``slot`` is ``buffer[first:first + size]``."""
    if keys[slot] != key or sizes[slot] != size:
        return False
    same = True
    for k in range(size):
        same = same and texts[slot, k] == buffer[first + k]
    return same


@njit(cache=True)
def embed_units(buffer, starts, ends, case, dictionary, inputs, pruned, settings, kept):
    """Average of the rows of each unit ``buffer[starts[u]:ends[u]]``.

    ``case`` is ``(whether to lower, lower, kinds)``, ``settings`` are word count, buckets, shortest and longest
    character n-gram, word n-grams and the number of ``</s>`` (-1 for none); ``kept`` comes from
    :func:`make_kept_tokens` and changes no result. Returns ``hidden`` [U, D] of float64 and how many rows it is the
    average of, [U].
    """
    to_lower, lower, kinds = case
    word_count, buckets, _, _, word_ngrams, stop_number = settings
    keys, sizes, texts, vectors, counts, token_kinds, hashes = kept
    units = starts.shape[0]
    dimension = inputs.shape[1]
    hidden = np.zeros((units, dimension), dtype=np.float64)
    rows = np.zeros(units, dtype=np.int64)
    longest = np.int64(0)
    for unit in range(units):
        longest = max(longest, ends[unit] - starts[unit])
    slots = keys.shape[0]
    widest = texts.shape[1]
    mask = np.uint64(slots - 1)
    scratch = np.empty(longest * (GROWTH if to_lower else 1) + 2, dtype=np.uint8)
    recent = np.zeros(max(word_ngrams - 1, 0), dtype=np.int32)
    stop_bytes = np.array([0, 0x3C, 0x2F, 0x73, 0x3E, 0], dtype=np.uint8)
    stop_hash = hash_token(stop_bytes, 1, 5)
    for unit in range(units):
        at = starts[unit]
        end = ends[unit]
        sum_of_rows = hidden[unit]
        added = np.int64(0)
        length = 0  # of what ``recent`` holds
        stopped = False
        while at < end:
            if is_separator(buffer[at]):
                at += 1
                continue
            first = at
            key = WIDE_OFFSET + np.uint64(to_lower)
            while at < end and not is_separator(buffer[at]):
                key = (key ^ np.uint64(buffer[at])) * WIDE_PRIME
                at += 1
            size = at - first
            slot = np.int64((key ^ (key >> np.uint64(29))) & mask)
            if size > widest:
                slot = slots  # not kept: the place behind is for the moment
            if slot == slots or not is_known(buffer, first, size, key, slot, keys, sizes, texts):
                if to_lower:
                    behind = lowercase(buffer, first, at, lower, kinds, scratch, 1)
                else:
                    for k in range(size):
                        scratch[1 + k] = buffer[first + k]
                    behind = 1 + size
                kind, count, hashed = embed_token(scratch, behind, dictionary, inputs, pruned, settings, vectors[slot])
                token_kinds[slot] = kind
                counts[slot] = count
                hashes[slot] = hashed
                if slot < slots:
                    keys[slot] = key
                    sizes[slot] = size
                    for k in range(size):
                        texts[slot, k] = buffer[first + k]
            if token_kinds[slot] == LABEL:
                continue
            if counts[slot]:
                added += counts[slot]
                for d in range(dimension):
                    sum_of_rows[d] += vectors[slot, d]
            if word_ngrams > 1 and buckets > 0:
                added += add_word_ngrams(recent, length, hashes[slot], inputs, pruned, word_count, buckets, sum_of_rows)
                recent[:-1] = recent[1:]
                recent[-1] = np.int32(hashes[slot])
                length = min(length + 1, word_ngrams - 1)
            if token_kinds[slot] == STOP:
                stopped = True
                break
        if not stopped:
            if stop_number >= 0:
                for d in range(dimension):
                    sum_of_rows[d] += inputs[stop_number, d]
                added += 1
            if word_ngrams > 1 and buckets > 0:
                added += add_word_ngrams(recent, length, stop_hash, inputs, pruned, word_count, buckets, sum_of_rows)
        rows[unit] = added
        if added:
            for d in range(dimension):
                sum_of_rows[d] /= added
    return hidden, rows


def make_kept_tokens(dimension: int) -> Any:
    """Room for what :func:`embed_units` keeps from one call to the next: tokens with what each adds."""
    slots = MOST_SLOTS
    while slots * dimension * 4 > TABLE_BYTES and slots > LEAST_SLOTS:
        slots //= 2
    return (
        np.zeros(slots, dtype=np.uint64),
        np.zeros(slots, dtype=np.int64),  # no token has no bytes, so that every place is free
        np.zeros((slots, WIDEST_KEPT), dtype=np.uint8),
        np.zeros((slots + 1, dimension), dtype=np.float32),
        np.zeros(slots + 1, dtype=np.int64),
        np.zeros(slots + 1, dtype=np.uint8),
        np.zeros(slots + 1, dtype=np.uint32),
    )


@njit(cache=True)
def multiply(hidden, outputs, values):
    """``values[l] = outputs[:, l] · hidden`` for transposed ``outputs`` [D, L]; one order of addition everywhere."""
    values[:] = 0.0
    for d in range(hidden.shape[0]):
        factor = hidden[d]
        for label in range(values.shape[0]):
            values[label] += factor * outputs[d, label]


@njit(cache=True)
def score_softmax(hidden, rows, outputs):
    """Probabilities [U, L] plus FLOOR; zero in units without rows."""
    units = hidden.shape[0]
    labels = outputs.shape[1]
    scores = np.zeros((units, labels), dtype=np.float32)
    values = np.empty(labels, dtype=np.float64)
    for unit in range(units):
        if not rows[unit]:
            continue
        multiply(hidden[unit], outputs, values)
        top = values.max()
        total = 0.0
        for label in range(labels):
            values[label] = math.exp(values[label] - top)
            total += values[label]
        for label in range(labels):
            scores[unit, label] = values[label] / total + FLOOR
    return scores


@njit(cache=True)
def score_independent(hidden, rows, outputs):
    """Logistic probabilities [U, L] plus FLOOR, from the table of 512 steps of the library (losses ova and ns)."""
    units = hidden.shape[0]
    labels = outputs.shape[1]
    scores = np.zeros((units, labels), dtype=np.float32)
    values = np.empty(labels, dtype=np.float64)
    steps = np.empty(SIGMOID_STEPS + 1, dtype=np.float64)
    for step in range(SIGMOID_STEPS + 1):
        steps[step] = 1.0 / (1.0 + math.exp(SIGMOID_LIMIT - step * 2.0 * SIGMOID_LIMIT / SIGMOID_STEPS))
    for unit in range(units):
        if not rows[unit]:
            continue
        multiply(hidden[unit], outputs, values)
        for label in range(labels):
            value = values[label]
            if value < -SIGMOID_LIMIT:
                probability = 0.0
            elif value > SIGMOID_LIMIT:
                probability = 1.0
            else:
                probability = steps[int((value + SIGMOID_LIMIT) * SIGMOID_STEPS / SIGMOID_LIMIT / 2.0)]
            scores[unit, label] = probability + FLOOR
    return scores


@njit(cache=True)
def build_tree(counts):
    """Huffman tree over L labels whose counts fall: children [2L - 1, 2], -1 at the leaves, node n < L is label n."""
    labels = counts.shape[0]
    nodes = 2 * labels - 1
    weights = np.full(nodes, np.int64(1e15), dtype=np.int64)
    weights[:labels] = counts
    children = np.full((nodes, 2), -1, dtype=np.int64)
    leaf = labels - 1
    inner = labels
    for node in range(labels, nodes):
        weight = 0
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[inner]:
                child = leaf
                leaf -= 1
            else:
                child = inner
                inner += 1
            children[node, side] = child
            weight += weights[child]
        weights[node] = weight  # not before: an unmade node outweighs all others
    return children


@njit(cache=True)
def score_hierarchical(hidden, rows, outputs, children):
    """Probabilities [U, L] as the library's search of the tree gives them: branches below FLOOR are zero."""
    units = hidden.shape[0]
    labels = outputs.shape[1]
    nodes = children.shape[0]
    scores = np.zeros((units, labels), dtype=np.float32)
    values = np.empty(labels, dtype=np.float64)
    logs = np.empty(nodes, dtype=np.float64)
    for unit in range(units):
        if not rows[unit]:
            continue
        multiply(hidden[unit], outputs, values)
        logs[nodes - 1] = 0.0
        for node in range(nodes - 1, -1, -1):  # a parent stands behind its children
            score = logs[node]
            left = children[node, 0]
            if left < 0:
                if score >= LOG_FLOOR:
                    scores[unit, node] = math.exp(score)
                continue
            right = children[node, 1]
            if score < LOG_FLOOR:
                logs[left] = score
                logs[right] = score
                continue
            probability = 1.0 / (1.0 + math.exp(-values[node - labels]))
            logs[left] = score + math.log(1.0 - probability + FLOOR)
            logs[right] = score + math.log(probability + FLOOR)
    return scores


@njit(cache=True)
def score_hierarchical_label(hidden, rows, outputs, children, label):
    """The column ``label`` of :func:`score_hierarchical` [U], along its branch alone."""
    nodes = children.shape[0]
    labels = outputs.shape[1]
    parents = np.full(nodes, -1, dtype=np.int64)
    for node in range(labels, nodes):
        parents[children[node, 0]] = node
        parents[children[node, 1]] = node
    path = np.empty(labels, dtype=np.int64)
    sides = np.empty(labels, dtype=np.int64)
    depth = 0
    node = label
    while parents[node] >= 0:
        path[depth] = parents[node]
        sides[depth] = np.int64(children[parents[node], 1] == node)
        node = parents[node]
        depth += 1
    scores = np.zeros(hidden.shape[0], dtype=np.float32)
    for unit in range(hidden.shape[0]):
        if not rows[unit]:
            continue
        score = 0.0
        for step in range(depth - 1, -1, -1):
            value = 0.0
            for d in range(hidden.shape[1]):
                value += hidden[unit, d] * outputs[d, path[step] - labels]
            probability = 1.0 / (1.0 + math.exp(-value))
            score += math.log((probability if sides[step] else 1.0 - probability) + FLOOR)
            if score < LOG_FLOOR:
                break
        if score >= LOG_FLOOR:
            scores[unit] = math.exp(score)
    return scores
