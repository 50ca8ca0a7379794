"""What to train on."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ranges import whole


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What to train on."""

    tokens: str
    """Folder of the tokens artifact."""

    sequence_length: int | None = field(default=None, metadata=whole(2))
    """Tokens of an instance; the model's max_sequence_length where unset."""
