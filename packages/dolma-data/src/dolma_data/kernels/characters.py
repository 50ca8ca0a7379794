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

BYTE_NEWLINE = 0x0A
# Beyond this no character is assigned to any of the kinds: unassigned planes, tags, private use.
LAST_INTERESTING = 0x3FFFF


@cache
def character_classes() -> Any:
    """Bit flags of every code point, shape [0x110000] of uint8, by the Unicode version of this Python.

    A table that is passed to the kernels, and no constant in them, so that compiled code in the cache never outlives
    the Unicode version.
    """
    classes = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    points = np.arange(LAST_INTERESTING + 1, dtype=np.uint32)
    points = points[(points < 0xD800) | (points > 0xDFFF)]  # surrogates cannot occur in UTF-8
    characters = points.view("U1")
    for flag, belongs in (
        (LETTER, np.char.isalpha),
        (ALPHANUMERIC, np.char.isalnum),
        (DIGIT, np.char.isdecimal),
        (SPACE, np.char.isspace),
    ):
        classes[points[belongs(characters)]] |= flag
    words = "".join(regex.findall(r"\w+", points.tobytes().decode("utf-32-le")))
    classes[np.frombuffer(words.encode("utf-32-le"), dtype=np.uint32)] |= WORD
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
