"""Settings of ``warc``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from .kinds import Count, Place, Several


@dataclass(frozen=True, kw_only=True)
class WarcTaggers:
    """Taggers that score pages while they are extracted."""

    taggers: Annotated[tuple[str, ...], Several, Place.READ] = ()
    """Names of taggers; their spans stand in `attributes` of the documents."""

    skip: bool = False
    """Leave out documents for which none of them has a span."""


@dataclass(frozen=True, kw_only=True)
class WarcConfig:
    """Settings of ``warc``."""

    documents: Annotated[tuple[str, ...], Several, Place.READ]
    """Archives (WARC, WET, ARC), folders of them, or patterns."""

    destination: Annotated[tuple[str, ...], Several, Place.WRITTEN]
    """Folder for the documents: one for all, or one for each of `documents`."""

    source_name: str
    """Source of the documents."""

    linearizer: Literal["resiliparse", "trafilatura"] = "resiliparse"
    """What finds the main text: resiliparse is fast, trafilatura leaves out more of what surrounds it."""

    pre: WarcTaggers = field(default_factory=WarcTaggers)
    """Before extraction, when a document has an empty text and the page in metadata.html."""

    post: WarcTaggers = field(default_factory=WarcTaggers)
    """After extraction."""

    store_html_in_metadata: bool = False
    """Keep the page in metadata.html."""

    tagger_modules: Annotated[tuple[str, ...], Several, Place.READ] = ()
    """Taggers of your own: Python files, or names of modules that can be imported."""

    resources: Annotated[dict[str, tuple[Path, ...]], Several, Place.READ] = field(default_factory=dict)
    """Files that taggers read, by name of tagger."""

    seed: int = 0
    """Of random_number_v1."""

    compat: Literal["dolma"] | None = None
    """Reproduce the defects of allenai/dolma that docs/dolma-differences.md lists."""

    debug: bool = False
    """Work in this process alone, whatever `processes` says."""

    max_failed: Count = 0
    """Records that may fail (they are listed in quarantine.jsonl) before the command does."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
