"""Where evaluation text stands in documents: equal lines and documents, or overlap of n-grams of words.

Both compare 128-bit hashes exactly: what is found is there, and everything that is there is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..batch import PART, Batch, Integers
from ..config.decontaminate import EvaluationRule
from ..dedupe.units import words_by_piece
from ..errors import UserError
from ..hashes import Hashes, HashIndex, first_copies, hash_texts
from ..kernels.deduplication import count_points
from ..kernels.minhash import folded_characters
from ..kernels.ngrams import all_ngrams, hash_folded
from .evaluation_texts import UNITS, Unit
from .parts import TOGETHER

SELF_TEST_BATCH = 10_000
LINES = 1 << 16  # that are looked up together


class Hit(NamedTuple):
    """``unit`` (its number in the set) found in code points ``start`` to ``end`` of document ``document`` of a list."""

    document: int
    start: int
    end: int
    unit: int
    score: float = 1.0


class Matches(Protocol):
    """Finds units in documents."""

    def find(self, batch: Batch) -> list[Hit]:
        """All hits, in the order of documents; the batch may have let its texts go then."""
        ...


def lines_of(text: str) -> Iterator[tuple[int, int, str]]:
    r"""Lines of a text as ``str.split("\n")`` finds them, with the places where each begins and, its newline included,
    ends; a giant text is split piece by piece."""
    start = 0
    while True:
        reached = text.find("\n", start + PART) + 1
        piece = text[start : reached - 1] if reached else text[start:] if start else text
        for line in piece.split("\n"):
            end = min(start + len(line) + 1, len(text))
            yield start, end, line
            start = end
        if not reached:
            return


@dataclass(frozen=True)
class Matcher:
    """Hashes of the units of a set, by kind; results are numbers of units."""

    paragraphs: HashIndex
    paragraph_units: Any  # [P] number of the unit for each position in ``paragraphs``
    documents: HashIndex
    document_units: Any
    shortest: int  # code points of the shortest paragraph

    def find(self, batch: Batch) -> list[Hit]:
        """All hits, in the order of documents; hits of the whole document come before those of its lines."""
        hits = self.find_documents(batch)
        places: list[tuple[int, int, int]] = []
        lines: list[bytes] = []

        def look_up() -> None:
            found = self.paragraphs.find(hash_texts(lines)).tolist()
            at = zip(places, found, strict=True)
            hits.extend(Hit(*place, int(self.paragraph_units[unit])) for place, unit in at if unit >= 0)
            places.clear()
            lines.clear()

        for number, text in enumerate(batch.texts):
            for start, end, line in lines_of(text):
                if len(line) >= self.shortest:
                    stripped = line.strip()
                    if len(stripped) >= self.shortest:
                        places.append((number, start, end))
                        lines.append(stripped.encode())
                        if len(lines) == LINES:
                            look_up()
        look_up()
        return sorted(hits, key=lambda hit: hit.document)

    def find_documents(self, batch: Batch) -> list[Hit]:
        """Documents that are units themselves, by source and id."""
        keys = hash_texts(_document_key(document["source"], document["id"]) for document in batch.documents)
        return [
            Hit(number, 0, int(batch.lengths[number]), int(self.document_units[at]))
            for number, at in enumerate(self.documents.find(keys).tolist())
            if at >= 0
        ]


@dataclass(frozen=True)
class NgramIndex:
    """N-grams of one length of the units' texts; N different ones, each with the units that hold it."""

    length: int
    ngrams: HashIndex  # [N]
    owner_edges: Integers  # [N + 1]: units of n-gram k are ``owners[owner_edges[k]:owner_edges[k + 1]]``
    owners: Integers
    totals: Integers  # [U] different n-grams of each unit; 0 of those that are compared by another length

    def shared(self, ngrams: Integers, threshold: float) -> list[tuple[int, float, list[int]]]:
        """Units of which enough n-grams are among ``ngrams``, with the share and these n-grams."""
        held: dict[int, list[int]] = {}
        for ngram in np.unique(ngrams).tolist():
            for unit in self.owners[self.owner_edges[ngram] : self.owner_edges[ngram + 1]].tolist():
                held.setdefault(unit, []).append(ngram)
        shares = [(unit, len(mine) / int(self.totals[unit]), mine) for unit, mine in sorted(held.items())]
        return [entry for entry in shares if entry[1] >= threshold]


