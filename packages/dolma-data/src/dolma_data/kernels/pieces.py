# mypy: disable-error-code="no-untyped-def"
"""Trimming pieces of texts, and paragraphs as ranges of bytes and of code points."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import BYTE_NEWLINE, LINE_BREAK, SPACE, read_character


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
def index_paragraphs(buffer, offsets, classes, blank, trimmed, most):
    r"""Pieces of text up to and including a newline; those of white space alone only where ``blank``.

    Returns for each of P paragraphs its document, the bytes of its text (start, end; ``trimmed`` or without its newline
    alone) and its code points within the document (start, end, the newline included); and the first document of more
    than ``most`` paragraphs, or -1: then the columns are empty.
    """
    room, over = _walk_paragraphs(buffer, offsets, classes, blank, trimmed, most, np.empty((5, 0), dtype=np.int64))
    columns = np.empty((5, 0 if over >= 0 else room), dtype=np.int64)
    if over < 0:
        _walk_paragraphs(buffer, offsets, classes, blank, trimmed, most, columns)
    return columns[0], columns[1], columns[2], columns[3], columns[4], over


@njit(cache=True)
def _walk_paragraphs(buffer, offsets, classes, blank, trimmed, most, columns):
    """Write the paragraphs into ``columns`` [5, P], or count them where P is 0; their number and who has too many."""
    count = 0
    for document in range(offsets.shape[0] - 1):
        begin = offsets[document]
        last = offsets[document + 1]
        before = count
        passed = characters = 0
        for at in range(begin, last + 1):
            ended = at == last
            if not ended:
                passed += (buffer[at] & 0xC0) != 0x80
                ended = buffer[at] == BYTE_NEWLINE
            if not ended:
                continue
            start, end = trim(buffer, begin, at, classes)
            if start < end or (blank and (at < last or begin < at)):
                if columns.shape[1]:
                    columns[0, count] = document
                    columns[1, count] = start if trimmed else begin
                    columns[2, count] = end if trimmed else at
                    columns[3, count] = characters
                    columns[4, count] = passed
                count += 1
            begin = at + 1
            characters = passed
        if count - before > most:
            return count, document
    return count, -1


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


@njit(cache=True)
def bytes_before(buffer, start, end, characters):
    """Bytes of the buffer at which the rising code points ``characters`` of the text ``buffer[start:end]`` begin."""
    places = np.empty(characters.shape[0], dtype=np.int64)
    at, passed = start, -1
    for k in range(characters.shape[0]):
        while at < end:
            passed += (buffer[at] & 0xC0) != 0x80
            if passed == characters[k]:
                passed -= 1
                break
            at += 1
        places[k] = at
    return places
