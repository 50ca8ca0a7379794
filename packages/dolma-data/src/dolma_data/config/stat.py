"""Settings of ``stat``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .kinds import Place, Several


@dataclass(frozen=True, kw_only=True)
class StatConfig:
    """Settings of ``stat``."""

    attributes: Annotated[tuple[Path, ...], Several, Place.READ]
    """Folders X/attributes/NAME."""

    report: Annotated[Path | None, Place.WRITTEN] = None
    """Folder for summaries.jsonl.gz and index.html, a page with plots; default: the table alone."""

    regex: str | None = None
    """Only keys in which this regular expression is found."""

    total: bool = False
    """Show the sums in the table too."""

    bins: int = 1000
    """Bins of each histogram."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
