"""Scratch folders of interrupted runs: the same command finds what it had, another one begins anew."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from .documents import encode_json
from .files import atomic_write

STATE = "state.json"
log = logging.getLogger(__name__)


def open_scratch(folder: Path, state: object) -> Path:
    """Have ``folder`` hold what a run with the same ``state`` left there, or nothing else than its name.

    The caller has locked what it is for (:mod:`locking`).
    """
    mark = folder / STATE
    text = encode_json(state)
    if not mark.is_file() or mark.read_bytes() != text:
        if mark.is_file():
            log.info("%s: the settings or inputs are others than those of the run that was interrupted", folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with atomic_write(mark) as stream:
            stream.write(text)
    return folder
