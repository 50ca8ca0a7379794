"""The text of a continuation while it grows token by token, and the strings that end it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNFINISHED = "\ufffd"  # what a decoder gives for the bytes of a character that is not whole yet
WINDOW = 16  # ids that are decoded together; one character takes fewer


class ContinuationText:
    """Text after a prompt. ``stop`` are strings that end it; the first of them and all after it is left out."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stop: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.stop = stop
        self.stopped = False
        self.text = ""  # what is sure
        self._held = ""  # what may be the beginning of a stop string
        self._window = list(prompt[-WINDOW:])
        self._taken = len(self._decoded().removesuffix(UNFINISHED))  # characters of the window's text

    def add(self, new: int) -> str:
        """Take the next id; returns the text that is sure with it, which may be empty."""
        self._window.append(new)
        decoded = self._decoded()
        whole = decoded.removesuffix(UNFINISHED)
        piece, self._taken = whole[self._taken :], len(whole)
        if whole == decoded and len(self._window) > WINDOW:
            self._window = self._window[-1:]
            self._taken = len(self._decoded())
        return self._sure(piece)

    def finish(self) -> str:
        """No id follows: the rest of the text, an unfinished character included."""
        if self.stopped:
            return ""
        rest = self._sure(self._decoded()[self._taken :])
        held, self._held = self._held, ""
        self.text += held
        return rest + held

    def _decoded(self) -> str:
        return self.tokenizer.decode(self._window, skip_special_tokens=False)

    def _sure(self, piece: str) -> str:
        held = self._held + piece
        found = [place for place in map(held.find, self.stop) if place >= 0]
        if found:
            self.stopped, sure, self._held = True, held[: min(found)], ""
        else:
            keep = max((overlap(held, stop) for stop in self.stop), default=0)
            sure, self._held = held[: len(held) - keep], held[len(held) - keep :]
        self.text += sure
        return sure


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` with which ``stop`` begins, short of all of it."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
