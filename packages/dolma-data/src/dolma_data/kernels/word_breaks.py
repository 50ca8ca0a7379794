# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: SIM109 - compiled code compares faster than it looks into a tuple
"""Words of Unicode Standard Annex 29 (text segmentation), rules WB1 to WB999 of its section 4.1."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]
from numba import njit

from .characters import INTERESTING, SPACE, read_character

(
    OTHER, CR, LF, NEWLINE, EXTEND, ZWJ, FORMAT, KATAKANA, HEBREW, LETTER, SINGLE_QUOTE, DOUBLE_QUOTE, MID_NUM_LET,
    MID_LETTER, MID_NUM, NUMERIC, EXTEND_NUM_LET, REGIONAL, W_SEG_SPACE,
) = range(19)  # fmt: skip
PICTOGRAPHIC = 32  # a flag beside the property
NAMES = (
    "Other", "CR", "LF", "Newline", "Extend", "ZWJ", "Format", "Katakana", "Hebrew_Letter", "ALetter", "Single_Quote",
    "Double_Quote", "MidNumLet", "MidLetter", "MidNum", "Numeric", "ExtendNumLet", "Regional_Indicator", "WSegSpace",
)  # fmt: skip


@cache
def word_break_properties() -> Any:
    """The property Word_Break of every code point, with the flag ``PICTOGRAPHIC``, [0x110000] of uint8."""
    properties = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    characters = "".join(chr(point) for first, after in INTERESTING for point in range(first, after))
    for value, name in enumerate(NAMES):
        if value != OTHER:
            properties[[ord(each) for each in regex.findall(rf"\p{{WB={name}}}", characters)]] = value
    properties[[ord(each) for each in regex.findall(r"\p{Extended_Pictographic}", characters)]] |= PICTOGRAPHIC
    return properties


@njit(cache=True)
def following(buffer, at, end, properties):
    """The property of the next character that counts (WB4) from ``at`` on, OTHER at the end."""
    while at < end:
        point, size = read_character(buffer, at)
        kind = properties[point] & 31
        if kind != EXTEND and kind != FORMAT and kind != ZWJ:
            return kind
        at += size
    return OTHER


@njit(cache=True, inline="always")
def _is_letter(kind):
    return kind == LETTER or kind == HEBREW


@njit(cache=True, inline="always")
def _joins_letters(kind):
    return kind == MID_LETTER or kind == MID_NUM_LET or kind == SINGLE_QUOTE


@njit(cache=True, inline="always")
def _joins_numbers(kind):
    return kind == MID_NUM or kind == MID_NUM_LET or kind == SINGLE_QUOTE


@njit(cache=True)
def stays_together(earlier, before, kind, buffer, after, end, properties):
    """WB5 to WB13b: whether there is no break between ``before`` and ``kind``; ``earlier`` stands before them."""
    if _is_letter(before):
        if _is_letter(kind) or kind == NUMERIC or kind == EXTEND_NUM_LET:
            return True  # WB5, WB9, WB13a
        if _joins_letters(kind) and _is_letter(following(buffer, after, end, properties)):
            return True  # WB6
        if before == HEBREW:
            if kind == SINGLE_QUOTE:
                return True  # WB7a
            if kind == DOUBLE_QUOTE and following(buffer, after, end, properties) == HEBREW:
                return True  # WB7b
        return False
    if before == NUMERIC:
        if kind == NUMERIC or _is_letter(kind) or kind == EXTEND_NUM_LET:
            return True  # WB8, WB10, WB13a
        return _joins_numbers(kind) and following(buffer, after, end, properties) == NUMERIC  # WB12
    if before == KATAKANA:
        return kind == KATAKANA or kind == EXTEND_NUM_LET  # WB13, WB13a
    if before == EXTEND_NUM_LET:
        return kind == EXTEND_NUM_LET or _is_letter(kind) or kind == NUMERIC or kind == KATAKANA  # WB13a, WB13b
    if _is_letter(kind):
        if _is_letter(earlier) and _joins_letters(before):
            return True  # WB7
        return kind == HEBREW and before == DOUBLE_QUOTE and earlier == HEBREW  # WB7c
    return kind == NUMERIC and earlier == NUMERIC and _joins_numbers(before)  # WB11


@njit(cache=True)
def count_words(buffer, starts, ends, properties, classes):
    """Words of the stretches ``buffer[starts[k]:ends[k]]``, stripped: all, and those that are not white space, [K, 2].

    ``properties`` are :func:`word_break_properties`, ``classes`` those of ``characters.character_classes``.
    """
    counts = np.zeros((starts.shape[0], 2), dtype=np.int64)
    for k in range(starts.shape[0]):
        at, end = starts[k], ends[k]
        while at < end:
            point, size = read_character(buffer, at)
            if not classes[point] & SPACE:
                break
            at += size
        words = visible_words = 0
        visible = False
        raw = -1  # property of the character before
        before = OTHER  # the same, of the last one that counts
        earlier = OTHER
        flags = 0  # regional indicators in a row
        pending = 0  # words since the last one that is visible: white space at the end is stripped
        while at < end:
            point, size = read_character(buffer, at)
            value = properties[point]
            kind = value & 31
            at += size
            ends_line = kind == CR or kind == LF or kind == NEWLINE
            after_line = raw == CR or raw == LF or raw == NEWLINE
            ignored = kind == EXTEND or kind == FORMAT or kind == ZWJ
            if raw == -1:
                together = False
            elif raw == CR and kind == LF:
                together = True  # WB3
            elif ends_line or after_line:
                together = False  # WB3a, WB3b
            elif ignored or (raw == ZWJ and value & PICTOGRAPHIC) or (raw == W_SEG_SPACE and kind == W_SEG_SPACE):
                together = True  # WB4, WB3c, WB3d
            elif kind == REGIONAL and before == REGIONAL:
                together = flags % 2 == 1  # WB15, WB16
            else:
                together = stays_together(earlier, before, kind, buffer, at, end, properties)
            if not together:
                if visible:
                    visible_words += 1
                pending += 1
                visible = False
            if not classes[point] & SPACE:
                visible = True
                words += pending
                pending = 0
            if not ignored or raw == -1 or after_line:
                earlier = before
                before = kind
                flags = flags + 1 if kind == REGIONAL else 0
            raw = kind
        if visible:
            visible_words += 1
        counts[k, 0] = words
        counts[k, 1] = visible_words
    return counts
