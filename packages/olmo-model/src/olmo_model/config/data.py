"""What to train on."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ranges import whole


@dataclass(frozen=True, kw_only=True)
class InstanceFilterSettings:
    """Leave instances out of the loss that repeat one short piece many times in a row (as OLMo 2 did)."""

    enabled: bool = False
    """Whether to look for them."""

    min_period: int = field(default=1, metadata=whole(1, 1024))
    """Ids of the shortest piece to look for."""

    max_period: int = field(default=13, metadata=whole(1, 1024))
    """Ids of the longest piece to look for."""

    max_count: int = field(default=32, metadata=whole(3))
    """Repetitions in a row from which on an instance is left out."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What to train on."""

    tokens: str
    """Folder of the tokens artifact."""

    sequence_length: int | None = field(default=None, metadata=whole(2))
    """Tokens of an instance; the model's max_sequence_length where unset."""

    instance_filter: InstanceFilterSettings = field(default_factory=InstanceFilterSettings)
    """Which instances are left out of the loss."""
