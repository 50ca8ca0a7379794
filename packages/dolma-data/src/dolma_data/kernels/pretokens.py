# mypy: disable-error-code="no-untyped-def"
"""Where byte-level tokenizers cut text before merging, and where added tokens stand, in compiled loops over UTF-8.

The cuts are those of two regular expressions: that of GPT-2 (Radford et al. 2019) and the later one of the
``cl100k_base`` vocabulary (openai/tiktoken), the latter with the variations that ``LATER_*`` name.
"""

from __future__ import annotations

from numba import njit

from .characters import read_character

# No memory is managed in these functions: counting references to arrays at every call would triple the time.
plain = njit(cache=True, _nrt=False)

# Kinds of a character, by the tokenizers library's own regular expressions; no bit: anything else.
LETTER = 1  # \p{L}
NUMBER = 2  # \p{N}
SPACE = 4  # \s
CATEGORY = LETTER | NUMBER | SPACE
COMPOSING = 8  # may be changed by Unicode normalisation, or change what stands before it
UNKNOWN = 16  # not assigned in this Python's Unicode version

# Bits of the cut: which expression.
LATER = 1  # cl100k_base instead of GPT-2
LATER_SIGNS_TAKE_LINE_ENDS = 2  # ` ?[^\s\p{L}\p{N}]+[\r\n]*` instead of ` ?[^\s\p{L}\p{N}]+`
LATER_LINE_ENDS_TAKE_INDENTATION = 4  # `\s*[\r\n]+[ \t]*` instead of `\s*[\r\n]+`


@plain
def kind_at(buffer, at, kinds):
    """Return ``(kind, bytes)`` of the character at byte ``at``."""
    byte = buffer[at]
    if byte < 0x80:
        return kinds[byte], 1
    point, size = read_character(buffer, at)
    return kinds[point], size


@plain
def run_end(buffer, at, end, kinds, category):
    """The first byte from ``at`` on that begins a character of another category."""
    while at < end:
        byte = buffer[at]
        if byte < 0x80:
            if (kinds[byte] & CATEGORY) != category:
                break
            at += 1
        else:
            point, size = read_character(buffer, at)
            if (kinds[point] & CATEGORY) != category:
                break
            at += size
    return at


@plain
def space_end(buffer, at, end, kinds):
    r"""End of ``\s+(?!\S)|\s+`` at white space: a run leaves its last character to the word that follows."""
    last = at
    first = at
    while at < end:
        kind, size = kind_at(buffer, at, kinds)
        if not kind & SPACE:
            return at if last == first else last
        last = at
        at += size
    return at


@plain
def contraction_end(buffer, at, end, ignore_case):
    """End of ``'s 't 're 've 'm 'll 'd`` at an apostrophe, or ``at``."""
    if at + 1 >= end:
        return at
    fold = 0x20 if ignore_case else 0
    first = buffer[at + 1]
    if first < 0x80:
        first |= fold
    if first in (0x73, 0x74, 0x6D, 0x64):  # s t m d
        return at + 2
    if at + 2 >= end:
        return at
    second = buffer[at + 2]
    if ignore_case and first == 0xC5 and second == 0xBF:  # the long s is another case of s
        return at + 3
    if second < 0x80:
        second |= fold
    if (first in (0x72, 0x76) and second == 0x65) or (first == 0x6C and second == 0x6C):  # re ve ll
        return at + 3
    return at


@plain
def earlier_end(buffer, at, end, kinds):
    r"""End of the match of GPT-2's expression at ``at``, in text that ends at ``end``.

    ``'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+``
    """
    byte = buffer[at]
    if byte == 0x27:
        stop = contraction_end(buffer, at, end, False)
        if stop > at:
            return stop
    start = at
    if byte == 0x20 and at + 1 < end:
        start += 1
    kind, size = kind_at(buffer, start, kinds)
    if kind & SPACE:
        return space_end(buffer, at, end, kinds)
    return run_end(buffer, start + size, end, kinds, kind & CATEGORY)


@plain
def later_end(buffer, at, end, kinds, cut, digits):
    r"""End of the match of the ``cl100k_base`` expression at ``at``, in text that ends at ``end``.

    ``(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+
    |\s+(?!\S)|\s+``; ``digits`` is the 3 in it.
    """
    byte = buffer[at]
    if byte == 0x27:
        stop = contraction_end(buffer, at, end, True)
        if stop > at:
            return stop
    kind, size = kind_at(buffer, at, kinds)
    if kind & LETTER:
        return run_end(buffer, at + size, end, kinds, LETTER)
    if kind & NUMBER:
        stop = at + size
        for _ in range(digits - 1):
            if stop >= end:
                break
            kind, size = kind_at(buffer, stop, kinds)
            if not kind & NUMBER:
                break
            stop += size
        return stop
    following = SPACE
    following_size = 0
    if at + size < end:
        following, following_size = kind_at(buffer, at + size, kinds)
    if following & LETTER and byte != 0x0A and byte != 0x0D:
        return run_end(buffer, at + size + following_size, end, kinds, LETTER)
    if not kind & SPACE or (byte == 0x20 and following & CATEGORY == 0):
        stop = run_end(buffer, at + size, end, kinds, 0)
        if cut & LATER_SIGNS_TAKE_LINE_ENDS:
            while stop < end and (buffer[stop] == 0x0A or buffer[stop] == 0x0D):
                stop += 1
        return stop
    stop = run_end(buffer, at, end, kinds, SPACE)
    line_end = stop
    while line_end > at and buffer[line_end - 1] != 0x0A and buffer[line_end - 1] != 0x0D:
        line_end -= 1
    if line_end == at:
        return space_end(buffer, at, end, kinds)
    if cut & LATER_LINE_ENDS_TAKE_INDENTATION:
        while line_end < stop and (buffer[line_end] == 0x20 or buffer[line_end] == 0x09):
            line_end += 1
    return line_end


@plain
def find_added(buffer, at, end, pairs, children, ids):
    """The first added token that begins at ``at`` or later, the longest of those that begin together.

    ``pairs`` [65536] says which two bytes can begin one, ``children`` [nodes, 256] and ``ids`` [nodes] are the trie of
    their bytes. Returns ``(start, stop, id)``; the id is -1 where there is none, less where it is to be passed over.
    """
    while at < end:
        following = buffer[at + 1] if at + 1 < end else 0
        if pairs[(buffer[at] << 8) | following]:
            node = 0
            stop = 0
            found = -1
            place = at
            while place < end:
                node = children[node, buffer[place]]
                if node == 0:
                    break
                place += 1
                if ids[node] != -1:
                    found = ids[node]
                    stop = place
            if found != -1:
                return at, stop, found
        at += 1
    return end, end, -1


@plain
def text_flags(buffer, offsets, kinds, flags):
    """Set ``flags`` [D] to the bits ``COMPOSING`` and ``UNKNOWN`` of the characters of each text."""
    texts = offsets.shape[0] - 1
    for text in range(texts):
        found = 0
        at = offsets[text]
        end = offsets[text + 1]
        while at < end:
            if buffer[at] < 0xCC:  # no character before U+0300 has either bit
                at += 1
                continue
            point, size = read_character(buffer, at)
            found |= kinds[point]
            at += size
        flags[text] = found & (COMPOSING | UNKNOWN)
