"""Where the characters of a normalised text come from in the text before."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

LAST_COMPOSED = 0x30000  # code points from here on compose with none before
HANGUL_SECONDS = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))  # vowels and final consonants
Places = npt.NDArray[np.int64]


def normal_form(text: str, normalizer: Any) -> tuple[str, Places, Places]:
    """The text after a normalizer of the tokenizers library (None for none), and for each of its characters the first
    character of ``text`` that it was made of, and the one behind the last.

    A character and what composes with it (Unicode Standard Annex 15) are normalised independently of their neighbours:
    where that changes them, each character of the result comes from all of them.
    """
    forms: list[str] = []
    begins: list[Places] = []
    ends: list[Places] = []

    def add(start: int, end: int, *, composed: bool) -> None:
        raw = text[start:end]
        form = raw if normalizer is None else normalizer.normalize_str(raw)
        if form == raw:
            begins.append(np.arange(start, end))
            ends.append(np.arange(start + 1, end + 1))
        elif composed:
            begins.append(np.full(len(form), start))
            ends.append(np.full(len(form), end))
        else:
            for place in range(start, end):
                add(place, place + 1, composed=True)
            return
        forms.append(form)

    done = 0
    for match in _composing_runs(text):
        start = max(match.start() - 1, done)  # the character before may take them in
        if done < start:
            add(done, start, composed=False)
        add(start, match.end(), composed=True)
        done = match.end()
    if done < len(text):
        add(done, len(text), composed=False)
    empty = [np.empty(0, dtype=np.int64)]
    return "".join(forms), np.concatenate(begins or empty), np.concatenate(ends or empty)


def _composing_runs(text: str) -> list[re.Match[str]]:
    composing = sorted(filter(_composes, set(text)))
    return list(re.finditer(f"[{''.join(map(re.escape, composing))}]+", text)) if composing else []


def _composes(character: str) -> bool:
    """Whether it may change what stands before it; so may one that this Python's Unicode version does not know."""
    return ord(character) >= 0xC0 and (
        unicodedata.combining(character) != 0
        or ord(character) in _seconds()
        or unicodedata.category(character) == "Cn"
        or not unicodedata.is_normalized("NFC", character)
    )


@lru_cache(maxsize=1)
def _seconds() -> frozenset[int]:
    """Second characters of canonical compositions."""
    parts = (unicodedata.decomposition(chr(point)) for point in range(0xC0, LAST_COMPOSED))
    seconds = (int(part.split()[1], 16) for part in parts if " " in part and not part.startswith("<"))
    return frozenset((*HANGUL_SECONDS, *seconds))
