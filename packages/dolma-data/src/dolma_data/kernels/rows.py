# mypy: disable-error-code="no-untyped-def"
"""Rows of attributes as JSON, straight from columns of spans."""

from __future__ import annotations

import numpy as np
from numba import njit

SCALE = 100_000  # scores come as whole numbers of 1/SCALE
LARGEST_SCORE = 1e9  # up to here float64 tells scaled scores and the halves between them apart
SPAN_ROOM = 80  # bytes that one span takes at most


@njit(cache=True, inline="always")
def put_whole(out, at, value):
    """Write a whole number from 0; returns the place after it."""
    size = 1
    rest = value
    while rest >= 10:
        rest //= 10
        size += 1
    for k in range(size):
        out[at + size - 1 - k] = 0x30 + value % 10
        value //= 10
    return at + size


@njit(cache=True, inline="always")
def put_score(out, at, scaled):
    """Write ``scaled / SCALE`` with as many decimals as it needs, at least one."""
    if scaled < 0:
        out[at] = 0x2D
        at += 1
        scaled = -scaled
    at = put_whole(out, at, scaled // SCALE)
    out[at] = 0x2E
    at += 1
    rest = scaled % SCALE
    unit = SCALE // 10
    while True:
        out[at] = 0x30 + rest // unit
        at += 1
        rest %= unit
        if rest == 0:
            return at
        unit //= 10


@njit(cache=True, inline="always")
def put_bytes(out, at, source, start, end):
    """Copy ``source[start:end]``; returns the place after it."""
    for k in range(start, end):
        out[at] = source[k]
        at += 1
    return at


@njit(cache=True)
def encode_spans(heads, head_at, tails, tail_at, keys, key_at, always, first, key_of, starts, ends, scaled):
    """Write D rows: head, ``"key":[[start,end,score],…]`` for each key that has spans or is in ``always``, tail.

    ``heads``, ``tails`` and ``keys`` (with quotes and colon) are bytes laid end to end, their bounds in ``…_at``. The
    spans of document d are ``first[d]:first[d + 1]``, in order of ``key_of``. Returns the bytes and where rows end [D].
    """
    documents = first.shape[0] - 1
    room = heads.shape[0] + tails.shape[0] + SPAN_ROOM * starts.shape[0]
    for span in range(key_of.shape[0]):
        room += key_at[key_of[span] + 1] - key_at[key_of[span]]
    constant = 0
    for key in range(always.shape[0]):
        if always[key]:
            constant += key_at[key + 1] - key_at[key] + 3
    room += documents * constant
    out = np.empty(room, dtype=np.uint8)
    row_ends = np.empty(documents, dtype=np.int64)
    at = 0
    for document in range(documents):
        at = put_bytes(out, at, heads, head_at[document], head_at[document + 1])
        span = first[document]
        last = first[document + 1]
        key = 0 if constant else always.shape[0]
        written = False
        while span < last or key < always.shape[0]:
            following = key_of[span] if span < last else always.shape[0]
            if key < following:
                if not always[key]:
                    key += 1
                    continue
                following = key
            key = following + 1 if constant else key
            if written:
                out[at] = 0x2C
                at += 1
            written = True
            at = put_bytes(out, at, keys, key_at[following], key_at[following + 1])
            out[at] = 0x5B
            at += 1
            begun = False
            while span < last and key_of[span] == following:
                if begun:
                    out[at] = 0x2C
                    at += 1
                begun = True
                out[at] = 0x5B
                at = put_whole(out, at + 1, starts[span])
                out[at] = 0x2C
                at = put_whole(out, at + 1, ends[span])
                out[at] = 0x2C
                at = put_score(out, at + 1, scaled[span])
                out[at] = 0x5D
                at += 1
                span += 1
            out[at] = 0x5D
            at += 1
        at = put_bytes(out, at, tails, tail_at[document], tail_at[document + 1])
        row_ends[document] = at
    return out[:at].copy(), row_ends