@dataclass(frozen=True)
class NgramMatcher:
    """N-grams of the units' texts, by length: a text of fewer words than an n-gram is one of its own length."""

    exact: Matcher  # whole documents alone
    threshold: float
    indexes: list[NgramIndex]
    compared: Any  # [U] bool: whether the unit has words enough

    def find(self, batch: Batch) -> list[Hit]:
        """All hits, in the order of documents; one for every run of n-grams that a unit and the document share."""
        hits = self.exact.find_documents(batch)
        batch.let_texts_go()
        words, word_edges, places = words_of(batch)
        for index in self.indexes:
            owners, starts, found = index.ngrams.find_ngrams(words, word_edges, index.length).T
            bounds = np.searchsorted(owners, np.arange(len(batch) + 1))
            for document in np.unique(owners).tolist():
                of_document = slice(bounds[document], bounds[document + 1])
                for unit, score, ngrams in index.shared(found[of_document], self.threshold):
                    of_unit = starts[of_document][np.isin(found[of_document], ngrams)]
                    for one, last in _runs(of_unit):
                        word = int(word_edges[document])
                        ends = np.array([places[word + one, 0], places[word + last + index.length - 1, 1]])
                        base = np.full(2, batch.offsets[document])
                        start, end = count_points(batch.buffer, base, ends).tolist()
                        hits.append(Hit(document, start, end, unit, score))
        return sorted(hits, key=lambda hit: (hit.document, hit.start, hit.end, hit.unit))


def _runs(places: Integers) -> list[tuple[int, int]]:
    """Runs of successive numbers: first and last of each."""
    breaks = np.flatnonzero(np.diff(places) > 1)
    firsts = places[np.concatenate([[0], breaks + 1])]
    lasts = places[np.concatenate([breaks, [len(places) - 1]])]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def words_of(batch: Batch) -> tuple[Hashes, Integers, npt.NDArray[np.int32]]:
    """Hashes of the W words of all texts, [W, 2], and their edges, [B + 1]; first byte of each, and the one after it.

    Words are those of Unicode Standard Annex 29 that hold a letter or digit, in lower case.
    """
    begin, end = batch.offsets[:-1], batch.offsets[1:]
    hashes = np.empty((len(batch.buffer), 2), dtype=np.uint64)  # untouched pages cost nothing
    places = np.empty((len(batch.buffer), 2), dtype=np.int32)
    numbers = np.zeros(len(batch), dtype=np.int64)
    found = 0
    for owners, edges, first, after, spelled in words_by_piece(batch.buffer, begin, end):
        before = np.concatenate([[0], np.cumsum(spelled)])
        first, after = first[spelled], after[spelled]
        part = slice(found, found + len(first))
        hashes[part] = hash_folded(batch.buffer, first, after, folded_characters())
        places[part, 0], places[part, 1] = first, after
        np.add.at(numbers, owners, np.diff(before[edges]))
        found += len(first)
    return hashes[:found], np.concatenate([[0], np.cumsum(numbers)]), places[:found]


