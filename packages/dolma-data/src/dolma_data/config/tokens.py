"""Settings of ``tokens`` and ``train-tokenizer``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .kinds import Count, Several


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
