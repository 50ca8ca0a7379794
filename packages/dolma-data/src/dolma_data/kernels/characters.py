# mypy: disable-error-code="no-untyped-def"
"""What kind of character a code point is, and reading code points from UTF-8 in compiled loops."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]
from numba import njit

LETTER = 1  # str.isalpha
ALPHANUMERIC = 2  # str.isalnum
DIGIT = 4  # str.isdecimal: what \d matches
SPACE = 8  # str.isspace: where str.split splits
WORD = 16  # \w of Unicode Technical Standard 18, marks included
LINE_BREAK = 32  # where str.splitlines splits
WHITE_SPACE = 64  # \s of Unicode Technical Standard 18: SPACE without the separators U+001C to U+001F

BYTE_NEWLINE = 0x0A
# Beyond these no character is assigned to any of the kinds: surrogates, unassigned planes, private use.
INTERESTING = ((0, 0xD800), (0xE000, 0x40000), (0xE0000, 0xE1000))


@cache
def character_classes() -> Any:
    """Bit flags of every code point, shape [0x110000] of uint8, by the Unicode version of this Python.

    A table that is passed to the kernels, and no constant in them, so that compiled code in the cache never outlives
    the Unicode version.
    """
    classes = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    points = np.concatenate([np.arange(*stretch, dtype=np.uint32) for stretch in INTERESTING])
    characters = points.view("U1")
    for flag, belongs in (
        (LETTER, np.char.isalpha),
        (ALPHANUMERIC, np.char.isalnum),
        (DIGIT, np.char.isdecimal),
        (SPACE, np.char.isspace),
    ):
        classes[points[belongs(characters)]] |= flag
    everything = points.tobytes().decode("utf-32-le")
    for flag, pattern in ((WORD, r"\w+"), (WHITE_SPACE, r"\s+")):
        found = "".join(regex.findall(pattern, everything))
        classes[np.frombuffer(found.encode("utf-32-le"), dtype=np.uint32)] |= flag
    classes[[ord(character) for character in "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"]] |= LINE_BREAK
    return classes


@njit(cache=True, inline="always")
def read_character(buffer, at):
    """Return ``(code point, bytes)`` of the character that begins at byte ``at`` of valid UTF-8."""
    first = np.int64(buffer[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (np.int64(buffer[at + 1]) & 0x3F), 2
    if first < 0xF0:
        middle = (np.int64(buffer[at + 1]) & 0x3F) << 6
        return ((first & 0x0F) << 12) | middle | (np.int64(buffer[at + 2]) & 0x3F), 3
    upper = ((np.int64(buffer[at + 1]) & 0x3F) << 12) | ((np.int64(buffer[at + 2]) & 0x3F) << 6)
    return ((first & 0x07) << 18) | upper | (np.int64(buffer[at + 3]) & 0x3F), 4
