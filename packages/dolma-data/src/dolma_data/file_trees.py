"""The files below a folder that a command is to read: all of them, or an error that names what keeps one away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .errors import UserError


def files_below(folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The files below ``folder`` whose name is ``wanted``, sorted by their path; links are followed, to folders too.

    Raises UserError for a link that leads nowhere or back to a folder above it, and for a name that is no text;
    OSError for a folder that cannot be listed. (``Path.rglob`` passes over all of them without a word.)
    """
    found = []
    above: dict[str, tuple[str, ...]] = {str(folder): (os.path.realpath(folder),)}  # real folders down to each
    for here, folders, names in os.walk(folder, onerror=_stop, followlinks=True):
        trail = above.pop(here)
        for name in folders:
            below = os.path.join(here, name)  # noqa: PTH118 (as os.walk will call it)
            real = os.path.realpath(below)
            if real in trail:
                raise UserError("the link leads back to a folder above it", where=below, fix="remove the link")
            above[below] = (*trail, real)
        found += [Path(here, name) for name in names if wanted(name)]
    for path in found:
        if not path.exists():
            raise UserError("the link leads nowhere", where=path, fix="restore the file or remove the link")
        check_name(path)
    return sorted((path for path in found if path.is_file()), key=Path.as_posix)


def _stop(error: OSError) -> NoReturn:
    raise error


def check_name(path: Path) -> None:
    """Raise UserError for a name that is no text: nothing that is written about the file could name it."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="replace")
        raise UserError("the name of the file is not UTF-8", where=shown, fix="rename it") from error
