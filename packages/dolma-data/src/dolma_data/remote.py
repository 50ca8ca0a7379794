"""Commands that take URLs (``s3://`` and whatever else fsspec opens) wherever they take paths; see :mod:`mirror`."""

from __future__ import annotations

import dataclasses
import functools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A Path keeps one of the two slashes. `fasttext:/a/model` is a tagger.
URL = re.compile(r"(?!fasttext:)([a-z][a-z0-9+]+):/+(.+)", re.DOTALL)
MIRRORS = "dolma-data-remote"


def split_url(value: object) -> tuple[str, str] | None:
    """``(scheme, path)`` of a setting that is a URL, else None."""
    found = URL.fullmatch(str(value)) if isinstance(value, str | Path) else None
    return None if found is None else (found[1], found[2].rstrip("/"))


def holds_url(value: Any) -> bool:
    """Whether settings name anything by a URL."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(holds_url(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, dict):
        return any(map(holds_url, value.values()))
    return any(map(holds_url, value)) if isinstance(value, tuple | list) else split_url(value) is not None


REMOTE = "is remote, so that a dry run does not look at it"


def mirrors() -> Path:
    """The folder of all mirrors."""
    return Path(tempfile.gettempdir()).resolve() / MIRRORS


def shown(text: str) -> str:
    """``text`` with URLs instead of places in a mirror."""
    if MIRRORS not in text:
        return text
    return re.sub(re.escape(str(mirrors())) + "/[0-9a-f]{16}/([a-z][a-z0-9+]+)/", r"\1://", text)


def remote_paths(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take URLs wherever its arguments and settings name files."""

    @functools.wraps(command)
    def run(*arguments: Any, **named: Any) -> None:
        dry = any(getattr(value, "dry_run", False) for value in (*arguments, *named.values()))
        if dry or not holds_url([arguments, named]):  # a dry run fetches nothing
            return command(*arguments, **named)
        from .mirror import run_mirrored

        return run_mirrored(command, arguments, named)

    return run
