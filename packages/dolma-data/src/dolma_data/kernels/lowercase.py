# mypy: disable-error-code="no-untyped-def"
"""``str.lower()`` on UTF-8 in compiled loops, the final sigma of Greek included."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from .characters import read_character

CAPITAL_I_WITH_DOT = 0x130  # the only character whose lower case is two: i and U+0307
CAPITAL_SIGMA = 0x3A3
SMALL_SIGMA = 0x3C3
FINAL_SIGMA = 0x3C2
COMBINING_DOT = 0x307
CASED = 1
CASE_IGNORABLE = 2
LAST_CASED = 0x1FFFF
TAGS_AND_SELECTORS = range(0xE0000, 0xE0200)  # the ignorable characters beyond the others
GROWTH = 2  # bytes of a lower-cased text are less than this times those of the text


@cache
def lowercase_tables() -> Any:
    """Lower case of each code point, [0x20000] of int32, and flags CASED and CASE_IGNORABLE, [0x110000] of uint8.

    Both by the Unicode version of this Python: the flags are read off the way it lower-cases sigma (Unicode Standard,
    table 3-17, Final_Sigma).
    """
    points = [point for point in range(LAST_CASED + 1) if not 0xD800 <= point <= 0xDFFF]
    lower = np.arange(LAST_CASED + 1, dtype=np.int32)
    kinds = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    for point in points:
        character = chr(point)
        small = character.lower()
        if len(small) == 1:
            lower[point] = ord(small)
    for point in [*points, *TAGS_AND_SELECTORS]:
        if (chr(point) + "Σ").lower()[-1] == "ς":
            kinds[point] = CASED
        elif ("A" + chr(point) + "Σ").lower()[-1] == "ς":
            kinds[point] = CASE_IGNORABLE
    return lower, kinds


@njit(cache=True)
def _is_final(buffer, start, at, end, kinds):
    """Whether the sigma at byte ``at`` (two bytes long) ends a cased word of ``buffer[start:end]``."""
    before = at
    cased = False
    while before > start:
        before -= 1
        while (buffer[before] & 0xC0) == 0x80:
            before -= 1
        point, _ = read_character(buffer, before)
        if kinds[point] != CASE_IGNORABLE:
            cased = kinds[point] == CASED
            break
    if not cased:
        return False
    after = at + 2
    while after < end:
        point, size = read_character(buffer, after)
        if kinds[point] != CASE_IGNORABLE:
            return kinds[point] != CASED
        after += size
    return True


@njit(cache=True)
def _write_character(output, at, point):
    if point < 0x80:
        output[at] = point
        return at + 1
    if point < 0x800:
        output[at] = 0xC0 | (point >> 6)
        output[at + 1] = 0x80 | (point & 0x3F)
        return at + 2
    if point < 0x10000:
        output[at] = 0xE0 | (point >> 12)
        output[at + 1] = 0x80 | ((point >> 6) & 0x3F)
        output[at + 2] = 0x80 | (point & 0x3F)
        return at + 3
    output[at] = 0xF0 | (point >> 18)
    output[at + 1] = 0x80 | ((point >> 12) & 0x3F)
    output[at + 2] = 0x80 | ((point >> 6) & 0x3F)
    output[at + 3] = 0x80 | (point & 0x3F)
    return at + 4


@njit(cache=True)
def lowercase(buffer, start, end, lower, kinds, output, to):
    """Write the lower case of ``buffer[start:end]`` to ``output`` from byte ``to`` on; returns the byte behind it."""
    at = start
    while at < end:
        byte = buffer[at]
        if byte < 0x80:
            if 0x41 <= byte <= 0x5A:
                byte += 0x20
            output[to] = byte
            to += 1
            at += 1
            continue
        point, size = read_character(buffer, at)
        if point == CAPITAL_I_WITH_DOT:
            output[to] = 0x69
            to = _write_character(output, to + 1, COMBINING_DOT)
        elif point == CAPITAL_SIGMA:
            final = _is_final(buffer, start, at, end, kinds)
            to = _write_character(output, to, FINAL_SIGMA if final else SMALL_SIGMA)
        else:
            to = _write_character(output, to, np.int64(lower[point]) if point <= LAST_CASED else point)
        at += size
    return to