def make_matcher(units: Sequence[Unit], rule: EvaluationRule | None = None) -> Matches:
    """Index the units; of equal ones the first is named by hits."""
    texts = [(number, unit.text) for number, unit in enumerate(units) if unit.text is not None]
    whole = [(number, unit) for number, unit in enumerate(units) if unit.text is None]
    by_ngram = rule is not None and rule.ngram_length > 0
    lines = [] if by_ngram else texts
    exact = Matcher(
        HashIndex(hash_texts(text.encode() for _, text in lines)),
        [number for number, _ in lines],
        HashIndex(hash_texts(_document_key(unit.source, unit.id) for _, unit in whole)),
        [number for number, _ in whole],
        min((len(text) for _, text in lines), default=0),
    )
    if rule is None or not by_ngram:
        return exact
    words, edges, _ = words_of(Batch([{"text": unit.text or ""} for unit in units]))
    counts = np.diff(edges)
    least = np.array([fewest_words(unit, rule) for unit in units])
    lengths = np.where(counts >= least, np.minimum(counts, rule.ngram_length), 0)
    indexes = [
        _index_ngrams(words, edges, lengths == length, length) for length in np.unique(lengths).tolist() if length
    ]
    return NgramMatcher(exact, rule.ngram_threshold, indexes, lengths > 0)


def fewest_words(unit: Unit, rule: EvaluationRule) -> int:
    """From how many words on a unit is compared by n-grams: what is part of an item alone needs as many as say that
    the item is meant; a whole text no more than an n-gram has."""
    if unit.part is None or unit.part in TOGETHER:
        return min(rule.ngram_minimum_words, rule.ngram_length)
    return rule.ngram_minimum_words


def _index_ngrams(words: Hashes, edges: Integers, chosen: Any, length: int) -> NgramIndex:
    hashes, ngram_edges = all_ngrams(words, edges, length)
    owners = np.repeat(np.arange(len(chosen)), np.diff(ngram_edges))
    hashes, owners = hashes[chosen[owners]], owners[chosen[owners]]
    pairs = np.unique(np.stack([first_copies(hashes), owners], axis=1), axis=0)
    different, counts = np.unique(pairs[:, 0], return_counts=True)
    return NgramIndex(
        length,
        HashIndex(hashes[different]),
        np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)]),
        pairs[:, 1],
        np.bincount(pairs[:, 1], minlength=len(chosen)),
    )


def _document_key(source: str, name: str) -> bytes:
    return f"{source}\0{name}".encode()


def too_short(matcher: Matches) -> frozenset[int]:
    """Units of too few words for n-grams: nothing of them can be compared."""
    if not isinstance(matcher, NgramMatcher):
        return frozenset()
    whole = {int(unit) for unit in matcher.exact.document_units}
    return frozenset(np.flatnonzero(~matcher.compared).tolist()) - whole


def self_test(matcher: Matches, units: Sequence[Unit], where: Path | None) -> int:
    """Plant every unit that can be compared in a document and look for it; returns how many were found.

    One that is not found is a UserError, before any work.
    """
    short = too_short(matcher)
    planted = 0
    for begin in range(0, len(units), SELF_TEST_BATCH):
        batch = units[begin : begin + SELF_TEST_BATCH]
        found: dict[int, set[str | None]] = {}
        for hit in matcher.find(Batch([_plant(number, unit) for number, unit in enumerate(batch)])):
            found.setdefault(hit.document, set()).add(units[hit.unit].text)
        for number, unit in enumerate(batch):
            if begin + number in short:
                continue
            planted += 1
            if unit.text not in found.get(number, set()):
                raise UserError(
                    f"self-test: the unit of {unit.id!r} ({unit.source}) is not found where it is planted; "
                    "a paragraph must be one line without white space at its ends",
                    where=None if where is None else where / UNITS,
                    line=None if where is None else begin + number + 1,
                    fix="make the set again",
                )
    return planted


def _plant(number: int, unit: Unit) -> dict[str, Any]:
    if unit.text is None:
        return {"id": unit.id, "source": unit.source, "text": "planted"}
    # No source can hold a NUL of ours, so that a planted paragraph is never hit as a document.
    return {"id": str(number), "source": "\0planted", "text": f"before\n\t{unit.text} \nafter"}
