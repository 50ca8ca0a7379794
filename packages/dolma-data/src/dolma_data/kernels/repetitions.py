# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: SIM110 - compiled code has no generators
r"""Consecutive repetitions: of characters, the matches of ``(.+?)(\s?\1){3,}``; of tokens, periods.

The pattern is read as Python's ``re`` reads it: the leftmost place, there the shortest unit without a newline, then as
many repetitions as follow, at each rather with a character of white space before it than without. It is looked for in
the bytes of the text, where it lies: of two units that begin at one place, that of fewer characters has fewer bytes,
and bytes that begin with a character's first are equal to no others. Lengths and places are in bytes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import BYTE_NEWLINE, SPACE, read_character

WIDEST_SPACE = 3  # bytes of a character of white space
SHORT_UNIT = 8  # units below this length are tried one by one, longer ones where their first 8 bytes come again
FAR_UNIT = 2048  # units below this length are looked for near by, longer ones where FAR_BYTES come again
FAR_BYTES = 1024
ANCHORS = 16
NEAR_BLOCK = 1 << 20  # places whose next ones are found together
MOST_SLOTS = 1 << 16
HASH_FACTOR = np.uint64(0x100000001B3)
LEAST_MORE = 3  # repetitions beside the first
LEAST_TIMES = 3  # of a period of tokens


@njit(cache=True, inline="always")
def begins_character(text, at):
    """Whether a character begins at ``at``, or the text ends there."""
    return at >= text.shape[0] or (text[at] & 0xC0) != 0x80


@njit(cache=True, inline="always")
def same(text, left, right, length):
    """Whether ``length`` bytes from ``left`` on come again at ``right``, within the text."""
    if right + length > text.shape[0]:
        return False
    for k in range(length):
        if text[left + k] != text[right + k]:
            return False
    return True


@njit(cache=True, inline="always")
def space_at(text, at, classes):
    """Bytes of the white space at ``at``, 0 where there is none."""
    if at >= text.shape[0]:
        return 0
    if 0x20 < text[at] < 0xC2 or text[at] > 0xE3:  # as most characters begin and no white space
        return 0
    point, size = read_character(text, at)
    return size if classes[point] & SPACE else 0


@njit(cache=True)
def once_more(text, unit, length, at, spaced, classes):
    """End of one repetition at ``at``, with white space before it or without; -1 where there is none."""
    if spaced:
        size = space_at(text, at, classes)
        if size == 0:
            return -1
        at += size
    return at + length if same(text, unit, at, length) else -1


@njit(cache=True)
def repetition_end(text, unit, length, classes):
    """End of a repetition with its first unit at ``unit``, -1 where there is none."""
    end = -1
    if not may_repeat(text, unit, length, classes):
        return -1
    for ways in range(1 << LEAST_MORE):  # in the order in which the pattern tries them
        end = unit + length
        for k in range(LEAST_MORE):
            spaced = not (ways >> (LEAST_MORE - 1 - k)) & 1
            end = once_more(text, unit, length, end, spaced, classes)
            if end < 0:
                break
        if end >= 0:
            break
    while end >= 0:
        after = once_more(text, unit, length, end, True, classes)
        if after < 0:
            after = once_more(text, unit, length, end, False, classes)
        if after < 0:
            return end
        end = after
    return end


@njit(cache=True, inline="always")
def may_repeat(text, unit, length, classes):
    """Whether the unit comes again behind itself, at once or after white space."""
    at = unit + length
    if at < text.shape[0] and text[at] == text[unit]:
        return True
    size = space_at(text, at, classes)
    return size > 0 and at + size < text.shape[0] and text[at + size] == text[unit]


@njit(cache=True)
def next_places(text, begin, following):
    """For each place from ``begin`` on the next one whose 8 bytes have the same hash, or the length of the text.

    Those that lie no further than ``following`` [places] reaches.
    """
    count = text.shape[0]
    size = 16
    while size < min(following.shape[0], MOST_SLOTS):
        size *= 2
    last = np.full(size, count, dtype=np.int32)
    following[:] = count
    for at in range(min(begin + following.shape[0], count - SHORT_UNIT + 1) - 1, begin - 1, -1):
        value = np.uint64(0)
        for k in range(SHORT_UNIT):
            value = (value ^ np.uint64(text[at + k])) * HASH_FACTOR
        slot = np.int64((value ^ (value >> np.uint64(29))) & np.uint64(size - 1))
        following[at - begin] = last[slot]
        last[slot] = at


@njit(cache=True)
def near_repetition(text, at, limit, begin, following, classes):
    """``(length, end)`` of the shortest unit of 8 to ``FAR_UNIT`` bytes at ``at`` that repeats, else (0, -1)."""
    shortest, best = min(limit, FAR_UNIT - 1) + 1, -1
    place = np.int64(following[at - begin])
    while place < text.shape[0] and place - at - WIDEST_SPACE < shortest:
        for space in range(WIDEST_SPACE + 1):
            length = place - at - space
            if SHORT_UNIT <= length < shortest and may_come_four_times(text, at, length, space, classes):
                end = repetition_end(text, at, length, classes)
                if end >= 0:
                    shortest, best = length, end
        place = np.int64(following[place - begin])
    return (shortest, best) if best >= 0 else (0, -1)


@njit(cache=True)
def far_places(text):
    """Places whose ``FAR_BYTES`` bytes come again behind them at an anchor, every ``ANCHORS``-th place.

    Returns the places [P], falling, the next such anchor of each, and of all anchors the hash and a following anchor,
    which may have another hash; -1 for none.
    """
    count = text.shape[0]
    anchors = count // ANCHORS + 1
    size = 16
    while size < anchors:
        size *= 2
    last = np.full(size, -1, dtype=np.int32)
    following = np.full(anchors, -1, dtype=np.int32)
    hashes = np.zeros(anchors, dtype=np.uint64)
    places = np.empty((1024, 2), dtype=np.int32)
    found = 0
    top = np.uint64(1)  # factor of the last byte
    for _ in range(FAR_BYTES - 1):
        top *= HASH_FACTOR
    value = np.uint64(0)
    for at in range(count - 1, -1, -1):
        if at + FAR_BYTES < count:
            value -= np.uint64(text[at + FAR_BYTES]) * top
        value = value * HASH_FACTOR + np.uint64(text[at])
        if at + FAR_BYTES > count:
            continue
        slot = np.int64((value ^ (value >> np.uint64(29))) & np.uint64(size - 1))
        anchor = last[slot]
        while anchor >= 0 and hashes[anchor] != value:
            anchor = following[anchor]
        if anchor >= 0:
            if found == places.shape[0]:
                more = np.empty((2 * found, 2), dtype=np.int32)
                more[:found] = places
                places = more
            places[found, 0], places[found, 1] = at, anchor
            found += 1
        if at % ANCHORS == 0:
            anchor = np.int32(at // ANCHORS)
            hashes[anchor], following[anchor] = value, last[slot]
            last[slot] = anchor
    return places[:found], hashes, following


@njit(cache=True)
def far_repetition(text, at, limit, far, last, classes):
    """As :func:`near_repetition` for units of ``FAR_UNIT`` bytes and more; last the place to begin with next.

    Whatever the unit, one of the first ``ANCHORS`` places of it comes again at an anchor.
    """
    places, hashes, following = far
    while last >= 0 and places[last, 0] < at:
        last -= 1
    shortest, best = limit + 1, -1
    number = last
    while number >= 0 and places[number, 0] < at + ANCHORS:
        place, anchor = np.int64(places[number, 0]), np.int64(places[number, 1])
        value = hashes[anchor]
        while anchor >= 0 and anchor * ANCHORS - place - WIDEST_SPACE < shortest:
            for space in range(WIDEST_SPACE + 1):
                length = anchor * ANCHORS - place - space
                if (
                    hashes[anchor] == value
                    and FAR_UNIT <= length < shortest
                    and may_come_four_times(text, at, length, space, classes)
                ):
                    end = repetition_end(text, at, length, classes)
                    if end >= 0:
                        shortest, best = length, end
            anchor = np.int64(following[anchor])
        number -= 1
    return (shortest, best, last) if best >= 0 else (0, -1, last)


@njit(cache=True)
def may_come_four_times(text, at, length, space, classes):
    """Whether white space of ``space`` bytes, none for 0, follows the unit, and the unit begins where it would stand
    for the fourth time, with or without white space before each."""
    if not begins_character(text, at + length) or (space > 0 and space_at(text, at + length, classes) != space):
        return False
    for spaces in range(space, space + (LEAST_MORE - 1) * WIDEST_SPACE + 1):
        if same(text, at, at + LEAST_MORE * length + spaces, SHORT_UNIT):
            return True
    return False


@njit(cache=True)
def count_units(text, unit, length, end):
    """How often the unit stands in the repetition, ``str.count``."""
    times = 0
    at = unit
    while at + length <= end:
        if same(text, unit, at, length):
            times += 1
            at += length
        else:
            at += 1
    return times


@njit(cache=True, inline="always")
def count_characters(text, start, end):
    """Characters that begin in ``text[start:end]``."""
    count = 0
    for at in range(start, end):
        count += (text[at] & 0xC0) != 0x80
    return count


@njit(cache=True)
def find_repetitions(buffer, documents, byte_starts, byte_ends, char_starts, classes):
    """Repetitions in stretches of texts: document, start and end in code points of the document, and times."""
    room = 1024
    owners = np.empty(room, dtype=np.int64)
    places = np.empty((room, 3), dtype=np.int64)
    count = 0
    for stretch in range(byte_starts.shape[0]):
        text = buffer[byte_starts[stretch] : byte_ends[stretch]]
        following = np.empty(min(text.shape[0], NEAR_BLOCK + FAR_UNIT + WIDEST_SPACE), dtype=np.int32)
        begin = -1  # of the places of ``following``
        far = (np.empty((0, 2), dtype=np.int32), np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32))
        far_known = False
        last = np.int64(-1)
        line_end = 0  # of the line that ``at`` is in
        at = 0
        character = char_starts[stretch]  # that begins at ``at``
        while at < text.shape[0]:
            size = read_character(text, at)[1]
            if text[at] == BYTE_NEWLINE:
                at += size
                character += 1
                continue
            if line_end <= at:
                line_end = at
                while line_end < text.shape[0] and text[line_end] != BYTE_NEWLINE:
                    line_end += 1
            limit = min(line_end - at, (text.shape[0] - at) // (LEAST_MORE + 1))
            length, end = 0, -1
            for short in range(size, min(limit, SHORT_UNIT - 1) + 1):
                if begins_character(text, at + short):
                    end = repetition_end(text, at, short, classes)
                    if end >= 0:
                        length = short
                        break
            if end < 0 and limit >= SHORT_UNIT:
                if begin < 0 or at >= begin + NEAR_BLOCK:
                    begin = at
                    next_places(text, begin, following)
                length, end = near_repetition(text, at, limit, begin, following, classes)
            if end < 0 and limit >= FAR_UNIT:
                if not far_known:
                    far = far_places(text)
                    far_known = True
                    last = far[0].shape[0] - 1
                length, end, last = far_repetition(text, at, limit, far, last, classes)
            if end < 0:
                at += size
                character += 1
                continue
            if count == room:
                room *= 2
                more_owners = np.empty(room, dtype=np.int64)
                more_places = np.empty((room, 3), dtype=np.int64)
                more_owners[:count] = owners[:count]
                more_places[:count] = places[:count]
                owners, places = more_owners, more_places
            owners[count] = documents[stretch]
            places[count, 0] = character
            character += count_characters(text, at, end)
            places[count, 1] = character
            places[count, 2] = count_units(text, at, length, end)
            count += 1
            at = end
    return owners[:count], places[:count]


@njit(cache=True)
def find_periods(tokens, longest):
    """Runs of tokens that repeat with a period of 1 to ``longest``, at least three times, [R, 3]: first, end, times.

    Ordered by period, then place; a run shows under every multiple of its period too. A run counts where two whole
    blocks of the period, counted from the first token of the text, are equal.
    """
    count = tokens.shape[0]
    found = np.empty((2 * count + longest, 3), dtype=np.int64)
    runs = 0
    for period in range(1, min(longest, count // LEAST_TIMES) + 1):
        at = period
        while at + period <= count:
            equal = True
            for k in range(at, at + period):
                if tokens[k] != tokens[k - period]:
                    equal = False
                    break
            if not equal:
                at += period
                continue
            first = at - period
            while first > 0 and tokens[first - 1] == tokens[first - 1 + period]:
                first -= 1
            end = at + period
            while end < count and tokens[end] == tokens[end - period]:
                end += 1
            if (end - first) // period >= LEAST_TIMES:
                found[runs, 0], found[runs, 1], found[runs, 2] = first, end, (end - first) // period
                runs += 1
            at = (end // period + 1) * period
    return found[:runs]


@njit(cache=True)
def have_periods(tokens, edges, longest):
    """Which texts, the tokens of text t being ``edges[t]:edges[t + 1]``, have a run that :func:`find_periods` finds."""
    have = np.zeros(edges.shape[0] - 1, dtype=np.bool_)
    for text in range(have.shape[0]):
        have[text] = find_periods(tokens[edges[text] : edges[text + 1]], longest).shape[0] > 0
    return have
