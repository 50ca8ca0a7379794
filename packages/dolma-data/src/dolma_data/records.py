"""Records of provenance that name remote files by their URLs, not by the copies that a command worked on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import provenance
from .locking import locked
from .provenance import Record
from .remote import shown


@contextmanager
def recorded(
    package: str,
    command: str,
    *,
    folder: str | Path,
    config: object,
    inputs: Sequence[str | Path] = (),
    seed: int | None = None,
) -> Iterator[Record]:
    """Write a record into ``folder`` when the block ends, which no other command writes to meanwhile."""
    with (
        locked(folder),
        provenance.recorded(
            package, command, folder=folder, config=config, inputs=inputs, seed=seed, spell=shown
        ) as record,
    ):
        yield record
