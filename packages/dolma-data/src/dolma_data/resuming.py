"""Scratch folders of interrupted runs: the same command finds what it had, another one begins anew.

What is written there need not be on disk after a power cut; without room, the error names the file.
"""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .documents import encode_json
from .files import atomic_write, writing

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


def write_buffers(path: Path, *parts: Any) -> None:
    """Write buffers (bytes, or the data of contiguous arrays) one after the other."""
    write_stream(path, parts)


def write_stream(path: Path, parts: Iterable[Any]) -> None:
    """Write buffers as they come."""
    with writing(path), open(path, "wb") as stream:
        for part in parts:
            stream.write(part)


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """What ``numpy.save`` writes; its own way of writing forgets why it fails."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    write_buffers(path, header.getvalue(), np.ascontiguousarray(array).data)
