"""Settings of ``tag``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .kinds import Count, Several


@dataclass(frozen=True, kw_only=True)
class TagConfig:
    """Settings of ``tag``."""

    documents: Annotated[tuple[str, ...], Several]
    """Folders with documents/ in them, files or patterns; scores go to attributes/ beside documents/."""

    taggers: Annotated[tuple[str, ...], Several]
    """Names of taggers; see `dolma-data list`."""

    experiment: str | None = None
    """Folder and first part of the keys for all taggers together; default: one folder per tagger, named after it."""

    tagger_modules: Annotated[tuple[Path, ...], Several] = ()
    """Python files with taggers of your own."""

    word_list: Path | None = None
    """Words and phrases for has_naughty_word of c4_v2, one a line."""

    max_failed: Count = 0
    """Lines that may be unreadable (they keep their place in the attributes) before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
