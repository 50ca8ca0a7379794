# mypy: disable-error-code="no-untyped-def"
"""Trimming pieces of texts, and paragraphs as ranges of bytes and of code points."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import LINE_BREAK, SPACE, read_character


@njit(cache=True)
def trim(buffer, start, end, classes):
    """The range without white space at its ends, as ``str.strip`` has it."""
    while start < end:
        point, size = read_character(buffer, start)
        if not classes[point] & SPACE:
            break
        start += size
    while end > start:
        at = end - 1
        while (buffer[at] & 0xC0) == 0x80:
            at -= 1
        point, _ = read_character(buffer, at)
        if not classes[point] & SPACE:
            break
        end = at
    return start, end


@njit(cache=True)
def trim_all(buffer, starts, ends, classes):
    """:func:`trim` for each range; returns new starts and ends."""
    trimmed_starts = np.empty_like(starts)
    trimmed_ends = np.empty_like(ends)
    for k in range(starts.shape[0]):
        trimmed_starts[k], trimmed_ends[k] = trim(buffer, starts[k], ends[k], classes)
    return trimmed_starts, trimmed_ends


@njit(cache=True)
def index_paragraphs(buffer, lines, classes, blank, trimmed):
    r"""Pieces of text up to and including a newline; those of white space alone only where ``blank``.

    Returns for each of P paragraphs its document, the bytes of its text (start, end; ``trimmed`` or without its newline
    alone) and its code points within the document (start, end, the newline included).
    """
    first, starts, ends, characters = lines
    room = starts.shape[0]
    documents = np.empty(room, dtype=np.int64)
    byte_starts = np.empty(room, dtype=np.int64)
    byte_ends = np.empty(room, dtype=np.int64)
    char_starts = np.empty(room, dtype=np.int64)
    char_ends = np.empty(room, dtype=np.int64)
    count = 0
    for document in range(first.shape[0] - 1):
        for line in range(first[document], first[document + 1]):
            start, end = trim(buffer, starts[line], ends[line], classes)
            last = line + 1 == first[document + 1]
            if start == end and (not blank or (last and starts[line] == ends[line])):
                continue
            documents[count] = document
            byte_starts[count] = start if trimmed else starts[line]
            byte_ends[count] = end if trimmed else ends[line]
            char_starts[count] = characters[line]
            if not last:
                char_ends[count] = characters[line + 1]
            else:
                behind = characters[line]
                for at in range(starts[line], ends[line]):
                    behind += (buffer[at] & 0xC0) != 0x80
                char_ends[count] = behind
            count += 1
    return documents[:count], byte_starts[:count], byte_ends[:count], char_starts[:count], char_ends[:count]


@njit(cache=True)
def index_broken_lines(buffer, offsets, classes):
    """Lines as ``str.splitlines`` finds them, trimmed, blank ones left out.

    Returns for each of P lines its document, its bytes (start, end) and its length in code points.
    """
    room = 1
    for at in range(buffer.shape[0]):
        room += buffer[at] < 0x20 or buffer[at] >= 0x80
    room += offsets.shape[0]
    documents = np.empty(room, dtype=np.int64)
    byte_starts = np.empty(room, dtype=np.int64)
    byte_ends = np.empty(room, dtype=np.int64)
    lengths = np.empty(room, dtype=np.int64)
    count = 0
    for document in range(offsets.shape[0] - 1):
        at = offsets[document]
        last = offsets[document + 1]
        first = at
        while at <= last:
            size = 1
            broken = at == last
            if not broken:
                point, size = read_character(buffer, at)
                broken = (classes[point] & LINE_BREAK) != 0
            if broken:
                start, end = trim(buffer, first, at, classes)
                if start < end:
                    documents[count] = document
                    byte_starts[count] = start
                    byte_ends[count] = end
                    length = 0
                    for k in range(start, end):
                        length += (buffer[k] & 0xC0) != 0x80
                    lengths[count] = length
                    count += 1
                first = at + size
            at += size
    return documents[:count], byte_starts[:count], byte_ends[:count], lengths[:count]


@njit(cache=True)
def blank_characters(buffer, blank):
    """A copy of the buffer with a space for each byte of the characters that ``blank`` [0x110000] marks."""
    output = buffer.copy()
    at = 0
    while at < buffer.shape[0]:
        point, size = read_character(buffer, at)
        if blank[point]:
            for k in range(size):
                output[at + k] = 0x20
        at += size
    return output


@njit(cache=True)
def characters_before(buffer, offsets, documents, places):
    """Code points of its document before each byte of ``places``, which rise within a document."""
    characters = np.empty_like(places)
    at = np.int64(0)
    passed = np.int64(0)
    current = np.int64(-1)
    for k in range(places.shape[0]):
        if documents[k] != current:
            current = documents[k]
            at = offsets[current]
            passed = np.int64(0)
        while at < places[k]:
            passed += (buffer[at] & 0xC0) != 0x80
            at += 1
        characters[k] = passed
    return characters


@njit(cache=True)
def without_ascii_letters(buffer, starts, ends):
    """Which ranges hold no letter and no digit of ASCII: their numbers, in order."""
    found = np.empty(starts.shape[0], dtype=np.int64)
    count = 0
    for k in range(starts.shape[0]):
        plain = True
        for at in range(starts[k], ends[k]):
            byte = buffer[at]
            if 0x30 <= byte <= 0x39 or 0x41 <= (byte & 0xDF) <= 0x5A:
                plain = False
                break
        if plain:
            found[count] = k
            count += 1
    return found[:count]
