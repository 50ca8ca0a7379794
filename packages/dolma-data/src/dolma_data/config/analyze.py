"""Settings of ``analyze``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .kinds import Count, Place, Several


@dataclass(frozen=True, kw_only=True)
class AnalyzeConfig:
    """Settings of ``analyze``."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS]
    """Folders with documents/ in them, files or patterns."""

    output: Annotated[Path, Place.WRITTEN]
    """Folder for analysis.json and analysis.html."""

    domain_field: str = "metadata.url"
    """Field that tells domains: of an address the host counts, of anything else the value."""

    language: bool = True
    """Identify the language of every document (the slowest part)."""

    ngrams: Annotated[tuple[int, ...], Several] = (1, 2, 3, 5, 10)
    """Lengths, in words, of the n-grams whose most frequent ones are listed."""

    top: int = 50
    """How many n-grams and domains are listed."""

    max_failed: Count = 0
    """Lines that may be unreadable before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
