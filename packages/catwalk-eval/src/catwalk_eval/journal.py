"""Scores of finished batches, kept so that a stopped run goes on where it stopped.

Beside them lies what was known when the run first began: it decides which requests are missing, and so what is in which
batch. Another run that adds to the cache meanwhile changes nothing of that.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .batches import Scored
from .errors import UserError
from .files import atomic_write, writing
from .processes import Processes

log = logging.getLogger(__name__)


def known_scores(
    folder: Path, name: str, key: Mapping[str, Any], find: Callable[[], dict[int, Scored]], processes: Processes
) -> dict[int, Scored]:
    """Scores of a task that were known when its run first began, by the place of their request.

    The first process asks ``find`` and keeps the answer in ``folder`` under ``key``; all processes, and the run that
    goes on after this one was stopped, read what it kept.
    """
    path = folder / f"{name}.known.json"
    if processes.rank == 0 and read_known(path, key) is None:
        rows = [[place, scored.log_probability, scored.greedy] for place, scored in find().items()]
        with atomic_write(path) as stream:
            stream.write(json.dumps({"key": dict(key), "scores": rows}).encode())
    processes.wait()
    known = read_known(path, key)
    if known is None:
        raise UserError(
            "the first process's file of known scores is not seen here, or is another run's",
            where=path,
            fix="put --output where all processes see it, and give all of them the same command",
        )
    return known


def read_known(path: Path, key: Mapping[str, Any]) -> dict[int, Scored] | None:
    """What ``known_scores`` kept under ``key``; None where there is nothing, or it is damaged."""
    try:
        stored = json.loads(path.read_bytes())
        if stored["key"] != key:
            return None
        return {int(place): Scored(int(place), float(value), bool(greedy)) for place, value, greedy in stored["scores"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


class Journal:
    """One line a batch, after a first line with the key: everything that the numbers depend on.

    Each of several processes appends to a file of its own, ``NAME.RANK.jsonl``, and reads those of all. A file with
    another key is begun anew. A last line that was cut off is dropped, and so is a damaged one with all that follows.
    ``parts`` is in how many parts this process scored its last batch: more than one after memory ran out.
    """

    def __init__(self, folder: Path, name: str, key: Mapping[str, Any], rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name = folder, name
        self.path = folder / f"{name}.{rank}.jsonl"
        self.header = json.dumps(key, sort_keys=True).encode() + b"\n"
        self.batches: dict[int, list[Scored]] = {}
        self.parts = 1
        size = self._read(self.path, own=True)
        self.gather()
        if self.batches:
            log.info("%s: %d batches are done already", self.path, len(self.batches))
        self.stream = open(self.path, "r+b" if size else "wb")
        self.stream.truncate(size)
        self.stream.seek(0, os.SEEK_END)
        if not size:
            self._append(self.header)

    def gather(self) -> None:
        """Read what the other processes have done."""
        for path in sorted(self.folder.glob(f"{self.name}.*.jsonl")):
            if path != self.path and path.name.removeprefix(f"{self.name}.").removesuffix(".jsonl").isdigit():
                self._read(path, own=False)

    def add(self, batch: int, scores: Sequence[Scored], parts: int = 1) -> None:
        """Keep the scores of batch number ``batch``, on disk before this returns."""
        self.batches[batch] = list(scores)
        rows = [[scored.unit, scored.log_probability, scored.greedy] for scored in scores]
        self._append(json.dumps({"batch": batch, "parts": parts, "scores": rows}).encode() + b"\n")

    def close(self) -> None:
        """Close the file; it stays until the run is complete."""
        with writing(self.path):  # a line that found no room is tried once more
            self.stream.close()

    def _read(self, path: Path, own: bool) -> int:
        """Take the batches of a file; returns the bytes of its whole lines, 0 if it is another run's."""
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        if whole and whole[0] != self.header:
            log.info("%s: scores of other weights, requests or settings lie there; they are not used", path)
            whole = []
        for number, line in enumerate(whole[1:], start=1):
            try:
                row = json.loads(line)
                scores = [Scored(int(unit), float(value), bool(greedy)) for unit, value, greedy in row["scores"]]
                self.batches[int(row["batch"])] = scores
                self.parts = int(row["parts"]) if own else self.parts
            except (ValueError, KeyError, TypeError):
                log.warning("%s, line %d: damaged; what follows is scored again", path, number + 1)
                whole = whole[:number]
                break
        return sum(map(len, whole))

    def _append(self, line: bytes) -> None:
        with writing(self.path):
            self.stream.write(line)
            self.stream.flush()
            os.fsync(self.stream.fileno())
