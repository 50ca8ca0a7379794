# mypy: disable-error-code="no-untyped-def"
"""What a line looks like: the line rules of C4, lines worth a search for personal data, shapes of source code."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import (
    ALPHANUMERIC,
    BYTE_NEWLINE,
    DIGIT,
    LETTER,
    LINE_BREAK,
    SPACE,
    WHITE_SPACE,
    WORD,
    read_character,
)

NO_ENDING_PUNCTUATION = 1
TOO_FEW_WORDS = 2
ENOUGH_WORDS = 3

HAS_CURLY_BRACE = 1
HAS_JAVASCRIPT = 2
HAS_LOREM_IPSUM = 4
HAS_WORD_JAVASCRIPT = 8  # between white space
JAVASCRIPT = np.frombuffer(b"javascript", dtype=np.uint8)
LOREM_IPSUM = np.frombuffer(b"lorem ipsum", dtype=np.uint8)

MAY_HOLD_EMAIL = 1
MAY_HOLD_PHONE = 2
MAY_HOLD_ADDRESS = 4
PHONE_DIGITS = 10
ADDRESS_DOTS = 3


@njit(cache=True, inline="always")
def begins_with(buffer, at, end, phrase):
    """Whether ``phrase`` (lower case) stands at ``at``, letters of ASCII compared without case."""
    if at + phrase.shape[0] > end:
        return False
    for k in range(phrase.shape[0]):
        byte = buffer[at + k]
        if 0x41 <= byte <= 0x5A:
            byte |= 0x20
        if byte != phrase[k]:
            return False
    return True


@njit(cache=True)
def score_c4(buffer, offsets, classes, most):
    r"""The rules of C4 that need no word list.

    Returns ``flags`` [D] (``HAS_CURLY_BRACE``, …), ``line_counts`` [D], and for each line that breaks a rule its
    document, start and end (code points, newline included) and the rules it breaks; last the first document of more
    than ``most`` such lines, or -1; where there is one, nothing else counts.
    """
    documents = offsets.shape[0] - 1
    room = documents
    for at in range(buffer.shape[0]):
        room += buffer[at] == BYTE_NEWLINE
    flags = np.zeros(documents, dtype=np.uint8)
    line_counts = np.zeros(documents, dtype=np.int64)
    owners = np.empty(room, dtype=np.int64)
    starts = np.empty(room, dtype=np.int64)
    ends = np.empty(room, dtype=np.int64)
    broken = np.empty(room, dtype=np.uint8)
    count = 0
    for document in range(documents):
        at = offsets[document]
        end = offsets[document + 1]
        flag = 0
        passed = start = words = lines = 0
        in_word = False
        final = np.int64(0)  # last character of the line that is no space
        while at <= end:
            if at == end or buffer[at] == BYTE_NEWLINE:
                if at < end:
                    passed += 1
                rules = 0
                if not (final == 0x2E or final == 0x3F or final == 0x21 or final == 0x22):
                    rules |= NO_ENDING_PUNCTUATION
                if words < ENOUGH_WORDS:
                    rules |= TOO_FEW_WORDS
                if rules:
                    if count >= most and owners[count - most] == document:
                        return (
                            flags,
                            line_counts,
                            owners[:count],
                            starts[:count],
                            ends[:count],
                            broken[:count],
                            document,
                        )
                    owners[count], starts[count], ends[count], broken[count] = document, start, passed, rules
                    count += 1
                lines += 1
                start = passed
                words = 0
                in_word = False
                final = np.int64(0)
                at += 1
                continue
            byte = buffer[at]
            size = 1
            point = np.int64(byte)
            if byte >= 0x80:
                point, size = read_character(buffer, at)
            if classes[point] & SPACE:
                in_word = False
            else:
                begins = not in_word
                words += begins
                in_word = True
                final = point
                if byte == 0x7B:
                    flag |= HAS_CURLY_BRACE
                elif byte == 0x6A or byte == 0x4A:
                    if begins_with(buffer, at, end, JAVASCRIPT):
                        flag |= HAS_JAVASCRIPT
                        after = at + JAVASCRIPT.shape[0]
                        if begins and (after == end or classes[read_character(buffer, after)[0]] & SPACE):
                            flag |= HAS_WORD_JAVASCRIPT
                elif (byte == 0x6C or byte == 0x4C) and begins_with(buffer, at, end, LOREM_IPSUM):
                    flag |= HAS_LOREM_IPSUM
            passed += 1
            at += size
        flags[document] = flag
        line_counts[document] = lines
    return flags, line_counts, owners[:count], starts[:count], ends[:count], broken[:count], -1


@njit(cache=True)
def personal_data_candidates(buffer, offsets, classes):
    """Lines that may hold an e-mail address, telephone number or IPv4 address; all others cannot.

    Returns for each candidate its document, its bytes (start, end, newline left out), the code points of its document
    before it and what it may hold.
    """
    room = _walk_candidates(buffer, offsets, classes, np.empty((5, 0), dtype=np.int64))
    columns = np.empty((5, room), dtype=np.int64)
    if room:
        _walk_candidates(buffer, offsets, classes, columns)
    return columns[0], columns[1], columns[2], columns[3], columns[4]


@njit(cache=True)
def _walk_candidates(buffer, offsets, classes, columns):
    """Write the candidates into ``columns`` [5, P], or count them where P is 0."""
    count = 0
    for document in range(offsets.shape[0] - 1):
        at = begin = offsets[document]
        last = offsets[document + 1]
        digits = dots = signs = 0
        passed = before = 0  # code points of the document
        while at <= last:
            if at < last and buffer[at] != BYTE_NEWLINE:
                byte = buffer[at]
                passed += 1
                if byte < 0x80:
                    digits += 0x30 <= byte <= 0x39
                    dots += byte == 0x2E
                    signs += byte == 0x40
                    at += 1
                else:
                    point, size = read_character(buffer, at)
                    digits += (classes[point] & DIGIT) != 0
                    at += size
                continue
            kind = 0
            if signs:
                kind |= MAY_HOLD_EMAIL
            if digits >= PHONE_DIGITS:
                kind |= MAY_HOLD_PHONE
            if dots >= ADDRESS_DOTS and digits > ADDRESS_DOTS:
                kind |= MAY_HOLD_ADDRESS
            if kind:
                if columns.shape[1]:
                    columns[0, count], columns[1, count], columns[2, count] = document, begin, at
                    columns[3, count], columns[4, count] = before, kind
                count += 1
            at += 1
            passed += 1
            begin = at
            before = passed
            digits = dots = signs = 0
    return count


@njit(cache=True)
def score_code(buffer, offsets, classes):
    r"""Shapes of source code, [D, 6].

    Columns: lines (``str.splitlines``), code points of the longest and of all lines, letters or digits, letters, and
    tokens, the matches of ``\w+|[^\w\s]+``.
    """
    documents = offsets.shape[0] - 1
    counts = np.zeros((documents, 6), dtype=np.int64)
    for document in range(documents):
        at = offsets[document]
        end = offsets[document + 1]
        lines = longest = in_lines = length = alphanumeric = letters = tokens = 0
        before = 0  # kind of the character before: 0 space, 1 word, 2 other
        while at < end:
            point, size = read_character(buffer, at)
            kind = classes[point]
            at += size
            if kind & LINE_BREAK:
                if point == 0x0D and at < end and buffer[at] == BYTE_NEWLINE:
                    at += 1
                lines += 1
                longest = max(longest, length)
                length = 0
            else:
                length += 1
                in_lines += 1
            alphanumeric += (kind & ALPHANUMERIC) != 0
            letters += (kind & LETTER) != 0
            now = 1 if kind & WORD else (0 if kind & WHITE_SPACE else 2)
            tokens += now != 0 and now != before
            before = now
        if length:
            lines += 1
            longest = max(longest, length)
        counts[document, 0] = lines
        counts[document, 1] = longest
        counts[document, 2] = in_lines
        counts[document, 3] = alphanumeric
        counts[document, 4] = letters
        counts[document, 5] = tokens
    return counts
