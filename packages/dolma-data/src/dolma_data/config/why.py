"""Settings of ``why``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal  # noqa: F401

from cyclopts import Parameter

from .kinds import Count, Place, Several
from .mix import MixConfig, MixStream


@dataclass(frozen=True, kw_only=True)
class WhyConfig(MixConfig):
    """Settings of ``why``: those of ``mix``, so that its file explains itself."""

    streams: list[MixStream] = field(default_factory=list)
    """What is or would be mixed; best the file of ``mix``, given with -c."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS] = ()
    """Where to look for the document when there are no streams: folders with documents/ in them, files or patterns."""

    # What has no effect on an account is taken from a file of mix, and not offered.
    shuffle: Annotated[bool | None, Parameter(show=False)] = None
    seed: Annotated[Count, Parameter(show=False)] = 0
    max_failed: Annotated[Count, Parameter(show=False)] = 0
    processes: Annotated[int, Parameter(show=False)] = 1
    dry_run: Annotated[bool, Parameter(show=False)] = False

    source: str | None = None
    """Only the document of this source, where several have one id."""

    json: bool = False
    """Print JSON instead of text."""
