"""Settings of ``run``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from .kinds import Several


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings of ``run``."""

    output: Path
    """Folder for everything the recipe makes."""

    documents: Annotated[tuple[str, ...], Several] = ()
    """Folders with documents/ in them, files or patterns; scores go to attributes/ beside documents/."""

    input: Annotated[tuple[str, ...], Several] = ()
    """Raw files or folders in place of `documents`: they are extracted into the output folder first."""

    set: dict[str, str] = field(default_factory=dict)
    """Variables of the recipe: `--set.minimum_words 20`."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the steps with their settings as YAML and stop."""
