# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: SIM109 - compiled code compares faster than it looks into a tuple
"""Units of deduplication in a buffer of texts: where they are, whether they are blank, how many words they hold."""

from __future__ import annotations

import numpy as np
from numba import njit

from .characters import ALPHANUMERIC, SPACE, read_character
from .hashing import read_word
from .word_breaks import (
    CR,
    EXTEND,
    FORMAT,
    LF,
    NEWLINE,
    OTHER,
    PICTOGRAPHIC,
    REGIONAL,
    W_SEG_SPACE,
    ZWJ,
    stays_together,
)

ENOUGH, TOO_FEW, UNDECIDED = 0, 1, 2
ONES = np.uint64(0x0101010101010101)
HIGHS = np.uint64(0x8080808080808080)


@njit(cache=True, inline="always")
def run_to(buffer, at, end, byte):
    """Where ``byte`` is next, ``end`` where it is not before, and the code points up to there.

    Eight bytes at a time: one of them is ``byte`` where the difference to eight of it has a zero byte; a byte that
    continues a character has bit 7 and not bit 6.
    """
    points = np.int64(0)
    eight = np.uint64(byte) * ONES
    while at + 8 <= end:
        word = read_word(buffer, at)
        difference = word ^ eight
        if (difference - ONES) & ~difference & HIGHS:
            break
        continuing = (word >> np.uint64(7)) & ~(word >> np.uint64(6)) & ONES
        points += 8 - np.int64((continuing * ONES) >> np.uint64(56))
        at += 8
    while at < end and buffer[at] != byte:
        points += (buffer[at] & 0xC0) != 0x80
        at += 1
    return at, points


@njit(cache=True, nogil=True)
def split_texts(buffer, offsets, separator, as_dolma):
    """Pieces of each text as ``str.split(separator)`` finds them; an empty text has none.

    Returns ``first`` [D + 1] (pieces of document d are ``first[d]:first[d + 1]``), ``starts`` and ``ends`` [S] in bytes
    of the buffer, separator left out, and ``from_`` and ``to`` [S] in code points of the document, separator
    included. ``as_dolma`` counts code points as allenai/dolma (``src/deduper.rs``) does: a separator is one wide, and
    it is added while fewer than the bytes of the text less one are passed.
    """
    documents = offsets.shape[0] - 1
    width = separator.shape[0]
    wide = 0  # code points of the separator
    for k in range(width):
        wide += (separator[k] & 0xC0) != 0x80
    total = documents
    for at in range(buffer.shape[0]):
        total += buffer[at] == separator[0]
    first = np.zeros(documents + 1, dtype=np.int64)
    starts = np.empty(total, dtype=np.int64)
    ends = np.empty(total, dtype=np.int64)
    from_ = np.empty(total, dtype=np.int64)
    to = np.empty(total, dtype=np.int64)
    count = 0
    for document in range(documents):
        at = offsets[document]
        end = offsets[document + 1]
        size = end - at
        passed = 0
        while size > 0:
            starts[count] = at
            from_[count] = passed
            found = False
            while at < end:
                at, points = run_to(buffer, at, end, separator[0])
                passed += points
                if at == end:
                    break
                found = at + width <= end
                for k in range(1, width):
                    if not found:
                        break
                    found = buffer[at + k] == separator[k]
                if found:
                    break
                passed += (separator[0] & 0xC0) != 0x80
                at += 1
            ends[count] = at
            if as_dolma:
                if passed < size - 1:
                    passed += 1
            elif found:
                passed += wide
            to[count] = passed
            count += 1
            at += width
            if not found:
                break
        first[document + 1] = count
    return first, starts[:count], ends[:count], from_[:count], to[:count]


@njit(cache=True, nogil=True)
def are_blank(buffer, starts, ends, classes):
    """Which ranges hold only white space (Unicode's property White_Space), [N]."""
    blank = np.ones(starts.shape[0], dtype=np.bool_)
    for k in range(starts.shape[0]):
        at = starts[k]
        while at < ends[k]:
            point, size = read_character(buffer, at)
            if not classes[point] & SPACE or 0x1C <= point <= 0x1F:
                blank[k] = False
                break
            at += size
    return blank


@njit(cache=True, nogil=True)
def count_points(buffer, starts, ends):
    """Code points of each range, [N]."""
    points = np.zeros(starts.shape[0], dtype=np.int64)
    for k in range(starts.shape[0]):
        for at in range(starts[k], ends[k]):
            points[k] += (buffer[at] & 0xC0) != 0x80
    return points


