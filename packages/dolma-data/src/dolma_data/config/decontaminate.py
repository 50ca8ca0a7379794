"""Settings of ``decontaminate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .kinds import Count, Several


@dataclass(frozen=True, kw_only=True)
class DecontaminateConfig:
    """Settings of ``decontaminate``."""

    documents: Annotated[tuple[str, ...], Several]
    """Folders with documents/ in them, files or patterns; attributes go to attributes/ beside documents/."""

    decontamination_set: Path
    """Folder of the evaluation text that must not be trained on."""

    name: str = "decontamination"
    """Folder and key of the attributes."""

    max_failed: Count = 0
    """Lines that may be unreadable (they keep their place in the attributes) before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
