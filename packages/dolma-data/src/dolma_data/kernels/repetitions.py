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
FAR_UNIT = 2048  # units below this length are looked for near by, longer ones where FAR_CHARACTERS come again
FAR_CHARACTERS = 1024
ANCHORS = 16
NEAR_BLOCK = 1 << 20  # places whose next ones are found together
MOST_SLOTS = 1 << 16
HASH_FACTOR = np.uint64(0x100000001B3)
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
def next_places(points, begin, following):
    """For each place from ``begin`` on the next one whose 8 characters have the same hash, or the length of the text.

    Those that lie no further than ``following`` [places] reaches.
    """
    count = points.shape[0]
    size = 16
    while size < min(following.shape[0], MOST_SLOTS):
        size *= 2
    last = np.full(size, count, dtype=np.int32)
    following[:] = count
    for at in range(min(begin + following.shape[0], count - SHORT_UNIT + 1) - 1, begin - 1, -1):
        value = np.uint64(0)
        for k in range(SHORT_UNIT):
            value = (value ^ np.uint64(points[at + k])) * HASH_FACTOR
        slot = np.int64((value ^ (value >> np.uint64(29))) & np.uint64(size - 1))
        following[at - begin] = last[slot]
        last[slot] = at


@njit(cache=True)
def near_repetition(points, at, limit, begin, following, classes):
    """``(length, end)`` of the shortest unit of 8 to ``FAR_UNIT`` characters at ``at`` that repeats, else (0, -1)."""
    longest = min(limit, FAR_UNIT - 1)
    place = np.int64(following[at - begin])
    while place < points.shape[0] and place - at - 1 <= longest:
        for length in (place - at - 1, place - at):
            if SHORT_UNIT <= length <= longest:
                end = repetition_end(points, at, length, classes)
                if end >= 0:
                    return length, end
        place = np.int64(following[place - begin])
    return 0, -1


@njit(cache=True)
def far_places(points):
    """Places whose ``FAR_CHARACTERS`` characters come again behind them at an anchor, every ``ANCHORS``-th place.

    Returns the places [P], falling, the next such anchor of each, and of all anchors the hash and a following anchor,
    which may have another hash; -1 for none.
    """
    count = points.shape[0]
    anchors = count // ANCHORS + 1
    size = 16
    while size < anchors:
        size *= 2
    last = np.full(size, -1, dtype=np.int32)
    following = np.full(anchors, -1, dtype=np.int32)
    hashes = np.zeros(anchors, dtype=np.uint64)
    places = np.empty((1024, 2), dtype=np.int32)
    found = 0
    top = np.uint64(1)  # factor of the last character
    for _ in range(FAR_CHARACTERS - 1):
        top *= HASH_FACTOR
    value = np.uint64(0)
    for at in range(count - 1, -1, -1):
        if at + FAR_CHARACTERS < count:
            value -= np.uint64(points[at + FAR_CHARACTERS]) * top
        value = value * HASH_FACTOR + np.uint64(points[at])
        if at + FAR_CHARACTERS > count:
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
def far_repetition(points, at, limit, far, last, classes):
    """As :func:`near_repetition` for units of ``FAR_UNIT`` characters and more; last the place to begin with next.

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
        while anchor >= 0 and anchor * ANCHORS - place - 1 < shortest:
            distance = anchor * ANCHORS - place
            for length in (distance - 1, distance):
                if (
                    hashes[anchor] == value
                    and FAR_UNIT <= length < shortest
                    and may_come_four_times(points, at, length)
                ):
                    end = repetition_end(points, at, length, classes)
                    if end >= 0:
                        shortest, best = length, end
            anchor = np.int64(following[anchor])
        number -= 1
    return (shortest, best, last) if best >= 0 else (0, -1, last)


@njit(cache=True)
def may_come_four_times(points, at, length):
    """Whether the unit begins where it would stand for the fourth time, with up to three spaces before."""
    for spaces in range(LEAST_MORE + 1):
        if same(points, at, at + LEAST_MORE * length + spaces, SHORT_UNIT):
            return True
    return False


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
        following = np.empty(min(points.shape[0], NEAR_BLOCK + FAR_UNIT), dtype=np.int32)
        begin = -1  # of the places of ``following``
        far = (np.empty((0, 2), dtype=np.int32), np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32))
        far_known = False
        last = np.int64(-1)
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
                if begin < 0 or at >= begin + NEAR_BLOCK:
                    begin = at
                    next_places(points, begin, following)
                length, end = near_repetition(points, at, limit, begin, following, classes)
            if end < 0 and limit >= FAR_UNIT:
                if not far_known:
                    far = far_places(points)
                    far_known = True
                    last = far[0].shape[0] - 1
                length, end, last = far_repetition(points, at, limit, far, last, classes)
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


@njit(cache=True)
def have_periods(tokens, edges, longest):
    """Which texts, the tokens of text t being ``edges[t]:edges[t + 1]``, have a run that :func:`find_periods` finds."""
    have = np.zeros(edges.shape[0] - 1, dtype=np.bool_)
    for text in range(have.shape[0]):
        have[text] = find_periods(tokens[edges[text] : edges[text + 1]], longest).shape[0] > 0
    return have
