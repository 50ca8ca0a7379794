"""Guesses of what comes next, taken from what stands before: where the last tokens occurred already, what followed
them there ("prompt lookup"; Saxena 2023). They cost nothing, and a model that checks them (Leviathan et al. 2023) adds
several tokens in one pass where they are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LENGTHS = (8, 4)  # of the n-grams that are looked up, the longest first
FIRST, MOST = 7, 15  # guesses at once, at first and at most
ENOUGH = 2  # right guesses that are worth a pass over several tokens, which takes about as long as two over one
LONGEST_PAUSE = 32  # passes without guesses after they failed


@dataclass
class Accepted:
    """What became of the guesses so far."""

    passes: int = 0
    """Passes of the model over new tokens of a sequence."""
    guessed: int = 0
    """Tokens guessed."""
    accepted: int = 0
    """Tokens guessed that the model chose."""

    def add(self, guessed: int, accepted: int) -> None:
        """A pass over a sequence."""
        self.passes += 1
        self.guessed += guessed
        self.accepted += accepted


class Lookup:
    """What may follow a sequence, by its own n-grams.

    As many tokens are guessed as were right the last time and one more, or twice as many where all were; after too few
    right ones there are none for a while, which doubles each time.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        """``ids`` of the prompt."""
        self.ids: list[int] = []
        self.followed: dict[tuple[int, ...], int] = {}  # n-gram: where what followed its last occurrence begins
        self.reach, self.pause, self.waiting = FIRST, 0, 0
        self.add(ids)

    def add(self, ids: Sequence[int]) -> None:
        """Tokens that were added to the sequence."""
        for number in ids:
            for length in LENGTHS:
                if len(self.ids) >= length:
                    self.followed[tuple(self.ids[-length:])] = len(self.ids)
            self.ids.append(number)

    def guess(self, most: int) -> list[int]:
        """At most ``most`` tokens that may follow; what ran up to the end of the sequence is taken to go on."""
        if self.waiting or most < 1:
            self.waiting = max(self.waiting - 1, 0)
            return []
        for length in LENGTHS:
            start = self.followed.get(tuple(self.ids[-length:]))
            if start is not None:
                known = self.ids[start:]
                return [known[place % len(known)] for place in range(min(most, self.reach))]
        return []

    def learn(self, guessed: int, accepted: int) -> None:
        """How many of the last guesses were right."""
        if guessed and accepted >= min(ENOUGH, guessed):
            self.reach = min(2 * self.reach if accepted == guessed else accepted + 1, MOST)
            self.pause = 0
        elif guessed:
            self.reach = max(self.reach // 2, ENOUGH)
            self.pause = self.waiting = min(2 * self.pause + 1, LONGEST_PAUSE)
