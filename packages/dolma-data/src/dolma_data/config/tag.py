"""Settings of ``tag``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from .kinds import Count, Place, Several


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """Where the time of a tagger goes."""

    enable: bool = False
    """Run in this process under Python's profiler and report."""

    output: Annotated[Path | None, Place.WRITTEN] = None
    """File for the report; default: standard output."""

    steps: int | None = None
    """Score at most so many lines of each file; a trial, which writes nothing."""

    sort_key: str = "tottime"
    """Order of the report, one of Python's pstats.SortKey."""

    lines: Count = 100
    """Lines of the report."""


@dataclass(frozen=True, kw_only=True)
class TagConfig:
    """Settings of ``tag``."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS]
    """Folders with documents/ in them, files or patterns; scores go to attributes/ beside documents/."""

    taggers: Annotated[tuple[str, ...], Several, Place.READ]
    """Names of taggers; see `dolma-data list`."""

    destination: Annotated[tuple[str, ...], Several, Place.WRITTEN] = ()
    """Folders for the attributes, one for each of documents; default: attributes/NAME beside documents/."""

    experiment: str | None = None
    """Folder and first part of the keys for all taggers together; default: one folder per tagger, named after it."""

    tagger_modules: Annotated[tuple[str, ...], Several, Place.READ] = ()
    """Taggers of your own: Python files, or names of modules that can be imported."""

    resources: Annotated[dict[str, tuple[Path, ...]], Several, Place.READ] = field(default_factory=dict)
    """Files that taggers read, by name of tagger: `--resources.c4_v2 words.txt`; see `dolma-data list`."""

    seed: int = 0
    """Of random_number_v1."""

    compat: Literal["dolma"] | None = None
    """Reproduce the defects of allenai/dolma that docs/dolma-differences.md lists."""

    profile: ProfileConfig = field(default_factory=ProfileConfig)
    """Where the time of a tagger goes."""

    debug: bool = False
    """Work in this process alone, whatever `processes` says."""

    max_failed: Count = 0
    """Lines that may be unreadable (they keep their place in the attributes) before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
