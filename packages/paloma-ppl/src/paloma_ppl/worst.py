"""The documents that a model fits worst, with the loss of each token in its text, and what it makes of each domain's
vocabulary."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import atomic_write
from .likelihood import Floats
from .metrics import LN_2, DocumentScore
from .tokenizer import Ids, LoadedTokenizer

WORST_FILE = "worst.jsonl.gz"
DOMAIN_VOCABULARY_FILE = "domain_vocabulary.jsonl.gz"
PER_DOMAIN = 3
SHOWN_TOKENS = 600
SHOWN_CHARACTERS = 8000
LONG_ENOUGH = 100  # bytes; a shorter document stands behind the others
MERGED_TOKENS = 1 << 16
Domain = tuple[str, str]


class Worst:
    """The ``PER_DOMAIN`` documents of each domain with the most bits per byte, those of ``LONG_ENOUGH`` first."""

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        self.tokenizer = tokenizer
        self.domains: dict[Domain, list[tuple[tuple[bool, float], int, dict[str, Any]]]] = {}

    def add(self, number: int, score: DocumentScore, text: str, ids: Ids, values: Floats) -> None:
        """Look at a document: the beginnings of its text, ids and log-probabilities."""
        bits_per_byte = -score.log_probability / (LN_2 * score.bytes)
        heap = self.domains.setdefault((score.source, score.domain), [])
        rank = (score.bytes >= LONG_ENOUGH, bits_per_byte)
        if len(heap) == PER_DOMAIN and (rank, -number) <= heap[0][:2]:
            return
        ends, count = token_ends(self.tokenizer, text, ids)
        row = {
            "source": score.source,
            "domain": score.domain,
            "id": score.id,
            "bits_per_byte": bits_per_byte,
            "tokens": score.tokens,
            "text": text[: ends[-1]] if ends else "",
            "ends": ends,
            "log_probabilities": [min(0.0, float(value)) for value in values[:count]],
        }
        heapq.heappush(heap, (rank, -number, row))
        if len(heap) > PER_DOMAIN:
            heapq.heappop(heap)

    def write(self, path: Path, order: Iterable[Domain]) -> None:
        """A row a document, by domain, the worst first."""
        with atomic_write(path) as stream:
            for domain in order:
                for _, _, row in sorted(self.domains[domain], key=lambda entry: entry[:2], reverse=True):
                    stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def token_ends(tokenizer: LoadedTokenizer, text: str, ids: Ids) -> tuple[list[int], int]:
    """Where in ``text`` each of the first tokens ends (tokens of the same character end alike), and how many.

    ``text`` may be cut off: tokens from where its own ids differ are left out.
    """
    encoding = tokenizer.tokenizer.encode(text, add_special_tokens=False)
    count = min(len(ids), len(encoding.ids), SHOWN_TOKENS)
    differing = np.flatnonzero(np.asarray(encoding.ids[:count]) != ids[:count])
    count = int(differing[0]) if len(differing) else count
    ends = np.maximum.accumulate([end for _, end in encoding.offsets[:count]] or [0])
    return [int(end) for end in ends[:count]], count


class DomainVocabulary:
    """Count and summed log-probability of every vocabulary type, by domain."""

    def __init__(self) -> None:
        self.domains: dict[Domain, tuple[Ids, NDArray[np.int64], NDArray[np.float64]]] = {}
        self.waiting: dict[Domain, list[tuple[Ids, Floats]]] = {}
        self.held: dict[Domain, int] = {}

    def add(self, domain: Domain, ids: Ids, values: Floats) -> None:
        self.waiting.setdefault(domain, []).append((ids, values))
        self.held[domain] = self.held.get(domain, 0) + len(ids)
        if self.held[domain] >= MERGED_TOKENS:
            self.merge(domain)

    def merge(self, domain: Domain) -> None:
        """Sum what waits."""
        pairs = self.waiting.pop(domain)
        self.held[domain] = 0
        none = (np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0))
        known, counts, sums = self.domains.get(domain, none)
        ids = np.concatenate([known, *(ids for ids, _ in pairs)])
        types, place = np.unique(ids, return_inverse=True)
        amounts = np.concatenate([counts, np.ones(len(ids) - len(known), np.int64)])
        total = np.zeros(len(types), np.int64)
        np.add.at(total, place, amounts)
        weights = np.concatenate([sums, *(values.astype(np.float64) for _, values in pairs)])
        summed = np.bincount(place, weights=weights, minlength=len(types)).astype(np.float64)
        self.domains[domain] = types.astype(np.int32), total, summed

    def finish(self) -> None:
        for domain in list(self.waiting):
            self.merge(domain)

    def total(self, vocab_size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Both over all domains, for every id."""
        counts, sums = np.zeros(vocab_size, np.int64), np.zeros(vocab_size)
        for types, count, value in self.domains.values():
            counts[types] += count
            sums[types] += value
        return counts, sums

    def write(self, path: Path, order: Iterable[Domain]) -> None:
        """A row a domain, ids rising."""
        with atomic_write(path) as stream:
            for source, domain in order:
                types, counts, sums = self.domains[source, domain]
                row = {
                    "source": source,
                    "domain": domain,
                    "token_ids": types.tolist(),
                    "counts": counts.tolist(),
                    "log_probabilities": [min(0.0, float(value)) for value in sums],
                }
                stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
