# mypy: disable-error-code="no-untyped-def"
"""Any of a list of phrases in a text, in one pass: the automaton of Aho and Corasick 1975 over UTF-8 bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from .characters import SPACE, WORD, read_character

BETWEEN_WORD_BOUNDARIES = 0  # no word character on either side
WHOLE_TOKENS = 1  # white space or an end of the text on both sides
ANYWHERE = 2


@dataclass(frozen=True)
class Automaton:
    """Transitions over classes of bytes, and for each state the phrases that end there."""

    classes: npt.NDArray[np.int32]  # [256] column of each byte
    following: npt.NDArray[np.int32]  # [S, C]
    lengths: npt.NDArray[np.int32]  # [S] bytes of the longest phrase that ends in the state, 0 for none
    conditions: npt.NDArray[np.int32]  # [S] where it counts
    shorter: npt.NDArray[np.int32]  # [S] state of the next shorter phrase that ends there, 0 for none


def build_automaton(phrases: Sequence[tuple[bytes, int]]) -> Automaton:
    """An automaton for phrases (none empty), each with the condition under which it counts."""
    used = sorted({byte for phrase, _ in phrases for byte in phrase})
    classes = np.zeros(256, dtype=np.int32)
    classes[used] = np.arange(1, len(used) + 1)
    children: list[dict[int, int]] = [{}]
    lengths, conditions = [0], [0]
    for phrase, condition in phrases:
        state = 0
        for byte in phrase:
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
                lengths.append(0)
                conditions.append(0)
            state = children[state][byte]
        lengths[state], conditions[state] = len(phrase), condition
    following = np.zeros((len(children), len(used) + 1), dtype=np.int32)
    shorter = np.zeros(len(children), dtype=np.int32)
    suffix = [0] * len(children)
    pending = deque([0])
    while pending:
        state = pending.popleft()
        following[state] = following[suffix[state]] if state else 0
        shorter[state] = suffix[state] if lengths[suffix[state]] else shorter[suffix[state]]
        for byte, child in children[state].items():
            suffix[child] = int(following[state, classes[byte]]) if state else 0
            following[state, classes[byte]] = child
            pending.append(child)
    return Automaton(
        classes, following, np.array(lengths, dtype=np.int32), np.array(conditions, dtype=np.int32), shorter
    )


@njit(cache=True)
def counts_here(buffer, begin, end, start, stop, condition, characters):
    """Whether a phrase at ``buffer[start:stop]`` of the text ``buffer[begin:end]`` counts."""
    if condition == ANYWHERE:
        return True
    if start > begin:
        before = start - 1
        while before > begin and (buffer[before] & 0xC0) == 0x80:
            before -= 1
        kind = characters[read_character(buffer, before)[0]]
        if (condition == WHOLE_TOKENS and not kind & SPACE) or (condition != WHOLE_TOKENS and kind & WORD):
            return False
    if stop < end:
        kind = characters[read_character(buffer, stop)[0]]
        if (condition == WHOLE_TOKENS and not kind & SPACE) or (condition != WHOLE_TOKENS and kind & WORD):
            return False
    return True


@njit(cache=True)
def hold_phrases(buffer, offsets, classes, following, lengths, conditions, shorter, characters):
    """Which texts hold a phrase of the automaton, [D] of 0 and 1."""
    documents = offsets.shape[0] - 1
    found = np.zeros(documents, dtype=np.uint8)
    for document in range(documents):
        begin, end = offsets[document], offsets[document + 1]
        state = 0
        for at in range(begin, end):
            state = following[state, classes[buffer[at]]]
            if state == 0:
                continue
            ending = state if lengths[state] else shorter[state]
            while ending != 0:
                start = at + 1 - lengths[ending]
                if counts_here(buffer, begin, end, start, at + 1, conditions[ending], characters):
                    found[document] = 1
                    break
                ending = shorter[ending]
            if found[document]:
                break
    return found
