"""Scores of finished batches, kept so that a stopped run goes on where it stopped."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .engine import Scored

log = logging.getLogger(__name__)


class Journal:
    """One line a batch, after a first line with the key: everything that the numbers depend on.

    A file with another key is begun anew. A last line that was cut off is dropped, and so is a damaged one with all
    that follows it.
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        self.path = path
        self.batches: dict[int, list[Scored]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        header = json.dumps(key, sort_keys=True).encode() + b"\n"
        if whole and whole[0] != header:
            log.info("%s: scores of other weights, requests or settings lie there; they are not used", path)
            whole = []
        for number, line in enumerate(whole[1:], start=1):
            try:
                row = json.loads(line)
                scores = [Scored(*scored) for scored in row["scores"]]
                self.batches[row["batch"]] = scores
            except (ValueError, KeyError, TypeError):
                log.warning("%s, line %d: damaged; what follows is scored again", path, number + 1)
                whole = whole[:number]
                break
        if self.batches:
            log.info("%s: %d batches are done already", path, len(self.batches))
        self.stream = open(path, "r+b" if whole else "wb")
        self.stream.truncate(sum(map(len, whole)))
        self.stream.seek(0, os.SEEK_END)
        if not whole:
            self._append(header)

    def add(self, batch: int, scores: Sequence[Scored]) -> None:
        """Keep the scores of batch number ``batch``, on disk before this returns."""
        self.batches[batch] = list(scores)
        rows = [[scored.unit, scored.log_probability, scored.greedy] for scored in scores]
        self._append(json.dumps({"batch": batch, "scores": rows}).encode() + b"\n")

    def close(self) -> None:
        """Close the file; it stays until the run is complete."""
        self.stream.close()

    def _append(self, line: bytes) -> None:
        self.stream.write(line)
        self.stream.flush()
        os.fsync(self.stream.fileno())
