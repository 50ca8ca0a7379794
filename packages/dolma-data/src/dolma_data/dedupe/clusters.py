"""Near duplicates of documents, second half: bands that agree, clusters with their first document kept.

The documents that agree in a band are found band by band, where there are many of them in parts by the value of its
key: units of work that share nothing but the files of the chunks. What they find is little, and is joined to clusters
in one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..batch import Integers
from ..config.dedupe import MinHashRule
from ..execute import map_ordered
from ..kernels.minhash import find_roots, jaccard, join
from ..resuming import write_buffers
from .by_hash import Marks
from .columns import Columns, write_columns
from .scratch import Before, Scratch, saved_scratch
from .units import UnitChunk

BYTES_PER_KEY = 100  # of memory: key, its place, both in order, groups, pairs
MEMORY = 1 << 29
PAIRS = 1 << 16  # compared at a time
ROOT, DOCUMENT = "root", "document"  # columns over all spans: the first of the cluster, and its document


@dataclass(frozen=True)
class Band:
    """Keys of one band whose upper 32 bits, as a share of ``parts``, are in part ``part``."""

    band: int
    part: int
    parts: int


@dataclass(frozen=True)
class ClusterMarker:
    """Marks the documents of any chunk that belong to the cluster of an earlier one."""

    rule: MinHashRule

    def marks_of(self, scratch: Scratch, number: int, chunk: UnitChunk, before: Before) -> Marks:
        """Marks of chunk ``number``."""
        end = before.spans + len(chunk.starts)
        roots = scratch.part_of_column(ROOT, np.int64, before.spans, end)
        firsts = scratch.part_of_column(DOCUMENT, np.int64, before.spans, end)
        places = np.arange(before.spans, end)
        again = np.flatnonzero(roots != places)
        owners = np.flatnonzero(chunk.spans)[again]
        scores = similarity(self.rule, scratch, places[again], roots[again])
        return Marks(owners, chunk.starts[again], chunk.ends[again], scores, firsts[again])


def find_clusters(rule: MinHashRule, scratch: Scratch, processes: int) -> str:
    """Find the clusters of all documents, for :class:`ClusterMarker`; returns how many there are and how large."""
    scratch.save()
    if rule.verify:
        gather(scratch, "shingles")
        counts = [scratch.array(number, "shingle_counts") for number, _ in scratch.chunks()]
        scratch.save_column("shingle_edges", np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *counts])))
    else:
        gather(scratch, "signatures")
    documents = [scratch.array(number, "owners") + before.documents for number, before in scratch.chunks()]
    document = np.concatenate([np.zeros(0, dtype=np.int64), *documents])
    roots = np.arange(len(document), dtype=np.int64)
    parts = max(1, -(-len(roots) * BYTES_PER_KEY // MEMORY))
    bands = [Band(band, part, parts) for band in range(rule.bands) for part in range(parts)]
    for path in map_ordered(partial(find_pairs, rule, scratch.folder), bands, min(processes, len(bands))):
        with Columns(path) as pairs:
            join(roots, pairs.read("members"), pairs.read("firsts"))
        path.unlink()
    find_roots(roots)
    scratch.save_column(ROOT, roots)
    scratch.save_column(DOCUMENT, document[roots])
    sizes = np.bincount(roots, minlength=1)
    sizes = sizes[sizes > 1]
    return f"{len(sizes)} clusters of near duplicates, the largest of {int(sizes.max(initial=0))} documents"


def gather(scratch: Scratch, name: str) -> None:
    """One column of all chunks in a file, to be mapped into memory."""
    write_buffers(scratch.column_path(name), *(scratch.array(number, name).data for number, _ in scratch.chunks()))


def find_pairs(rule: MinHashRule, folder: Path, unit: Band) -> Path:
    """Write the spans that have the key of an earlier one in a band, and the first that has it."""
    scratch = saved_scratch(folder)
    keys, places = _keys_of(scratch, unit)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = ordered[1:] != ordered[:-1]
    group = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    members, firsts = places[order[~begins]], places[order[group[~begins]]]
    if rule.min_similarity > 0 and len(members):
        alike = similarity(rule, scratch, members, firsts) >= rule.min_similarity
        members, firsts = members[alike], firsts[alike]
    path = folder / f"band-{unit.band}-{unit.part}.pairs"
    write_columns(path, {"members": members, "firsts": firsts})
    return path


def _keys_of(scratch: Scratch, unit: Band) -> tuple[npt.NDArray[np.uint64], Integers]:
    """Keys of a unit and their places among all spans, in order."""
    found = list(_keys_by_chunk(scratch, unit))
    if not found:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    return np.concatenate([keys for keys, _ in found]), np.concatenate([places for _, places in found])


def _keys_by_chunk(scratch: Scratch, unit: Band) -> Iterator[tuple[npt.NDArray[np.uint64], Integers]]:
    for number, before in scratch.chunks():
        with scratch.columns(number) as columns:
            keys = columns.read("keys", unit.band, unit.band + 1)[0]
        places = np.arange(before.spans, before.spans + len(keys))
        if unit.parts > 1:
            mine = (keys >> np.uint64(32)) * np.uint64(unit.parts) >> np.uint64(32) == unit.part
            keys, places = keys[mine], places[mine]
        yield keys, places


def similarity(rule: MinHashRule, scratch: Scratch, members: Integers, others: Integers) -> npt.NDArray[np.float64]:
    """Jaccard similarity of pairs of spans, estimated or exact, [M]."""
    if rule.verify:
        shingles, edges = _mapped(scratch, "shingles", np.uint64), _mapped(scratch, "shingle_edges", np.int64)
        exact: npt.NDArray[np.float64] = jaccard(shingles, edges, members, others)
        return exact
    signatures = _mapped(scratch, "signatures", np.uint32).reshape(-1, rule.bands * rule.rows)
    found = np.empty(len(members), dtype=np.float64)
    for begin in range(0, len(members), PAIRS):
        part = slice(begin, begin + PAIRS)
        found[part] = (signatures[members[part]] == signatures[others[part]]).mean(axis=1)
    return found


def _mapped(scratch: Scratch, name: str, kind: Any) -> Any:
    path = scratch.column_path(name)
    return np.asarray(np.memmap(path, dtype=kind, mode="r")) if path.stat().st_size else np.zeros(0, dtype=kind)
