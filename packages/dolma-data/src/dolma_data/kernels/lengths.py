# mypy: disable-error-code="no-untyped-def"
"""Lengths of stretches of text: tokens, and code points without white space at the ends."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import SPACE, WHITE_SPACE, WORD, read_character


@njit(cache=True)
def count_tokens(buffer, starts, ends, classes):
    r"""Matches of ``\w+|[^\w\s]+`` (as the package regex has them) in each stretch ``buffer[starts[k]:ends[k]]``."""
    counts = np.zeros(starts.shape[0], dtype=np.int64)
    for k in range(starts.shape[0]):
        at, end = starts[k], ends[k]
        before = 0  # kind of the character before: 0 space, 1 word, 2 other
        while at < end:
            point, size = read_character(buffer, at)
            kind = classes[point]
            at += size
            now = 1 if kind & WORD else (0 if kind & WHITE_SPACE else 2)
            counts[k] += now != 0 and now != before
            before = now
    return counts


@njit(cache=True)
def stripped_lengths(buffer, offsets, classes):
    """Code points of each text without white space at its ends, [D]."""
    lengths = np.zeros(offsets.shape[0] - 1, dtype=np.int64)
    for document in range(offsets.shape[0] - 1):
        at, end = offsets[document], offsets[document + 1]
        passed = 0
        begin = -1
        while at < end:
            point, size = read_character(buffer, at)
            if not classes[point] & SPACE:
                if begin < 0:
                    begin = passed
                lengths[document] = passed + 1 - begin
            passed += 1
            at += size
    return lengths
