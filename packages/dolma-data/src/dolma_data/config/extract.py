"""Settings of ``extract``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .kinds import Count, Place, Several


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Settings of ``extract``."""

    output: Annotated[Path, Place.WRITTEN]
    """Folder to write the documents artifact to."""

    source: str | None = None
    """Source of documents that name none; default: the name of the file (line formats) or of the folder given."""

    text_field: str = "text"
    """Field of JSON Lines rows that holds the text."""

    include_tests: bool = False
    """python-docs: take the standard library's own tests too."""

    packages: Annotated[tuple[str, ...], Several] = ()
    """python-docs: only these top-level packages or modules (comma-separated); `topics` is the documentation."""

    repeated_ids: Literal["refuse", "number"] = "refuse"
    """Of documents of one source with the same id: `refuse` stops; `number` gives every one but the first its number,
    `ID#2`, `ID#3` and so on, in the order of the inputs."""

    max_failed: Count = 0
    """Records that may fail (they are listed in quarantine.jsonl) before the command does."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
