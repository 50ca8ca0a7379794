"""Near duplicates of documents: MinHash signatures, bands that agree, clusters with their first document kept.

Broder 1997 ("On the resemblance and containment of documents"); bands and their theory as in Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, section 3.4.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..annotate import Chunk
from ..batch import Integers
from ..config.dedupe import DedupeRule, MinHashRule
from ..errors import UserError
from ..kernels.minhash import band_keys, find_roots, folded_characters, jaccard, join, shingle, sign
from .by_hash import Marks
from .scratch import Scratch
from .units import Spans, UnitChunk, document_spans, make_chunk

PAIRS = 1 << 16  # compared at a time
CURVE = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
Signatures = npt.NDArray[np.uint32]  # [N, bands * rows]
log = logging.getLogger(__name__)


def check_settings(rule: MinHashRule) -> None:
    """UserError for numbers that make no sense."""
    for name in ("bands", "rows", "shingle_length"):
        if getattr(rule, name) < 1:
            raise UserError(f"dedupe.minhash.{name} is {getattr(rule, name)}", fix="give 1 or more")
    if not 0.0 <= rule.min_similarity <= 1.0:
        raise UserError(f"dedupe.minhash.min_similarity is {rule.min_similarity}", fix="give a share from 0 to 1")


def found_share(similarity: float, bands: int, rows: int) -> float:
    """Probability that a pair of this Jaccard similarity agrees in a whole band: 1 - (1 - s^rows)^bands."""
    return float(1 - (1 - similarity**rows) ** bands)


def curve(rule: MinHashRule) -> str:
    """The theory curve in one line."""
    points = ", ".join(f"{s:.2f}: {found_share(s, rule.bands, rule.rows):.4f}" for s in CURVE)
    steepest = (1 / rule.bands) ** (1 / rule.rows)
    return f"{rule.bands} bands of {rule.rows}, pairs found by similarity: {points}; steepest near {steepest:.3f}"


def permutations(rule: MinHashRule) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Odd factors and terms of the permutations, from the seed."""
    random = np.random.Generator(np.random.PCG64(rule.seed))
    count = rule.bands * rule.rows
    factors = random.integers(0, 1 << 64, count, dtype=np.uint64) | np.uint64(1)
    return factors, random.integers(0, 1 << 64, count, dtype=np.uint64)


def shingles_of(rule: MinHashRule, spans: Spans) -> tuple[npt.NDArray[np.uint64], Integers]:
    """Hashes of the shingles of all spans and their edges."""
    hashes, edges = shingle(
        spans.buffer,
        spans.first_byte,
        spans.end_byte,
        folded_characters(),
        rule.shingle_length,
        rule.shingle == "words",
    )
    return hashes, edges


def encode_signatures(rule: DedupeRule, chunk: Chunk) -> tuple[UnitChunk, dict[str, Any]]:
    """First half: the documents of a chunk with their signatures, keys of bands and, for verification, shingles."""
    rows, documents = chunk.documents()
    spans = document_spans(rule, documents, as_dolma=False)
    settings = rule.minhash
    hashes, edges = shingles_of(settings, spans)
    signatures = sign(hashes, edges, *permutations(settings))
    keys = band_keys(signatures, settings.bands, settings.rows)
    more: dict[str, Any] = {f"band_{band}": keys[band] for band in range(settings.bands)}
    more |= {"signatures": signatures, "comparable": np.diff(edges) > 0}
    if settings.verify:
        sets = [np.unique(hashes[begin:end]) for begin, end in pairwise(edges)]
        more["shingles"] = np.concatenate(sets) if sets else hashes
        more["shingle_counts"] = np.array([len(each) for each in sets], dtype=np.int64)
    return make_chunk(chunk, rows, spans), more


