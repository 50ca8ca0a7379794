"""Settings of ``mix``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from .kinds import Count, Place

Syntax = Literal["jsonpath", "jq"]
Packing = Literal["gz", "zst", "zstd", ""]


@dataclass(frozen=True, kw_only=True)
class MixFilter:
    """Which documents of a stream are kept: those that some include matches (if there are any) and no exclude."""

    include: tuple[str, ...] = ()
    """Rules; without any, all documents are included."""

    exclude: tuple[str, ...] = ()
    """Rules; a document that matches one is left out."""

    syntax: Syntax = "jsonpath"
    """Language of the rules."""


@dataclass(frozen=True, kw_only=True)
class SpanReplacement:
    """Text to put in the place of spans."""

    span: str
    """Path to the spans, such as $.attributes.pii__pii__EMAIL_ADDRESS."""

    replacement: str = ""
    """The text that takes their place; {} in it stands for the text of the span. A leading $ makes the rest a jq
    program that is run on the document and must give a string."""

    min_score: float | None = None
    """Only spans with this score or a higher one."""

    max_score: float | None = None
    """Only spans with a lower score."""

    syntax: Syntax = "jsonpath"
    """Language of the path."""


@dataclass(frozen=True, kw_only=True)
class MixOutput:
    """Where a stream goes."""

    path: Annotated[str, Place.WRITTEN]
    """Folder of the documents artifact; several streams may share it."""

    max_size_in_bytes: int = 2 << 30
    """Input files are put together up to this size (as they lie on disk) into one output file."""

    discard_fields: tuple[str, ...] = ()
    """Top-level fields that are left out, such as attributes."""

    min_text_length: int | None = 0
    """Documents whose trimmed text has fewer UTF-8 bytes after replacement are left out."""


@dataclass(frozen=True, kw_only=True)
class MixCompression:
    """How files are compressed."""

    input: Packing | None = None
    """gz, zst, or an empty text for none; default: by the names of the files."""

    output: Packing | None = None
    """gz, zst, or an empty text for none; default: gz, and with shuffle false as the input is."""


@dataclass(frozen=True, kw_only=True)
class MixStream:
    """Documents that are mixed by the same rules."""

    name: str
    """First part of the output files' names."""

    documents: Annotated[tuple[str, ...], Place.DOCUMENTS]
    """Folders with documents/ in them, files or patterns."""

    output: MixOutput
    """Where the documents go."""

    attributes: tuple[str, ...] = ()
    """Folders under attributes/ to join, or patterns of their names, such as `dedupe_*`."""

    filter: MixFilter | None = None
    """Which documents are kept; default: all."""

    span_replacement: list[SpanReplacement] = field(default_factory=list)
    """What is replaced in the text."""

    compression: MixCompression = MixCompression()
    """How files are compressed."""


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Settings of ``mix``."""

    streams: list[MixStream]
    """What to mix; best written in a file given with -c."""

    shuffle: bool | None = None
    """true: all documents of a stream in one seeded random order. false: one output file for every input file, under
    its name. Default: the order of the input, in files of about max_size_in_bytes."""

    seed: Count = 0
    """Seed of the order."""

    max_failed: Count = 0
    """Lines that may be unreadable (they are listed in quarantine.jsonl) before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    compat: Literal["dolma"] | None = None
    """Reproduce the defects of allenai/dolma that docs/dolma-differences.md lists, and its places of files."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
