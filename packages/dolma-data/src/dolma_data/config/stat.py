"""Settings of ``stat``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .kinds import Several


@dataclass(frozen=True, kw_only=True)
class StatConfig:
    """Settings of ``stat``."""

    attributes: Annotated[tuple[Path, ...], Several]
    """Folders X/attributes/NAME."""

    report: Path
    """Folder for summaries.jsonl.gz."""

    bins: int = 1000
    """Bins of each histogram."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
