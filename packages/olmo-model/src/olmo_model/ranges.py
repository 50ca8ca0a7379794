"""Ranges of settings: declared beside each field, checked when the settings are made."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UserError

LARGEST_SEED = 2**63 - 1
LARGEST = 2**62  # of a whole number without a bound of its own: what fits the machine's words, in pairs too
KEY = "range"


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from ``low`` to ``high``, the ends themselves only where they are not ``open``."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    whole: bool = False

    def holds(self, value: object) -> bool:
        """Whether ``value`` is such a number; NaN and the infinite are in no range."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below and (isinstance(value, int) or math.isfinite(value))

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f" above {self.low}" if self.low_open else f" from {self.low}"
        high = f" to below {self.high}" if self.high_open else f" to {self.high}"
        return kind + low + ("" if self.high in (math.inf, LARGEST) else high)


def whole(low: int, high: int = LARGEST) -> Mapping[str, Any]:
    """Metadata of a field: a whole number from ``low`` to ``high``."""
    return {KEY: Range(low=low, high=high, whole=True)}


@dataclass(frozen=True)
class Stretches:
    """Whole numbers from 1 on, singly or as stretches: 3, "3", "10-20" (both ends belong to it), "3,10-20"."""

    def holds(self, value: object) -> bool:
        """Whether ``value`` is such a number or such a text."""
        try:
            return bool(self.read(value))
        except ValueError:
            return False

    def read(self, value: object) -> list[range]:
        """The numbers; ValueError for anything else."""
        found = []
        for part in str(value).split(","):
            match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not 1 <= first <= last <= LARGEST:
                raise ValueError(part)
            found.append(range(first, last + 1))
        return found

    def __str__(self) -> str:
        return "a whole number from 1, or a range like 10-20"


def stretches() -> Mapping[str, Any]:
    """Metadata of a field: whole numbers from 1 on, singly or as ranges."""
    return {KEY: Stretches()}


def number(low: float, high: float = math.inf, *, below: bool = False) -> Mapping[str, Any]:
    """Metadata of a field: a number from ``low`` to ``high``, which itself is left out with ``below``."""
    return {KEY: Range(low=low, high=high, high_open=below)}


def above(low: float) -> Mapping[str, Any]:
    """Metadata of a field: a number above ``low``."""
    return {KEY: Range(low=low, low_open=True)}


def check_ranges(settings: object, where: str, prefix: str = "") -> None:
    """Check every field with a range, also in the dataclasses inside; None is right where the type allows it.

    The first that lies outside is a UserError with its dotted key, its value and the range.
    """
    assert dataclasses.is_dataclass(settings)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, where, f"{prefix}{field.name}.")
        elif KEY in field.metadata and (value is not None or "None" not in str(field.type)):
            allowed = field.metadata[KEY]
            if not all(map(allowed.holds, value if isinstance(value, (tuple, list)) else [value])):
                raise UserError(f"{prefix}{field.name} is {value!r}", where=where, fix=f"give {allowed}")
