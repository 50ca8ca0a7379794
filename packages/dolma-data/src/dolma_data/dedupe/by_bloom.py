"""Which units a Bloom filter has seen: looked up and added in the order of files and rows, by one process."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ..attributes import encode_json
from ..config.dedupe import BloomFilterConfig, DedupeRule
from ..documents import MANIFEST
from ..errors import UserError
from ..hashes import Hashes
from ..remote_commands import content_of
from .bloom import (
    Addition,
    BloomFilter,
    check_settings,
    expected_rate,
    leftovers,
    read_filter,
    size_filter,
)
from .first_copies import first_copies_of
from .scratch import Scratch

Files = Sequence[tuple[str, str]]  # path and digest of each
log = logging.getLogger(__name__)


def open_filter(config: BloomFilterConfig) -> BloomFilter | None:
    """The filter that lies there, None where there is none yet; before any work."""
    if not Path(config.file).exists():
        if config.read_only:
            raise UserError("no such filter, and it is read only", where=config.file, fix="check the path")
        check_settings(config)
        return None
    held = read_filter(config.file)
    if config.size_in_bytes or config.estimated_doc_count:
        log.info("bloom filter: %s exists, so the settings of its size are not used", config.file)
    return held


def fingerprint(rule: DedupeRule, config: BloomFilterConfig, compat: str | None, old: int, files: Files) -> str:
    """Digest of what a run adds to a filter; the first ``old`` of ``files`` are compared with.

    The filter itself is left out, what it held before, and the folders, since the same run elsewhere gives the same.
    """
    names = [(PurePosixPath(path).name, digest) for path, digest in files]
    settings = [replace(rule, against=()), replace(config, file=""), compat, old, names]
    return "sha256:" + hashlib.sha256(encode_json(settings)).hexdigest()


def finished_counts(held: BloomFilter, run: str, files: Files, targets: Sequence[Path]) -> dict[str, int] | None:
    """The counts of rows in ``targets`` where this very ``run`` has written them and added ``files`` to the filter,
    else None; for nothing is left to do then."""
    if not {(path, digest, run) for path, digest in files} <= {(row.path, row.digest, row.run) for row in held.history}:
        return None
    counts: Counter[str] = Counter()
    for target in targets:
        manifest = json.loads(content_of(target / MANIFEST) or b"{}")
        if [tagger["digest"] for tagger in manifest.get("taggers", ())] != [run]:
            return None
        counts.update(manifest["counts"])
    return dict(counts)


def check_leftovers(held: BloomFilter, config: BloomFilterConfig, files: Files, tolerant: bool) -> None:
    """A filter that already holds one of ``files`` would mark all of it: a UserError unless ``tolerant``, then a
    warning."""
    again = leftovers(held, list(files))
    if not again:
        return
    path, then = again[0]
    what = f"the filter already holds {path} (added as {then}) and {len(again) - 1} other files of this run"
    if not tolerant:
        raise UserError(
            f"{what}, so that everything would be marked",
            where=config.file,
            fix="remove the filter, or name another",
        )
    log.warning("%s: everything in them will be marked (%s)", what, config.file)


def look_up_all(
    config: BloomFilterConfig, held: BloomFilter | None, scratch: Scratch, files: Files, run: str
) -> tuple[BloomFilter, npt.NDArray[np.bool_]]:
    """Look all hashes of ``scratch`` up, adding them unless read only (``files``, by ``run``); which were held, [H]."""
    units = scratch.hashes
    if held is None:
        held = size_filter(config, units)
        count = config.estimated_doc_count or units
        if config.size_in_bytes and not config.estimated_doc_count:
            log.info("bloom filter: size_in_bytes without estimated_doc_count; probes are chosen for %d units", units)
        expected = expected_rate(held.bits, held.probes, max(count, 1))
        log.info("bloom filter: new, %s; %.3g expected with %s units", held.describe(), expected, f"{count:,}")
    else:
        log.info("bloom filter: before, %s", held.describe())
    seen = np.zeros(units, dtype=np.bool_)
    for number, before in scratch.chunks():
        hashes: Hashes = scratch.array(number, "hashes")
        seen[before.hashes : before.hashes + len(hashes)] = held.look_up(hashes, not config.read_only)
    if not config.read_only:
        held.history += [Addition(path, digest, run) for path, digest in files]
        log.info("bloom filter: after, %s", held.describe())
        if config.estimated_doc_count and held.added > config.estimated_doc_count:
            log.warning("bloom filter: sized for %d units, but %d are held", config.estimated_doc_count, held.added)
    return held, seen


def verify(
    seen: npt.NDArray[np.bool_], scratch: Scratch, parts: int, units_before: int
) -> tuple[npt.NDArray[np.bool_], str]:
    """What stays marked after a comparison with the first copies in ``parts``, and a line about it.

    What is seen without one is a false positive where the filter was empty (``units_before`` is 0); otherwise it may
    repeat what the filter held before, and stays.
    """
    verified = np.zeros(len(seen), dtype=np.bool_)
    copied = 0
    for number, before in scratch.chunks():
        copies = first_copies_of(scratch, parts, number) >= 0
        part = slice(before.hashes, before.hashes + len(copies))
        verified[part] = seen[part] & copies
        copied += int(copies.sum())
    found, alone = int(verified.sum()), int((seen & ~verified).sum())
    new = max(len(seen) - copied, 1)
    if units_before:
        line = f"{found} marks verified, {alone} are of what the filter held before (or false positives)"
        return seen, line
    line = f"{found} marks verified, {alone} false positives unmarked ({alone / new:.3g} of {new} new units)"
    return verified, line
