# mypy: disable-error-code="no-untyped-def"
"""Longest previous factors of a text from its suffix array, and the spans that repeat, in compiled loops."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import SPACE, read_character

BYTES, CHARACTERS, WORDS = 0, 1, 2


@njit(cache=True, nogil=True)
def longest_previous_factors(text, suffixes):
    """For every position the length of the longest factor that begins there and also at an earlier position, and
    that position.

    Common prefixes of neighbours by the Φ algorithm (Kärkkäinen, Manzini and Puglisi 2009); factors by taking
    positions out of the list of suffixes from the last one down (Crochemore and Ilie 2008). Both arrays are of the type
    of ``suffixes``.
    """
    size = text.shape[0]
    before = np.empty(size, dtype=suffixes.dtype)  # the suffix before each in the order of the array, -1: none
    after = np.empty(size, dtype=suffixes.dtype)
    common = np.zeros(size, dtype=suffixes.dtype)  # prefix that a suffix shares with the one before it
    if size == 0:
        return common, before
    before[suffixes[0]] = -1
    for k in range(1, size):
        before[suffixes[k]] = suffixes[k - 1]
        after[suffixes[k - 1]] = suffixes[k]
    after[suffixes[size - 1]] = -1
    shared = 0
    for at in range(size):
        other = before[at]
        if other < 0:
            shared = 0
            continue
        while at + shared < size and other + shared < size and text[at + shared] == text[other + shared]:
            shared += 1
        common[at] = shared
        if shared > 0:
            shared -= 1
    for at in range(size - 1, -1, -1):
        up = before[at]
        down = after[at]
        with_up = common[at]
        with_down = common[down] if down >= 0 else 0
        if down >= 0:
            before[down] = up
            common[down] = min(with_up, with_down)
        if up >= 0:
            after[up] = down
        # from here on the slot of ``at`` holds the result
        if with_up >= with_down:
            common[at], before[at] = with_up, up
        else:
            common[at], before[at] = with_down, down
    return common, before


@njit(cache=True, nogil=True)
def repeated_spans(text, lengths, sources, document_starts, document_ends, least, unit, classes):
    """Maximal stretches of each document covered by substrings of at least ``least`` units with an earlier copy.

    Returns the document, begin and end (bytes of ``text``) of each and the position of the first copy of its first
    substring. Words count where both their ends are inside.
    """
    room = 1024
    owners = np.empty(room, dtype=np.int64)
    begins = np.empty(room, dtype=np.int64)
    ends = np.empty(room, dtype=np.int64)
    firsts = np.empty(room, dtype=np.int64)
    count = 0
    for document in range(document_starts.shape[0]):
        at = document_starts[document]
        stop = document_ends[document]
        open_end = -1  # end of the stretch that is open
        while at < stop:
            size = 1
            if text[at] >= 0x80:
                _, size = read_character(text, at)
            end = min(at + lengths[at], stop)
            while end > at and end < stop and (text[end] & 0xC0) == 0x80:
                end -= 1
            # a factor that ends where the last one did is a part of it
            if (
                end > open_end
                and end - at >= least
                and holds(text, at, end, stop, document_starts[document], least, unit, classes)
            ):
                if open_end >= at:
                    ends[count - 1] = end
                else:
                    if count == room:
                        owners, begins, ends, firsts = double(owners), double(begins), double(ends), double(firsts)
                        room *= 2
                    first = sources[at]
                    while lengths[first] >= end - at:
                        first = sources[first]
                    owners[count], begins[count], ends[count], firsts[count] = document, at, end, first
                    count += 1
                open_end = end
            at += size
    return owners[:count].copy(), begins[:count].copy(), ends[:count].copy(), firsts[:count].copy()


@njit(cache=True)
def double(array):
    """The array with twice the room."""
    larger = np.empty(2 * array.shape[0], dtype=array.dtype)
    larger[: array.shape[0]] = array
    return larger


@njit(cache=True)
def holds(text, begin, end, document_end, document_start, least, unit, classes):
    """Whether ``text[begin:end]`` has ``least`` units."""
    if unit == BYTES:
        return end - begin >= least
    count = 0
    at = begin
    inside = begin > document_start and not classes[previous_point(text, begin)] & SPACE  # in a word that began before
    whole = not inside
    in_word = inside
    while at < end:
        point, size = read_character(text, at)
        if unit == CHARACTERS:
            count += 1
            if count >= least:
                return True
        elif classes[point] & SPACE:
            if in_word and whole:
                count += 1
                if count >= least:
                    return True
            in_word = False
            whole = True
        else:
            in_word = True
        at += size
    if unit == WORDS and in_word and whole:
        if end >= document_end:
            count += 1
        else:
            point, _ = read_character(text, end)
            count += (classes[point] & SPACE) != 0
    return count >= least


@njit(cache=True)
def previous_point(text, at):
    """The code point that ends before byte ``at``."""
    at -= 1
    while (text[at] & 0xC0) == 0x80:
        at -= 1
    point, _ = read_character(text, at)
    return point
