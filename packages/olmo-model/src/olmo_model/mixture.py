"""Several sources in one epoch, each as often as the settings say: a pure function of seed, epoch and counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .config.data import DataSettings, SourceSettings
from .errors import UserError
from .tokens import Document, Tokens


@dataclass(frozen=True)
class Mixture:
    """Of each source how many instances it has and how many places of an epoch it fills.

    The places of a source follow those of the sources before it; they hold all its instances in order as often as that
    goes, then a part of them, drawn anew for each epoch. The order of the epoch shuffles the places. Instances of all
    sources count on, in the order of the sources.
    """

    counts: tuple[int, ...]
    taken: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.taken) or min(self.counts) < 1 or min(self.taken) < 0:
            raise ValueError("no mixture")

    @property
    def places(self) -> int:
        """Places of an epoch."""
        return sum(self.taken)

    def instances(self, places: npt.NDArray[np.uint32], seed: int, epoch: int) -> npt.NDArray[np.uint32]:
        """The instances at places of an epoch."""
        found = np.empty(len(places), dtype=np.uint32)
        source = np.searchsorted(np.cumsum(self.taken), places, side="right")
        for number in np.unique(source).tolist():
            here = source == number
            within = places[here].astype(np.int64) - sum(self.taken[:number])
            count = self.counts[number]
            whole = self.taken[number] // count * count
            drawn = _drawn(seed, epoch, number, count)
            # of the last, partial round the drawn instances come first; where there is none, no place reaches it
            found[here] = sum(self.counts[:number]) + np.where(
                within < whole, within % count, drawn[np.maximum(within - whole, 0) % count]
            )
        return found

    def places_of(self, instance: int, seed: int, epoch: int) -> list[int]:
        """The places at which an instance stands in an epoch; none where the epoch leaves it out."""
        number = int(np.searchsorted(np.cumsum(self.counts), instance, side="right"))
        within, count = instance - sum(self.counts[:number]), self.counts[number]
        first, (rounds, rest) = sum(self.taken[:number]), divmod(self.taken[number], count)
        found = [first + each * count + within for each in range(rounds)]
        drawn = np.flatnonzero(_drawn(seed, epoch, number, count)[:rest] == within)
        return found + [first + rounds * count + int(place) for place in drawn]


@lru_cache(maxsize=16)
def _drawn(seed: int, epoch: int, source: int, count: int) -> npt.NDArray[np.uint32]:
    """All instances of a source, those first that a partial round of the epoch takes."""
    return permutation(count, [seed, epoch, source])


def permutation(count: int, seed: int | list[int]) -> npt.NDArray[np.uint32]:
    """``arange(count)`` as uint32, shuffled by PCG64 with this seed."""
    order = np.arange(count, dtype=np.uint32)
    np.random.Generator(np.random.PCG64(seed)).shuffle(order)
    return order


def mixture_of(sources: Sequence[SourceSettings], counts: Sequence[int]) -> Mixture:
    """The mixture of settings: ``repeat`` times each instance, or shares by ``weight`` of as many places as the sources
    have instances; rounded to the nearest whole place. A source without an instance is a UserError."""
    for source, count in zip(sources, counts, strict=True):
        if count == 0:
            raise UserError(
                "the source has no whole instance", where=source.tokens, fix="leave it out, or shorten the instances"
            )
    if sources[0].weight is None:
        taken = [round((source.repeat or 1) * count) for source, count in zip(sources, counts, strict=True)]
    else:
        weights = [source.weight or 0.0 for source in sources]
        taken = [round(weight / sum(weights) * sum(counts)) for weight in weights]
    for source, places in zip(sources, taken, strict=True):
        if places == 0:
            raise UserError(
                "of the source not one instance would be taken", where=source.tokens, fix="leave it out, or raise it"
            )
    if sum(taken) > np.iinfo(np.uint32).max:
        raise UserError("an epoch has more than 2**32 places", where="data.sources", fix="lower the repeats")
    return Mixture(tuple(counts), tuple(taken))


class SeveralTokens(Tokens):
    """Several tokens artifacts as one: their files follow each other. All have the same tokenizer and ids."""

    def __init__(self, parts: Sequence[Tokens]) -> None:
        first = parts[0]
        self._parts = list(parts)
        for part in parts[1:]:
            for name in ("tokenizer_digest", "dtype_name", "vocab_size", "eos_token_id", "pad_token_id"):
                if getattr(part, name) != getattr(first, name):
                    raise UserError(
                        f"{name} is not that of {first.folder}", where=part.folder, fix="tokenise all sources alike"
                    )
        self.folder, self.dtype, self.dtype_name = first.folder, first.dtype, first.dtype_name
        self.vocab_size, self.eos_token_id, self.pad_token_id = first.vocab_size, first.eos_token_id, first.pad_token_id
        self.bos_token_id, self.text_field, self.stripped = first.bos_token_id, first.text_field, first.stripped
        self.tokenizer_digest = first.tokenizer_digest
        self.paths = [str(part.folder / path) for part in parts for path in part.paths]
        self.lengths = [length for part in parts for length in part.lengths]
        self.documents = [count for part in parts for count in part.documents]
        self.files = [file for part in parts for file in part.files]
        prints = "".join(f"{part.fingerprint}\n" for part in parts)
        self.fingerprint = "sha256:" + hashlib.sha256(prints.encode()).hexdigest()
        self._files = [len(part.paths) for part in parts]

    @property
    def parts(self) -> list[Tokens]:
        return self._parts

    def find(self, document_id: str) -> list[Document]:
        """All documents with this id in all parts."""
        return [
            self._outside(document, part)
            for part, tokens in enumerate(self.parts)
            for document in tokens.find(document_id)
        ]

    def overlapping(self, file: int, spans: Sequence[tuple[int, int]]) -> list[list[Document]]:
        """Documents that share tokens with each span of a file, in order."""
        part, within = self._place(file)
        found = self.parts[part].overlapping(within, spans)
        return [[self._outside(document, part) for document in documents] for documents in found]

    def counts(self, sequence_length: int) -> list[int]:
        """Instances of each part."""
        return [sum(length // sequence_length for length in part.lengths) for part in self.parts]

    def _place(self, file: int) -> tuple[int, int]:
        part = int(np.searchsorted(np.cumsum(self._files), file, side="right"))
        return part, file - sum(self._files[:part])

    def _outside(self, document: Document, part: int) -> Document:
        return replace(document, file=document.file + sum(self._files[:part]))


def open_sources(data: DataSettings) -> SeveralTokens:
    """The artifacts of ``data.sources`` as one."""
    return SeveralTokens([Tokens(source.tokens) for source in data.sources])
