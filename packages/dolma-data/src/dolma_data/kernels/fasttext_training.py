# mypy: disable-error-code="no-untyped-def"
"""Training of fastText classifiers: gradient descent on one thread (Joulin et al. 2016, arXiv 1607.01759)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .fasttext import (
    FNV_OFFSET,
    FNV_PRIME,
    LEFT_ANGLE,
    NGRAM_FACTOR,
    RIGHT_ANGLE,
    hash_token,
)


@njit(cache=True)
def hash_tokens(tokens, offsets):
    """The library's hash of each token, [T] of int32."""
    hashes = np.empty(offsets.shape[0] - 1, dtype=np.int32)
    for number in range(hashes.shape[0]):
        hashes[number] = np.int32(hash_token(tokens, offsets[number], offsets[number + 1]))
    return hashes


@njit(cache=True)
def _list_subwords(scratch, end, buckets, shortest, longest, rows):
    """Buckets of the character n-grams of ``scratch[:end]``; counts them, and lists them where ``rows`` has room."""
    count = 0
    for first in range(end):
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
            if characters >= shortest and not (characters == 1 and (first == 0 or at == end)):
                if count < rows.shape[0]:
                    rows[count] = np.int64(value) % buckets
                count += 1
            characters += 1
    return count


@njit(cache=True)
def index_features(tokens, offsets, word_rows, word_count, end_of_line, buckets, shortest, longest):
    """Rows of each token: its own (``word_rows`` [T], -1 for none) and those of its characters.

    Returns ``first`` [T + 1] and the rows, token t's at ``first[t]:first[t + 1]``. The token ``end_of_line`` has no
    characters.
    """
    count = offsets.shape[0] - 1
    first = np.zeros(count + 1, dtype=np.int64)
    widest = 0
    for token in range(count):
        widest = max(widest, offsets[token + 1] - offsets[token])
    scratch = np.empty(widest + 2, dtype=np.uint8)
    nothing = np.empty(0, dtype=np.int32)
    rows = nothing
    for listing in range(2):
        for token in range(count):
            size = offsets[token + 1] - offsets[token]
            scratch[0] = LEFT_ANGLE
            for k in range(size):
                scratch[1 + k] = tokens[offsets[token] + k]
            scratch[1 + size] = RIGHT_ANGLE
            own = np.int64(word_rows[token] >= 0)
            has_characters = longest > 0 and token != end_of_line
            if listing == 0:
                found = _list_subwords(scratch, size + 2, buckets, shortest, longest, nothing) if has_characters else 0
                first[token + 1] = first[token] + own + found
                continue
            at = first[token]
            if own:
                rows[at] = word_rows[token]
            if has_characters:
                place = rows[at + own : first[token + 1]]
                _list_subwords(scratch, size + 2, buckets, shortest, longest, place)
                place += np.int32(word_count)
        if listing == 0:
            rows = np.empty(first[count], dtype=np.int32)
    return first, rows


@njit(cache=True)
def _collect(example, sequences, features, hashes, word_ngrams, word_count, buckets, rows):
    """Rows of an example, those of word n-grams included; returns how many there are."""
    starts, tokens = sequences
    first, listed = features
    count = 0
    begin = starts[example]
    end = starts[example + 1]
    for at in range(begin, end):
        token = tokens[at]
        for k in range(first[token], first[token + 1]):
            rows[count] = listed[k]
            count += 1
    if word_ngrams > 1:
        for at in range(begin, end):
            value = np.uint64(np.int64(hashes[tokens[at]]))
            for behind in range(at + 1, min(at + word_ngrams, end)):
                value = value * NGRAM_FACTOR + np.uint64(np.int64(hashes[tokens[behind]]))
                rows[count] = word_count + np.int64(value % np.uint64(buckets))
                count += 1
    return count


@njit(cache=True)
def train(sequences, features, hashes, targets, orders, weights, shape, rate, independent):
    """Fit ``weights`` = (inputs [R, D], outputs [L, D]) in place; returns the mean loss of the last pass.

    ``sequences`` = (starts [E + 1], tokens), ``features`` as :func:`index_features` gives them, ``targets`` [E],
    ``orders`` [passes, E] which example comes when, ``shape`` = (word n-grams, words, buckets). The learning rate
    falls from ``rate`` to 0 with the tokens that were read. ``independent``: one logistic loss for each label.
    """
    inputs, outputs = weights
    word_ngrams, word_count, buckets = shape
    starts, tokens = sequences
    first, _ = features
    labels, dimension = outputs.shape
    passes, examples = orders.shape
    widest = np.int64(0)
    for example in range(examples):
        size = (starts[example + 1] - starts[example]) * max(word_ngrams - 1, 0)
        for at in range(starts[example], starts[example + 1]):
            size += first[tokens[at] + 1] - first[tokens[at]]
        widest = max(widest, size)
    rows = np.empty(widest, dtype=np.int64)
    hidden = np.empty(dimension, dtype=np.float32)
    gradient = np.empty(dimension, dtype=np.float32)
    values = np.empty(labels, dtype=np.float64)
    total = np.float64(passes) * max(tokens.shape[0], 1)
    read = 0
    loss = 0.0
    for turn in range(passes):
        loss = 0.0
        for position in range(examples):
            example = orders[turn, position]
            speed = rate * (1.0 - read / total)
            read += starts[example + 1] - starts[example]
            count = _collect(example, sequences, features, hashes, word_ngrams, word_count, buckets, rows)
            if count == 0:
                continue
            hidden[:] = 0
            for k in range(count):
                row = rows[k]
                for d in range(dimension):
                    hidden[d] += inputs[row, d]
            share = np.float32(1.0 / count)
            for d in range(dimension):
                hidden[d] *= share
            for label in range(labels):
                value = 0.0
                for d in range(dimension):
                    value += np.float64(outputs[label, d]) * hidden[d]
                values[label] = value
            target = targets[example]
            if independent:
                for label in range(labels):
                    values[label] = 1.0 / (1.0 + math.exp(-values[label]))
                    chance = values[label] if label == target else 1.0 - values[label]
                    loss -= math.log(max(chance, 1e-12))
            else:
                top = values.max()
                norm = 0.0
                for label in range(labels):
                    values[label] = math.exp(values[label] - top)
                    norm += values[label]
                for label in range(labels):
                    values[label] /= norm
                loss -= math.log(max(values[target], 1e-12))
            gradient[:] = 0
            for label in range(labels):
                step = np.float32(speed * ((1.0 if label == target else 0.0) - values[label]))
                for d in range(dimension):
                    gradient[d] += step * outputs[label, d]
                    outputs[label, d] += step * hidden[d]
            for d in range(dimension):
                gradient[d] *= share
            for k in range(count):
                row = rows[k]
                for d in range(dimension):
                    inputs[row, d] += gradient[d]
    return loss / max(examples, 1)


@njit(cache=True)
def mark_rows(sequences, features, hashes, word_ngrams, word_count, buckets, seen):
    """Set ``seen`` [R] for every row that some example reads."""
    starts, tokens = sequences
    first, listed = features
    for token in range(first.shape[0] - 1):
        for k in range(first[token], first[token + 1]):
            seen[listed[k]] = True
    if word_ngrams > 1:
        for example in range(starts.shape[0] - 1):
            end = starts[example + 1]
            for at in range(starts[example], end):
                value = np.uint64(np.int64(hashes[tokens[at]]))
                for behind in range(at + 1, min(at + word_ngrams, end)):
                    value = value * NGRAM_FACTOR + np.uint64(np.int64(hashes[tokens[behind]]))
                    seen[word_count + np.int64(value % np.uint64(buckets))] = True
