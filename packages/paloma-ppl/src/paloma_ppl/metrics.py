"""From documents to domains, sources and aggregates.

Perplexity is exp(−Σ ln p / tokens), bits per byte −Σ ln p / (bytes · ln 2), each over all tokens and bytes of a set of
documents (Paloma, arXiv 2312.10523, section 3). ``micro`` takes all documents as one set; ``macro`` is the mean over
domains of each domain's own value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import Singles, WindowSums, blocked, singles_of
from .paloma import aggregates_of
from .positions import PositionSums, loss_by_position
from .statistics import (
    Floats,
    Interval,
    Stratum,
    bootstrap_interval,
    indices_of,
    make_stratum,
    strata_by_domain,
)
from .suite import SuiteDocument

LN_2 = math.log(2)


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """Sum of the log-probabilities of one document's tokens, with the counts to divide by."""

    id: str
    source: str
    domain: str
    tokens: int
    bytes: int
    characters: int
    words: int  # runs without white space
    log_probability: float  # natural logarithm

    def row(self) -> dict[str, Any]:
        return asdict(self)


def document_score(document: SuiteDocument, tokens: int, log_probability: float) -> DocumentScore:
    return DocumentScore(
        document.id,
        document.source,
        document.domain,
        tokens,
        len(document.text.encode()),
        len(document.text),
        len(document.text.split()),
        min(0.0, log_probability),
    )


def perplexity(log_probability: float, tokens: int) -> float | None:
    """None without tokens, or where it is beyond any double."""
    if not tokens or -log_probability / tokens > 709:
        return None
    return math.exp(-log_probability / tokens)


def bits(scores: Sequence[DocumentScore]) -> Floats:
    return np.array([-score.log_probability / LN_2 for score in scores])


def sizes(scores: Sequence[DocumentScore]) -> Floats:
    return np.array([float(score.bytes) for score in scores])


def measure(scores: Sequence[DocumentScore], interval: Interval) -> dict[str, Any]:
    """The numbers of one set of documents."""
    total = math.fsum(score.log_probability for score in scores)
    size = sum(score.bytes for score in scores)
    tokens = sum(score.tokens for score in scores)
    characters = sum(score.characters for score in scores)
    words = sum(score.words for score in scores)
    return {
        "documents": len(scores),
        "tokens": tokens,
        "bytes": size,
        "characters": characters,
        "words": words,
        "log_probability": total,
        "perplexity": perplexity(total, tokens),
        "bits_per_byte": -total / (size * LN_2),
        "bits_per_character": -total / (characters * LN_2),
        "bits_per_word": -total / (words * LN_2) if words else None,
        "bits_per_byte_low": interval.low,
        "bits_per_byte_high": interval.high,
        "interval": interval.method,
    }


@dataclass(frozen=True)
class Intervals:
    """Intervals at every level for one amount per document, in bits."""

    domains: dict[tuple[str, str], Interval]
    sources: dict[str, Interval]
    micro: Interval
    macro: Interval
    published: dict[str, tuple[Interval, Interval]]  # name of a published aggregate -> micro, macro


def intervals(
    keys: Sequence[tuple[str, str]],
    amounts: Floats,
    size: Floats,
    confidence: float,
    *,
    logarithm: bool,
    singles: Singles,
) -> Intervals:
    """Bootstrap intervals of Σ ``amounts`` / Σ ``size`` for documents of the given (source, domain), or windows of one
    where ``singles`` says so.
    """
    keys, columns = blocked(keys, np.stack([amounts, size], axis=1), singles)

    strata_so_far: dict[tuple[str, bytes], Stratum] = {}  # a domain is part of its source and of every aggregate

    def sample(name: str, members: NDArray[np.int64]) -> Stratum:
        same = (name, members.tobytes())
        if same not in strata_so_far:
            blocks = all(keys[index] in singles.windows for index in members)
            strata_so_far[same] = make_stratum(name, columns[members, 0], columns[members, 1], blocks=blocks)
        return strata_so_far[same]

    def of(*strata: Stratum) -> Interval:
        return bootstrap_interval(strata, confidence, logarithm=logarithm)

    def explained(interval: Interval, inside: Iterable[tuple[str, str]]) -> Interval:
        """With the reason of the only domain, where there is none."""
        names = list(dict.fromkeys(inside))
        if interval.low is None and len(names) == 1 and names[0] in singles.reasons:
            return Interval(None, None, singles.reasons[names[0]])
        return interval

    sampled = {key: sample("\0".join(key), np.array(members)) for key, members in indices_of(keys).items()}
    by_source = indices_of(source for source, _ in keys)
    sources = {}
    for source, members in by_source.items():
        pools = strata_by_domain([keys[index] for index in members])
        found = of(*(sample(name, np.array(members)[inner]) for name, inner in pools.items()))
        sources[source] = explained(found, (keys[index] for index in members))

    def aggregate(members: list[int]) -> tuple[Interval, Interval]:
        inside = [keys[index] for index in members]
        pools = strata_by_domain(inside)
        strata = [sampled[key] for key in dict.fromkeys(inside)]
        micro = of(*(sample(name, np.array(members)[inner]) for name, inner in pools.items()))
        macro = bootstrap_interval(strata, confidence, logarithm=logarithm, mean_of_strata=True)
        return explained(micro, inside), explained(macro, inside)

    micro, macro = aggregate(list(range(len(keys))))
    published = {
        name: aggregate([index for index, (source, _) in enumerate(keys) if source in members])
        for name, members in aggregates_of(frozenset(by_source)).items()
    }
    by_domain = {key: explained(of(stratum), [key]) for key, stratum in sampled.items()}
    return Intervals(by_domain, sources, micro, macro, published)


