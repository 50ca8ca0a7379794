"""Settings of ``models``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .kinds import Models, Place


@dataclass(frozen=True, kw_only=True)
class ModelListConfig:
    """Settings of ``models list``."""

    folder: Annotated[Path | None, Models] = None
    """Folder of models; default: dolma-data/models in the user's cache folder."""


@dataclass(frozen=True, kw_only=True)
class ModelGetConfig:
    """Settings of ``models get``."""

    source: Annotated[Path | None, Parameter(name="--from"), Place.READ] = None
    """A file that holds the model, for machines without a network."""

    download: bool = False
    """Fetch the model from its origin."""

    folder: Annotated[Path | None, Models] = None
    """Folder of models; default: dolma-data/models in the user's cache folder, where taggers look."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
