"""What both languages of rules take for an array."""

from __future__ import annotations

from typing import Any


def is_array(value: Any) -> bool:
    """Lists, and the tuples as which spans are decoded."""
    return type(value) is list or type(value) is tuple
