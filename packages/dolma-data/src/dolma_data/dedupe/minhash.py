"""Near duplicates of documents, first half: MinHash signatures, keys of their bands, and what theory says of them.

Broder 1997 ("On the resemblance and containment of documents"); bands and their theory as in Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, section 3.4.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..annotate import Chunk
from ..batch import Integers
from ..config.dedupe import DedupeRule, MinHashRule
from ..errors import UserError
from ..kernels.minhash import band_keys, folded_characters, shingle, sign
from .units import Spans, UnitChunk, document_spans, make_chunk

CURVE = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
Signatures = npt.NDArray[np.uint32]  # [N, bands * rows]


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
    """First half: the documents of a chunk that have a word, with their signatures, keys of bands and, for
    verification, shingles."""
    rows, documents = chunk.documents()
    spans = document_spans(rule, documents, as_dolma=False)
    for document in documents:
        del document["text"]  # a giant one can take five times its bytes
    settings = rule.minhash
    hashes, edges = shingles_of(settings, spans)
    comparable = np.diff(edges) > 0
    if not comparable.all():
        spans = spans._replace(
            owners=spans.owners[comparable], starts=spans.starts[comparable], ends=spans.ends[comparable]
        )
        edges = np.concatenate([edges[:1], edges[1:][comparable]])
    signatures = sign(hashes, edges, *permutations(settings))
    keys = band_keys(signatures, settings.bands, settings.rows)
    more: dict[str, Any] = {"keys": keys, "signatures": signatures, "owners": spans.owners}
    if settings.verify:
        sets = [np.unique(hashes[begin:end]) for begin, end in pairwise(edges)]
        more["shingles"] = np.concatenate(sets) if sets else hashes
        more["shingle_counts"] = np.array([len(each) for each in sets], dtype=np.int64)
    return make_chunk(chunk, rows, spans), more
