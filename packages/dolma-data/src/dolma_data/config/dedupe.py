"""Settings of ``dedupe``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter

from .kinds import Count, Several


@dataclass(frozen=True, kw_only=True)
class DocumentKey:
    """Whole documents are the unit."""

    attribute_name: str
    """Key of the attributes."""

    key: str = "$.text"
    """What makes two documents the same: a field, such as $.text, $.id or $.metadata.url."""


@dataclass(frozen=True, kw_only=True)
class ParagraphKey:
    """Paragraphs are the unit."""

    attribute_name: str
    """Key of the attributes."""

    paragraph_separator: Annotated[str, Parameter(show_default=repr)] = "\n"
    """What stands between two paragraphs; it belongs to the span of the one before."""


@dataclass(frozen=True, kw_only=True)
class DedupeRule:
    """What is repeated where; exactly one of documents and paragraphs."""

    name: str | None = None
    """Folder of the attributes; default: the attribute name."""

    documents: DocumentKey | None = None
    """Find repeated documents."""

    paragraphs: ParagraphKey | None = None
    """Find repeated paragraphs."""

    min_length: int = 0
    """Units of fewer characters (code points) are left alone."""

    min_words: int = 0
    """Units of fewer words (those of Unicode Standard Annex 29 that hold a letter or digit) are left alone."""

    skip_empty: bool = False
    """Units that are blank are left alone."""


@dataclass(frozen=True, kw_only=True)
class DedupeConfig:
    """Settings of ``dedupe``."""

    documents: Annotated[tuple[str, ...], Several]
    """Folders with documents/ in them, files or patterns; attributes go to attributes/ beside documents/."""

    dedupe: DedupeRule = field(default_factory=DedupeRule)
    """What is repeated where."""

    max_failed: Count = 0
    """Lines that may be unreadable (they keep their place in the attributes) before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
