# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: SIM110 - compiled code has no generators
r"""Consecutive repetitions: of characters, the matches of ``(.+?)(\s?\1){3,}``; of tokens, periods.

The pattern is read as Python's ``re`` reads it: the leftmost place, there the shortest unit without a newline, then as
many repetitions as follow, at each rather with a character of white space before it than without.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import BYTE_NEWLINE, SPACE, read_character

SHORT_UNIT = 8  # units below this length are tried one by one, longer ones where their first 8 characters come again
LEAST_MORE = 3  # repetitions beside the first
LEAST_TIMES = 3  # of a period of tokens


@njit(cache=True)
def decode(buffer, start, end):
    """Code points of ``buffer[start:end]``."""
    points = np.empty(end - start, dtype=np.int32)
    count = 0
    while start < end:
        point, size = read_character(buffer, start)
        points[count] = point
        count += 1
        start += size
    return points[:count]


@njit(cache=True, inline="always")
def same(points, left, right, length):
    """Whether ``length`` characters from ``left`` on come again at ``right``, within the text."""
    if right + length > points.shape[0]:
        return False
    for k in range(length):
        if points[left + k] != points[right + k]:
            return False
    return True


@njit(cache=True)
def once_more(points, unit, length, at, spaced, classes):
    """End of one repetition at ``at``, with white space before it or without; -1 where there is none."""
    if spaced:
        if at >= points.shape[0] or not classes[points[at]] & SPACE:
            return -1
        at += 1
    return at + length if same(points, unit, at, length) else -1


@njit(cache=True)
def repetition_end(points, unit, length, classes):
    """End of a repetition with its first unit at ``unit``, -1 where there is none."""
    end = -1
    for ways in range(1 << LEAST_MORE):  # in the order in which the pattern tries them
        end = unit + length
        for k in range(LEAST_MORE):
            spaced = not (ways >> (LEAST_MORE - 1 - k)) & 1
            end = once_more(points, unit, length, end, spaced, classes)
            if end < 0:
                break
        if end >= 0:
            break
        if ways == 0 and not may_repeat(points, unit, length, classes):
            return -1
    while end >= 0:
        after = once_more(points, unit, length, end, True, classes)
        if after < 0:
            after = once_more(points, unit, length, end, False, classes)
        if after < 0:
            return end
        end = after
    return end


@njit(cache=True, inline="always")
def may_repeat(points, unit, length, classes):
    """Whether the unit comes again behind itself, at once or after white space."""
    at = unit + length
    return (at < points.shape[0] and points[at] == points[unit]) or (
        at + 1 < points.shape[0] and points[at + 1] == points[unit] and (classes[points[at]] & SPACE) != 0
    )


@njit(cache=True)
def next_places(points):
    """For each place the next one whose 8 characters have the same hash, or the length of the text."""
    count = points.shape[0]
    following = np.full(count, count, dtype=np.int64)
    size = 16
    while size < count:
        size *= 2
    last = np.full(size, count, dtype=np.int64)
    for at in range(count - SHORT_UNIT, -1, -1):
        value = np.uint64(0)
        for k in range(SHORT_UNIT):
            value = (value ^ np.uint64(points[at + k])) * np.uint64(0x100000001B3)
        slot = np.int64((value ^ (value >> np.uint64(29))) & np.uint64(size - 1))
        following[at] = last[slot]
        last[slot] = at
    return following


@njit(cache=True)
def longer_repetition(points, at, limit, following, classes):
    """``(length, end)`` of the shortest unit of 8 or more characters at ``at`` that repeats, ``(0, -1)`` without."""
    place = following[at]
    while place < points.shape[0] and place - at - 1 <= limit:
        for length in (place - at - 1, place - at):
            if SHORT_UNIT <= length <= limit:
                end = repetition_end(points, at, length, classes)
                if end >= 0:
                    return length, end
        place = following[place]
    return 0, -1


@njit(cache=True)
def count_units(points, unit, length, end):
    """How often the unit stands in the repetition, ``str.count``."""
    times = 0
    at = unit
    while at + length <= end:
        if same(points, unit, at, length):
            times += 1
            at += length
        else:
            at += 1
    return times


@njit(cache=True)
def find_repetitions(buffer, documents, byte_starts, byte_ends, char_starts, classes):
    """Repetitions in stretches of texts: document, start and end in code points of the document, and times."""
    room = 1024
    owners = np.empty(room, dtype=np.int64)
    places = np.empty((room, 3), dtype=np.int64)
    count = 0
    for stretch in range(byte_starts.shape[0]):
        points = decode(buffer, byte_starts[stretch], byte_ends[stretch])
        following = next_places(points)
        line_end = 0  # of the line that ``at`` is in
        at = 0
        while at < points.shape[0]:
            if points[at] == BYTE_NEWLINE:
                at += 1
                continue
            if line_end <= at:
                line_end = at
                while line_end < points.shape[0] and points[line_end] != BYTE_NEWLINE:
                    line_end += 1
            limit = min(line_end - at, (points.shape[0] - at) // (LEAST_MORE + 1))
            length, end = 0, -1
            for short in range(1, min(limit, SHORT_UNIT - 1) + 1):
                end = repetition_end(points, at, short, classes)
                if end >= 0:
                    length = short
                    break
            if end < 0 and limit >= SHORT_UNIT:
                length, end = longer_repetition(points, at, limit, following, classes)
            if end < 0:
                at += 1
                continue
            if count == room:
                room *= 2
                more_owners = np.empty(room, dtype=np.int64)
                more_places = np.empty((room, 3), dtype=np.int64)
                more_owners[:count] = owners[:count]
                more_places[:count] = places[:count]
                owners, places = more_owners, more_places
            owners[count] = documents[stretch]
            places[count, 0] = char_starts[stretch] + at
            places[count, 1] = char_starts[stretch] + end
            places[count, 2] = count_units(points, at, length, end)
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
