"""Settings of the commands, one dataclass each; nothing heavy is imported here, so that ``--help`` is fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from .config_attributes import Count, Several


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Settings of ``extract``."""

    output: Path
    """Folder to write the documents artifact to."""

    source: str | None = None
    """Source of documents that name none; default: the name of the file (line formats) or of the folder given."""

    text_field: str = "text"
    """Field of JSON Lines rows that holds the text."""

    include_tests: bool = False
    """python-docs: take the standard library's own tests too."""

    packages: Annotated[tuple[str, ...], Several] = ()
    """python-docs: only these top-level packages or modules (comma-separated); `topics` is the documentation."""

    max_failed: Count = 0
    """Records that may fail (they are listed in quarantine.jsonl) before the command does."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""


@dataclass(frozen=True, kw_only=True)
class MixFilter:
    """Which documents of a stream are kept: those that some include matches (if there are any) and no exclude."""

    include: tuple[str, ...] = ()
    """Paths; without any, all documents are included."""

    exclude: tuple[str, ...] = ()
    """Paths; a document that matches one is left out."""

    syntax: str = "jsonpath"
    """Language of the paths."""


@dataclass(frozen=True, kw_only=True)
class SpanReplacement:
    """Text to put in the place of spans."""

    span: str
    """Path to the spans, such as $.attributes.pii__pii__EMAIL_ADDRESS."""

    replacement: str = ""
    """The text that takes their place; {} in it stands for the text of the span."""

    min_score: float | None = None
    """Only spans with this score or a higher one."""

    max_score: float | None = None
    """Only spans with a lower score."""

    syntax: str = "jsonpath"
    """Language of the path."""


@dataclass(frozen=True, kw_only=True)
class MixOutput:
    """Where a stream goes."""

    path: Path
    """Folder of the documents artifact; several streams may share it."""

    max_size_in_bytes: int = 2 << 30
    """Input files are put together up to this size (as they lie on disk) into one output file."""

    discard_fields: tuple[str, ...] = ()
    """Top-level fields that are left out, such as attributes."""

    min_text_length: int = 0
    """Documents whose trimmed text has fewer UTF-8 bytes after replacement are left out."""


@dataclass(frozen=True, kw_only=True)
class MixCompression:
    """How files are compressed."""

    output: str = "gz"
    """gz, zst, or an empty text for none."""


@dataclass(frozen=True, kw_only=True)
class MixStream:
    """Documents that are mixed by the same rules."""

    name: str
    """First part of the output files' names."""

    documents: tuple[str, ...]
    """Folders with documents/ in them, files or patterns."""

    output: MixOutput
    """Where the documents go."""

    attributes: tuple[str, ...] = ()
    """Folders under attributes/ to join."""

    filter: MixFilter | None = None
    """Which documents are kept; default: all."""

    span_replacement: list[SpanReplacement] = field(default_factory=list)
    """What is replaced in the text."""

    compression: MixCompression = MixCompression()
    """How the output is compressed."""


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Settings of ``mix``."""

    streams: list[MixStream]
    """What to mix; best written in a file given with -c."""

    max_failed: Count = 0
    """Lines that may be unreadable (they are listed in quarantine.jsonl) before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""


@dataclass(frozen=True, kw_only=True)
class TrainTokenizerConfig:
    """Settings of ``train-tokenizer``."""

    documents: Annotated[tuple[str, ...], Several]
    """Folders with documents/ in them, files or patterns."""

    vocab_size: int
    """Number of ids, special tokens included."""

    output: Path
    """Folder to write the tokenizer to."""

    eos_token: str = "<|endoftext|>"
    """Ends every document; gets id 0."""

    pad_token: str = "<|padding|>"
    """Fills up batches; gets id 1."""

    max_failed: Count = 0
    """Lines that may be unreadable before the command fails."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """Which tokenizer to use."""

    name_or_path: Path
    """tokenizer.json, or the folder that holds it."""

    eos_token_id: int | None = None
    """Put after every document; default: the id of a well-known end-of-text token."""

    pad_token_id: int | None = None
    """Recorded for batching; default: the id of a well-known padding token, else that of the end of text."""


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """Settings of ``tokens``."""

    documents: Annotated[tuple[str, ...], Several]
    """Folders with documents/ in them, files or patterns."""

    destination: Path
    """Folder to write the tokens to."""

    tokenizer: TokenizerSettings
    """Which tokenizer to use."""

    dtype: str | None = None
    """uint16 or uint32; must be what the vocabulary asks for, which is also the default."""

    max_size: int = 1 << 30
    """Tokens a file holds at most; a longer document gets a file of its own."""

    seed: Count = 3920
    """Seed of the order of documents."""

    max_failed: Count = 0
    """Lines that may be unreadable before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
