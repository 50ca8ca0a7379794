"""Documents of val and test that are nearly the same: MinHash over runs of five words (Broder 1997).

A document is its set of five-word runs, lower case; 64 minima of seeded hashes estimate how much two sets share, and
documents that agree in one of 16 bands of four are compared. A document takes 400 bytes, whatever its length.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS_PER_SHINGLE = 5
PERMUTATIONS, BANDS = 64, 16
SIMILARITY = 0.5  # share of the union of two sets from which a pair is reported
NAMED_PAIRS = 20
SHINGLES_AT_ONCE = 1 << 14
WORD = re.compile(r"\w+")
PRIME = (1 << 31) - 1
_generator = np.random.default_rng(42)
FACTORS = _generator.integers(1, PRIME, size=(PERMUTATIONS, 1), dtype=np.uint64)
OFFSETS = _generator.integers(0, PRIME, size=(PERMUTATIONS, 1), dtype=np.uint64)
Signature = NDArray[np.uint32]


def signature(text: str) -> Signature | None:
    """The 64 minima, [64]; None for a text of fewer than five words."""
    words = [word.encode() for word in WORD.findall(text.lower())]
    if len(words) < WORDS_PER_SHINGLE:
        return None
    lowest = np.full(PERMUTATIONS, PRIME, dtype=np.uint64)
    count = len(words) - WORDS_PER_SHINGLE + 1
    for begin in range(0, count, SHINGLES_AT_ONCE):
        shingles = (
            zlib.crc32(b" ".join(words[at : at + WORDS_PER_SHINGLE])) & PRIME
            for at in range(begin, min(count, begin + SHINGLES_AT_ONCE))
        )
        hashes = np.fromiter(shingles, dtype=np.uint64)
        lowest = np.minimum(lowest, ((FACTORS * hashes + OFFSETS) % np.uint64(PRIME)).min(axis=1))
    return lowest.astype(np.uint32)


class NearDuplicates:
    """Takes documents of both splits in any order and reports the pairs between them."""

    def __init__(self) -> None:
        self.names: dict[str, list[tuple[str, str]]] = defaultdict(list)  # split -> (source, id)
        self.signatures: dict[str, list[Signature]] = defaultdict(list)

    def add(self, split: str, source: str, identity: str, text: str) -> None:
        found = signature(text)
        if found is not None:
            self.names[split].append((source, identity))
            self.signatures[split].append(found)

    def report(self) -> dict[str, Any]:
        """Number of near-duplicate pairs, documents of test that have one, and the most similar pairs."""
        bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        width = PERMUTATIONS // BANDS
        for index, values in enumerate(self.signatures["val"]):
            for band in range(BANDS):
                bands[band, values[band * width : (band + 1) * width].tobytes()].append(index)
        pairs: list[tuple[float, int, int]] = []
        for index, values in enumerate(self.signatures["test"]):
            near = {
                other
                for band in range(BANDS)
                for other in bands.get((band, values[band * width : (band + 1) * width].tobytes()), ())
            }
            for other in near:
                similarity = float(np.mean(values == self.signatures["val"][other]))
                if similarity >= SIMILARITY:
                    pairs.append((-similarity, index, other))
        first = []
        for similarity, index, other in sorted(pairs)[:NAMED_PAIRS]:
            test, val = self.names["test"][index], self.names["val"][other]
            first.append({"similarity": -similarity, "test": list(test), "val": list(val)})
        documents = len({index for _, index, _ in pairs})
        return {"similarity": SIMILARITY, "pairs": len(pairs), "test_documents": documents, "first": first}