@njit(cache=True, nogil=True)
def judge_words(buffer, starts, ends, classes, least):
    """Whether each range holds ``least`` words (UAX 29, with a letter or digit), where a cheap bound can tell.

    White space stands between words, never in them, so pieces of ``str.split`` that hold a letter or digit are at most
    as many as the words; in ASCII, runs of letters, digits and underscores are at least as many.
    """
    verdicts = np.empty(starts.shape[0], dtype=np.uint8)
    for k in range(starts.shape[0]):
        at = starts[k]
        words = runs = 0
        ascii_only = True
        in_word = in_run = False
        while at < ends[k] and words < least:
            byte = buffer[at]
            point = np.int64(byte)
            size = 1
            if byte >= 0x80:
                point, size = read_character(buffer, at)
                ascii_only = False
            kind = classes[point]
            if kind & SPACE:
                in_word = False
            elif kind & ALPHANUMERIC and not in_word:
                words += 1
                in_word = True
            run = kind & ALPHANUMERIC or point == 0x5F
            runs += run and not in_run
            in_run = run
            at += size
        if words >= least:
            verdicts[k] = ENOUGH
        elif ascii_only and runs < least:
            verdicts[k] = TOO_FEW
        else:
            verdicts[k] = UNDECIDED
    return verdicts


@njit(cache=True, nogil=True)
def cut_ranges(buffer, starts, ends, size):
    """Ranges in stretches of about ``size`` bytes, which have the words of the whole between them.

    They end behind a newline, or a space with a letter or digit of ASCII after it, where there is one. Returns the
    range that each is of, its begin and its end.
    """
    owners, begins, after = [], [], []
    for k in range(starts.shape[0]):
        begin = starts[k]
        while ends[k] - begin > size:
            at = begin + size
            while at < ends[k]:
                byte = buffer[at] | 0x20
                alphanumeric = 0x61 <= byte <= 0x7A or 0x30 <= buffer[at] <= 0x39
                if buffer[at - 1] == 0x0A or (buffer[at - 1] == 0x20 and alphanumeric):
                    break
                at += 1
            if at == ends[k]:
                break
            owners.append(k)
            begins.append(begin)
            after.append(at)
            begin = at
        owners.append(k)
        begins.append(begin)
        after.append(ends[k])
    return np.array(owners), np.array(begins), np.array(after)


@njit(cache=True, nogil=True)
def find_words(buffer, starts, ends, properties, classes):
    """Words of Unicode Standard Annex 29 in each range, those of white space alone left out.

    Returns ``edges`` [N + 1] (words of range n are ``edges[n]:edges[n + 1]``), ``first`` and ``after`` [W] in bytes of
    the buffer, and which of them hold a letter or digit, [W]. ``properties`` are ``word_break_properties``.
    """
    room = starts.shape[0] + 1
    for k in range(starts.shape[0]):
        room += ends[k] - starts[k]
    first = np.empty(room, dtype=np.int64)
    after = np.empty(room, dtype=np.int64)
    spelled = np.empty(room, dtype=np.bool_)
    edges = np.zeros(starts.shape[0] + 1, dtype=np.int64)
    count = 0
    for k in range(starts.shape[0]):
        at = begin = starts[k]
        end = ends[k]
        visible = letters = False
        raw = -1  # property of the character before
        before = OTHER  # the same, of the last one that counts
        earlier = OTHER
        flags = 0  # regional indicators in a row
        while at < end:
            point, size = read_character(buffer, at)
            value = properties[point]
            kind = value & 31
            after_line = raw == CR or raw == LF or raw == NEWLINE
            ignored = kind == EXTEND or kind == FORMAT or kind == ZWJ
            if raw == -1:
                together = True
            elif raw == CR and kind == LF:
                together = True  # WB3
            elif after_line or kind == CR or kind == LF or kind == NEWLINE:
                together = False  # WB3a, WB3b
            elif ignored or (raw == ZWJ and value & PICTOGRAPHIC) or (raw == W_SEG_SPACE and kind == W_SEG_SPACE):
                together = True  # WB4, WB3c, WB3d
            elif kind == REGIONAL and before == REGIONAL:
                together = flags % 2 == 1  # WB15, WB16
            else:
                together = stays_together(earlier, before, kind, buffer, at + size, end, properties)
            if not together:
                if visible:
                    first[count], after[count], spelled[count] = begin, at, letters
                    count += 1
                begin = at
                visible = letters = False
            group = classes[point]
            visible |= not group & SPACE or 0x1C <= point <= 0x1F
            letters |= (group & ALPHANUMERIC) != 0
            if not ignored or raw == -1 or after_line:
                earlier = before
                before = kind
                flags = flags + 1 if kind == REGIONAL else 0
            raw = kind
            at += size
        if visible:
            first[count], after[count], spelled[count] = begin, end, letters
            count += 1
        edges[k + 1] = count
    return edges, first[:count].copy(), after[:count].copy(), spelled[:count].copy()
