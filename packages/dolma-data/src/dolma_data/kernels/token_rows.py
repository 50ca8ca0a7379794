# mypy: disable-error-code="no-untyped-def"
"""Laying the ids of documents out in another order, each with the ids that begin and end it."""

from __future__ import annotations

from numba import njit

NONE = -1  # instead of an id


@njit(cache=True)
def row_lengths(ids, firsts, bos, eos, lengths):
    """Ids of each document with ``bos`` before it and ``eos`` after it where they are not there already, [D]."""
    for document in range(lengths.shape[0]):
        start = firsts[document]
        end = firsts[document + 1]
        length = end - start
        length += bos != NONE and (start == end or ids[start] != bos)
        length += eos != NONE and (start == end or ids[end - 1] != eos)
        lengths[document] = length


@njit(cache=True)
def lay_out(ids, firsts, bos, eos, order, laid):
    """Write the documents in ``order`` to ``laid``, as long as :func:`row_lengths` says."""
    at = 0
    for document in order:
        start = firsts[document]
        end = firsts[document + 1]
        if bos != NONE and (start == end or ids[start] != bos):
            laid[at] = bos
            at += 1
        for place in range(start, end):
            laid[at] = ids[place]
            at += 1
        if eos != NONE and (start == end or ids[end - 1] != eos):
            laid[at] = eos
            at += 1