def windows_for_documents(
    scores: Sequence[DocumentScore], sums: Mapping[tuple[str, str], WindowSums], singles: Singles
) -> list[DocumentScore]:
    """The scores, with those of its windows in the place of each document that ``singles`` has windows of."""
    found = []
    for score in scores:
        key = (score.source, score.domain)
        if key not in singles.windows:
            found.append(score)
            continue
        of = sums[key]
        parts = zip(of.tokens, of.bytes, of.log_probabilities, strict=True)
        found += [replace(score, tokens=t, bytes=b, log_probability=value) for t, b, value in parts]
    return found


def grouped(
    scores: Sequence[DocumentScore], key: Callable[[DocumentScore], tuple[str, ...]]
) -> dict[tuple[str, ...], list[DocumentScore]]:
    groups: dict[tuple[str, ...], list[DocumentScore]] = {}
    for score in scores:
        groups.setdefault(key(score), []).append(score)
    return groups


def summarize(
    scores: Sequence[DocumentScore],
    confidence: float,
    positions: Sequence[PositionSums] | None = None,
    windows: Mapping[tuple[str, str], WindowSums] | None = None,
) -> dict[str, Any]:
    """``results.json`` of the given documents, in the order of the suite, of their sums by position, and of the windows
    of those that are alone in their domain."""
    singles = singles_of([(score.source, score.domain) for score in scores], [windows or {}])
    units = windows_for_documents(scores, windows or {}, singles)
    keys = [(unit.source, unit.domain) for unit in units]
    found = intervals(keys, bits(units), sizes(units), confidence, logarithm=True, singles=singles)
    domains = [
        {"source": source, "domain": domain, **measure(members, found.domains[source, domain])}
        for (source, domain), members in grouped(scores, lambda score: (score.source, score.domain)).items()
    ]
    sources = [
        {"source": source, **measure(members, found.sources[source])}
        for (source,), members in grouped(scores, lambda score: (score.source,)).items()
    ]
    aggregates = aggregate_rows(scores, domains, "", found.micro, found.macro)
    for name, members in aggregates_of(frozenset(row["source"] for row in sources)).items():
        inside = [score for score in scores if score.source in members]
        rows = [row for row in domains if row["source"] in members]
        for row in aggregate_rows(inside, rows, name + "_", *found.published[name]):
            aggregates.append({**row, "sources": sorted(members)})
    by_position = {} if positions is None else {"positions": loss_by_position(positions)}
    levels = {"domains": domains, "sources": sources, "aggregates": aggregates}
    return {"format_version": 1, "confidence": confidence, **levels, **by_position}


def aggregate_rows(
    scores: Sequence[DocumentScore], domains: Sequence[dict[str, Any]], prefix: str, micro: Interval, macro: Interval
) -> list[dict[str, Any]]:
    """``micro``: all documents as one set; ``macro``: mean over the rows of the domains."""
    row = measure(scores, macro)
    perplexities = [domain["perplexity"] for domain in domains]
    row["perplexity"] = None if None in perplexities else math.fsum(perplexities) / len(domains)
    for name in ("bits_per_byte", "bits_per_character", "bits_per_word"):
        values = [domain[name] for domain in domains]
        row[name] = None if None in values else math.fsum(values) / len(domains)
    return [{"name": prefix + "micro", **measure(scores, micro)}, {"name": prefix + "macro", **row}]
