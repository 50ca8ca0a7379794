"""Settings of ``reshard``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .kinds import Count, Place, Scratch


@dataclass(frozen=True, kw_only=True)
class ReshardSource:
    """A folder of token files and how often it is taken."""

    prefix: Annotated[Path, Place.READ]
    """Folder that `tokens` wrote, of Dolma or of this program."""

    sample_rate: float = 1.0
    """Copies of every document; of a fraction, that share of the documents by chance (2.25: two copies of all and a
    third of a quarter)."""


@dataclass(frozen=True, kw_only=True)
class ReshardConfig:
    """Settings of ``reshard``."""

    source_prefixes: list[ReshardSource]
    """What is mixed; best written in a file given with -c."""

    destination_prefix: Annotated[Path, Place.WRITTEN]
    """Folder to write the tokens to."""

    max_size_bytes: int | None = None
    """Bytes a file holds at most; a longer document gets a file of its own. Either this or max_num_files."""

    max_num_files: int | None = None
    """Files of about equal size there are at most."""

    random_seed: Count = 42
    """Seed of the order of documents and of the choice among them."""

    tokenizer_name_or_path: Annotated[str | None, Place.READ] = None
    """Tokenizer of the sources; needed where they have no manifest that names it."""

    local_tempdir: Annotated[Path | None, Scratch] = None
    """Folder for intermediate files; default: in the destination."""

    max_workers: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
