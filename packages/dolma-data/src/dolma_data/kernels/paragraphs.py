# mypy: disable-error-code="no-untyped-def"
"""Paragraphs of a batch: lines with their newline, and what they hold."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import SPACE, WHITE_SPACE, WORD, read_character


@njit(cache=True)
def index_paragraphs(buffer, first, starts, ends, characters, lengths, classes):
    """Lines that a paragraph is made of: all but an empty one at the end of a text.

    Takes the line index of a batch; returns for each of P paragraphs its document, first and end byte (newline left
    out), first and end code point (newline included), and whether it is white space alone.
    """
    room = starts.shape[0]
    owners = np.empty(room, dtype=np.int64)
    places = np.empty((room, 4), dtype=np.int64)
    blank = np.empty(room, dtype=np.bool_)
    count = 0
    for document in range(first.shape[0] - 1):
        for line in range(first[document], first[document + 1]):
            last = line + 1 == first[document + 1]
            at, end = starts[line], ends[line]
            if last and at == end:
                continue
            is_blank = True
            while at < end and is_blank:
                point, size = read_character(buffer, at)
                is_blank = (classes[point] & SPACE) != 0
                at += size
            owners[count] = document
            places[count, 0] = starts[line]
            places[count, 1] = end
            places[count, 2] = characters[line]
            places[count, 3] = lengths[document] if last else characters[line + 1]
            blank[count] = is_blank
            count += 1
    return owners[:count], places[:count], blank[:count]


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