class Clusters:
    """Clusters over all spans: ``roots`` [S] names the first of each; ``scores`` its similarity to that."""

    def __init__(self, rule: MinHashRule, scratch: Scratch) -> None:
        self.rule = rule
        self.scratch = scratch
        comparable = [scratch.array(number, "comparable") for number, _ in scratch.chunks()]
        self.comparable = np.concatenate(comparable) if comparable else np.zeros(0, dtype=np.bool_)
        self.edges = np.array([0, *np.cumsum([len(each) for each in comparable])], dtype=np.int64)
        self._signatures = self._gather("signatures", np.uint32).reshape(-1, rule.bands * rule.rows)
        if rule.verify:
            self._shingles = self._gather("shingles", np.uint64)
            counts = [scratch.array(number, "shingle_counts") for number, _ in scratch.chunks()]
            self._shingle_edges = np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *counts]))
        self.roots = np.arange(len(self.comparable), dtype=np.int64)
        for band in range(rule.bands):
            self._join_band(band)
        find_roots(self.roots)
        documents = [self._documents(number, before.documents) for number, before in scratch.chunks()]
        self.documents = np.concatenate(documents) if documents else np.zeros(0, dtype=np.int64)

    def _gather(self, name: str, kind: Any) -> Any:
        """One column of all chunks in a file that is mapped into memory."""
        path = self.scratch.folder / f"{name}.column"
        with open(path, "wb") as stream:
            for number, _ in self.scratch.chunks():
                self.scratch.array(number, name).tofile(stream)
        return np.asarray(np.memmap(path, dtype=kind, mode="r")) if path.stat().st_size else np.zeros(0, dtype=kind)

    def _documents(self, number: int, before: int) -> Integers:
        spans: Integers = self.scratch.array(number, "spans")
        return np.flatnonzero(spans) + before

    def _join_band(self, band: int) -> None:
        arrays = [self.scratch.array(number, f"band_{band}") for number, _ in self.scratch.chunks()]
        keys = np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.uint64)
        places = np.flatnonzero(self.comparable)
        order = places[np.argsort(keys[places], kind="stable")]
        ordered = keys[order]
        begins = np.ones(len(order), dtype=np.bool_)
        begins[1:] = ordered[1:] != ordered[:-1]
        group = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
        members, firsts = order[~begins], order[group[~begins]]
        if self.rule.min_similarity > 0 and len(members):
            alike = self.similarity(members, firsts) >= self.rule.min_similarity
            members, firsts = members[alike], firsts[alike]
        join(self.roots, members, firsts)

    def similarity(self, members: Integers, others: Integers) -> npt.NDArray[np.float64]:
        """Jaccard similarity of pairs of spans, estimated or exact, [M]."""
        if self.rule.verify:
            exact: npt.NDArray[np.float64] = jaccard(self._shingles, self._shingle_edges, members, others)
            return exact
        found = np.empty(len(members), dtype=np.float64)
        for begin in range(0, len(members), PAIRS):
            part = slice(begin, begin + PAIRS)
            found[part] = (self._signatures[members[part]] == self._signatures[others[part]]).mean(axis=1)
        return found

    def marks_of(self, chunk: UnitChunk, number: int) -> Marks:
        """Documents of a chunk that belong to the cluster of an earlier one."""
        places = np.arange(self.edges[number], self.edges[number + 1])
        roots = self.roots[places]
        again = np.flatnonzero(roots != places)
        owners = np.flatnonzero(chunk.spans)
        scores = self.similarity(places[again], roots[again])
        return Marks(owners[again], chunk.starts[again], chunk.ends[again], scores, self.documents[roots[again]])

    def describe(self) -> str:
        """How many clusters there are and how large."""
        sizes = np.bincount(self.roots, minlength=1)
        sizes = sizes[sizes > 1]
        return f"{len(sizes)} clusters of near duplicates, the largest of {int(sizes.max(initial=0))} documents"


def signatures_of(texts: Sequence[str], rule: MinHashRule) -> Signatures:
    """Signatures of texts, [N, bands * rows]; texts without a word have the largest value everywhere."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    starts = ends - np.array([len(text) for text in encoded], dtype=np.int64)
    nothing = np.zeros(0, dtype=np.int64)
    buffer = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    spans = Spans(np.zeros(0, dtype=np.uint8), nothing, nothing, nothing, buffer, starts, ends)
    hashes, edges = shingles_of(rule, spans)
    signatures: Signatures = sign(hashes, edges, *permutations(rule))
    return signatures
