"""Scores of earlier runs, so that a request that was scored is not forwarded again.

A request is named by a digest of everything that its numbers depend on: weights, tokenizer, boundary policy, dtype,
kind of device, versions of torch and transformers, and its token ids. Files are written whole, once, and never changed;
a row with a wrong checksum is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .batches import Scored, Unit
from .files import atomic_write

VERSION = 2  # of the numbers that the engine gives
NAME = ".catwalk-eval-cache"
ROW = np.dtype([("unit", "S16"), ("log_probability", "<f8"), ("greedy", "<u4"), ("checksum", "<u4")])
log = logging.getLogger(__name__)


class Cache:
    """Scores by request, in ``folder``; without a folder nothing is found and nothing kept."""

    def __init__(self, folder: Path | None, key: Mapping[str, Any]) -> None:
        text = json.dumps(key, sort_keys=True)
        self.key = hashlib.blake2b(text.encode(), digest_size=16)
        self.folder = None if folder is None else folder / self.key.hexdigest()

    def find(self, units: Sequence[Unit]) -> dict[int, Scored]:
        """Scores of those of ``units`` that are known, by their place."""
        stored = self._stored()
        if not stored:
            return {}
        found = {}
        for place, unit in enumerate(units):
            row = stored.get(self._digest(unit))
            if row is not None:
                found[place] = Scored(place, row[0], row[1])
        return found

    def keep(self, scores: Iterable[tuple[Unit, Scored]]) -> None:
        """Add scores that are not there yet."""
        if self.folder is None:
            return
        rows = np.array(
            [(self._digest(unit), scored.log_probability, scored.greedy, 0) for unit, scored in scores], dtype=ROW
        )
        if not len(rows):
            return
        rows["checksum"] = [checksum(row) for row in rows]
        with atomic_write(self.folder / f"{secrets.token_hex(8)}.scores") as stream:
            stream.write(rows.tobytes())

    def _stored(self) -> dict[bytes, tuple[float, bool]]:
        stored: dict[bytes, tuple[float, bool]] = {}
        for path in sorted(self.folder.glob("*.scores")) if self.folder is not None else ():
            data = path.read_bytes()
            rows = np.frombuffer(data, dtype=ROW, count=len(data) // ROW.itemsize)
            damaged = len(data) % ROW.itemsize > 0
            for row in rows:
                if row["checksum"] == checksum(row):
                    unit = bytes(row.tobytes()[:16])
                    stored[unit] = (float(row["log_probability"]), bool(row["greedy"]))
                else:
                    damaged = True
            if damaged:
                log.warning("%s: damaged rows are scored again", path)
        return stored

    def _digest(self, unit: Unit) -> bytes:
        total = self.key.copy()
        total.update(len(unit.context).to_bytes(4, "little"))
        total.update(np.array(unit.context, dtype="<u4").tobytes())
        total.update(np.array(unit.continuation, dtype="<u4").tobytes())
        return total.digest()


def checksum(row: np.void) -> int:
    """CRC of a row without its checksum."""
    return zlib.crc32(row.tobytes()[:-4])
