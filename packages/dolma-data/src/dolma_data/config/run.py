"""Settings of ``run``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from .kinds import Count, Place, Several


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings of ``run``."""

    output: Annotated[Path, Place.KEPT]
    """Folder for everything the recipe makes."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS] = ()
    """Folders with documents/ in them, files or patterns; scores go to attributes/ beside documents/."""

    input: Annotated[tuple[str, ...], Several, Place.READ] = ()
    """Raw files or folders in place of `documents`: they are extracted into the output folder first."""

    repeated_ids: Literal["refuse", "number"] = "refuse"
    """Of raw files with the same id twice in a source: `refuse` stops, `number` makes the second `ID#2`."""

    max_failed: Count = 0
    """Records that may fail (they are listed in quarantine.jsonl) in a step before the recipe does."""

    set: dict[str, str] = field(default_factory=dict)
    """Variables of the recipe: `--set.minimum_words 20`."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the steps with their settings as YAML and stop."""
