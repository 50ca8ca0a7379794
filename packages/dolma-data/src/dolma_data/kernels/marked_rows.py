# mypy: disable-error-code="no-untyped-def"
"""Rows of attributes and of matches as JSON, straight from columns of marked spans."""

from __future__ import annotations

import numpy as np
from numba import njit

from .rows import put_bytes, put_whole

SPAN_ROOM = 48  # bytes of two whole numbers and what stands around them
END = np.frombuffer(b',"end":', dtype=np.uint8)
TOMBSTONE, LISTED, BARE = 0, 1, 2  # a row is its head alone; has the key, with spans or without; has no key


@njit(cache=True, nogil=True)
def encode_marked(heads, head_at, tails, tail_at, kinds, opening, first, starts, ends):
    """R rows: head, ``opening`` with the spans ``[start,end,1]`` of the row or ``{}``, tail; bytes.

    ``opening`` is ``{"key":[``; spans of row r are ``first[r]:first[r + 1]``.
    """
    rows = kinds.shape[0]
    room = heads.shape[0] + tails.shape[0] + rows * (opening.shape[0] + 4) + starts.shape[0] * SPAN_ROOM
    out = np.empty(room, dtype=np.uint8)
    at = 0
    for row in range(rows):
        at = put_bytes(out, at, heads, head_at[row], head_at[row + 1])
        if kinds[row] == TOMBSTONE:
            continue
        if kinds[row] == BARE:
            out[at], out[at + 1] = 0x7B, 0x7D
            at += 2
        else:
            at = put_bytes(out, at, opening, 0, opening.shape[0])
            for span in range(first[row], first[row + 1]):
                if span > first[row]:
                    out[at] = 0x2C
                    at += 1
                out[at] = 0x5B
                at = put_whole(out, at + 1, starts[span])
                out[at] = 0x2C
                at = put_whole(out, at + 1, ends[span])
                out[at], out[at + 1], out[at + 2] = 0x2C, 0x31, 0x5D
                at += 3
            out[at], out[at + 1] = 0x5D, 0x7D
            at += 2
        at = put_bytes(out, at, tails, tail_at[row], tail_at[row + 1])
    return out[:at]


@njit(cache=True, nogil=True)
def encode_pairs(heads, head_at, tails, tail_at, owners, starts, ends, firsts):
    """M rows of matches: the head of ``owners[m]``, start, end, the tail ``firsts[m]``; bytes."""
    room = starts.shape[0] * SPAN_ROOM
    for k in range(starts.shape[0]):
        room += head_at[owners[k] + 1] - head_at[owners[k]] + tail_at[firsts[k] + 1] - tail_at[firsts[k]]
    out = np.empty(room, dtype=np.uint8)
    at = 0
    for k in range(starts.shape[0]):
        at = put_bytes(out, at, heads, head_at[owners[k]], head_at[owners[k] + 1])
        at = put_whole(out, at, starts[k])
        at = put_bytes(out, at, END, 0, END.shape[0])
        at = put_whole(out, at, ends[k])
        at = put_bytes(out, at, tails, tail_at[firsts[k]], tail_at[firsts[k] + 1])
    return out[:at]
