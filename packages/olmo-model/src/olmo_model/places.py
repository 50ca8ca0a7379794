"""Places of files, which are paths or URLs."""

from __future__ import annotations

import re
from pathlib import Path


def is_url(place: str | Path) -> bool:
    """Whether a place is a URL and no path."""
    return re.match(r"[a-z][a-z0-9+.-]*://", str(place)) is not None


def join(folder: str | Path, name: str) -> str:
    """Place of a file below a folder, either of them a path or a URL; a URL and an absolute path stand for
    themselves."""
    if is_url(name) or not is_url(folder):
        return name if is_url(name) else str(Path(folder) / name)
    return name if name.startswith("/") else f"{str(folder).rstrip('/')}/{name}"
