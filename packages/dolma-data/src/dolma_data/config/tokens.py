"""Settings of ``tokens`` and ``train-tokenizer``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .kinds import Count, Place, Scratch, Several


@dataclass(frozen=True, kw_only=True)
class TrainTokenizerConfig:
    """Settings of ``train-tokenizer``."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS]
    """Folders with documents/ in them, files or patterns."""

    vocab_size: int
    """Number of ids, special tokens included."""

    output: Annotated[Path, Place.WRITTEN]
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

    name_or_path: Annotated[str, Place.READ]
    """tokenizer.json, the folder that holds it, or OWNER/NAME of the Hugging Face hub."""

    bos_token_id: Count | None = None
    """Put before every document that does not begin with it; default: nothing."""

    eos_token_id: int | None = None
    """Put after every document that does not end with it; default: the id of a well-known end-of-text token."""

    pad_token_id: int | None = None
    """Recorded for batching; default: the id of a well-known padding token, else that of the end of text."""

    segment_before_tokenization: bool = False
    """Encode each line by itself, together with the line ends before it."""

    encode_special_tokens: bool | None = None
    """Text that spells a special token is text; with compat dolma only where this is true, else it is the token."""


@dataclass(frozen=True, kw_only=True)
class FieldSettings:
    """Where text and id of a document stand."""

    text_field_name: str = "text"
    """Field of the text; dots lead into objects."""

    text_field_type: Literal["str", "string"] = "str"
    """Type of the text: a string, and no other is taken."""

    id_field_name: str | None = "id"
    """Field of the id; null: the SHA-256 of the path of the file, a hyphen and the line."""

    id_field_type: Literal["str", "string", "int", "integer", "float", "number"] = "str"
    """Type of the id."""


@dataclass(frozen=True, kw_only=True)
class TokensWorkDir:
    """Where intermediate files lie."""

    output: Annotated[Path | None, Scratch] = None
    """Folder for what is encoded until it is put in order; default: beside the destination."""


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """Settings of ``tokens``."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS]
    """Folders with documents/ in them, files or patterns."""

    destination: Annotated[Path, Place.WRITTEN]
    """Folder to write the tokens to."""

    tokenizer: TokenizerSettings | None = None
    """Which tokenizer to use."""

    tokenizer_name_or_path: Annotated[str | None, Place.READ] = None
    """Old spelling of tokenizer.name_or_path; then the end of text is the last id of the vocabulary."""

    dtype: str | None = None
    """uint16 or uint32; must be what the vocabulary asks for, which is also the default."""

    max_size: int = 1 << 30
    """Tokens a file holds at most; a longer document gets a file of its own."""

    seed: Count = 3920
    """Seed of the order of documents."""

    fields: FieldSettings = FieldSettings()
    """Where text and id of a document stand."""

    work_dir: TokensWorkDir = TokensWorkDir()
    """Where intermediate files lie."""

    compat: Literal["dolma"] | None = None
    """Reproduce what docs/dolma-differences.md lists: text is stripped, special tokens in it are tokens."""

    max_failed: Count = 0
    """Lines that may be unreadable before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    debug: bool = False
    """Work in this process alone, whatever processes says."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
