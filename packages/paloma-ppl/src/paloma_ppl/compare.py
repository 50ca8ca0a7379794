"""Results on the same documents: differences in bits per byte or log perplexity, paired by document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .alike import check_alike, made_as
from .blocks import Singles, singles_of
from .config import CompareConfig
from .errors import UserError
from .files import write_json
from .metrics import LN_2, DocumentScore, bits, grouped, intervals, sizes, windows_for_documents
from .paloma import aggregates_of
from .provenance import recorded
from .results import Description, Reading, read
from .statistics import Floats, Interval, check_confidence, holm
from .training_order import order_line

FORMAT_VERSION = 2  # 1 had one comparison, without the list


def amounts(scores: Sequence[DocumentScore], metric: str) -> tuple[Floats, Floats]:
    """Numerator and denominator of each document, [n]: bits and bytes, or nats and tokens."""
    if metric == "bits_per_byte":
        return bits(scores), sizes(scores)
    return bits(scores) * LN_2, np.array([float(score.tokens) for score in scores])


def ratio(scores: Sequence[DocumentScore], metric: str) -> float:
    above, below = amounts(scores, metric)
    return math.fsum(above) / math.fsum(below)


def check_vocabulary(first: Description, second: Description, metric: str, where: str) -> None:
    """A UserError where perplexities of different vocabularies would be compared (Paloma, control 4)."""
    digests = (first.tokenizer_digest, second.tokenizer_digest)
    if metric == "log_perplexity" and (None in digests or digests[0] != digests[1]):
        raise UserError("the tokenizers differ, so perplexities say nothing", where=where, fix="use bits_per_byte")


def read_aligned(paths: Sequence[Path]) -> list[Reading]:
    """Results on the same documents in the same format; others are a UserError."""
    found = [read(path) for path in paths]
    check_alike(paths, [reading.description for reading in found])
    check_documents(paths, found)
    return found


def check_documents(paths: Sequence[Path], found: Sequence[Reading]) -> None:
    """A UserError where the documents of the results are not the same, in the same order."""
    first = found[0].scores
    for path, other in zip(paths[1:], found[1:], strict=True):
        for row, (left, right) in enumerate(zip(first, other.scores, strict=False), start=1):
            if (left.source, left.domain, left.id, left.bytes) != (right.source, right.domain, right.id, right.bytes):
                where = path / "documents.jsonl.gz"
                raise UserError("the documents differ", where=where, line=row, fix="run both again")
        if len(first) != len(other.scores):
            counts = f"{len(first)} and {len(other.scores)} documents"
            raise UserError(counts, where=f"{paths[0]}, {path}", fix="run both again")


def aligned_units(found: Sequence[Reading]) -> tuple[list[list[DocumentScore]], Singles]:
    """What is resampled for all results at once: documents, and the windows of those that are alone in their domain."""
    keys = [(score.source, score.domain) for score in found[0].scores]
    singles = singles_of(keys, [reading.windows for reading in found])
    return [windows_for_documents(reading.scores, reading.windows, singles) for reading in found], singles


def compare(paths: Sequence[Path], config: CompareConfig) -> dict[str, Any]:
    """Write and return the comparison of the first results with each other one, or of all pairs."""
    check_confidence(config.confidence)
    if len(paths) < 2:
        raise UserError(f"{len(paths)} results cannot be compared", fix="give the folders of two or more")
    found = read_aligned(paths)
    names = names_of(paths, found)
    pairs = list(combinations(range(len(paths)), 2))
    if config.pairs == "first":
        pairs = [pair for pair in pairs if pair[0] == 0]
    for a, b in pairs:
        check_vocabulary(found[a].description, found[b].description, config.metric, f"{paths[a]}, {paths[b]}")
    comparisons: list[dict[str, Any]] = []
    for a, b in pairs:
        models = [found[index].description.model or {} for index in (a, b)]
        order = order_line(models[0], models[1], (names[a], names[b]))
        rows = comparison_rows(found[a], found[b], config)
        comparisons.append({"a": names[a], "b": names[b], "training_order": order, "rows": rows})
    adjust([row for comparison in comparisons for row in comparison["rows"]])
    comparison = {
        "format_version": FORMAT_VERSION,
        "models": names,
        "results": [{"name": name, **made_as(reading.description)} for name, reading in zip(names, found, strict=True)],
        "limit": found[0].description.limit,
        "metric": config.metric,
        "confidence": config.confidence,
        "comparisons": comparisons,
    }
    with recorded("paloma-ppl", "compare", folder=config.output.parent, config=config, inputs=[*paths]) as record:
        write_json(config.output, comparison)
        record.outputs = [config.output]
        record.counts = {"documents": len(found[0].scores), "comparisons": len(pairs)}
    return comparison


def names_of(paths: Sequence[Path], found: Sequence[Reading]) -> list[str]:
    """What the results are called; with their folders where models share a name."""
    names = [reading.description.name() for reading in found]
    return [name if names.count(name) == 1 else f"{name} ({path})" for name, path in zip(names, paths, strict=True)]


def adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm`` to the tested rows, for all tests of their level in all comparisons (Holm)."""
    for level in ("domain", "source", "aggregate"):
        tested = [row for row in rows if row["level"] == level and row["p"] is not None]
        for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row["p_holm"] = adjusted


def comparison_rows(a: Reading, b: Reading, config: CompareConfig) -> list[dict[str, Any]]:
    """Rows per domain, source and aggregate (``source`` null, ``domain`` its name); ``p`` is that of no difference."""
    metric, scores_a, scores_b = config.metric, a.scores, b.scores
    (units_a, units_b), singles = aligned_units([a, b])
    above, size = amounts(units_a, metric)
    difference = above - amounts(units_b, metric)[0]
    keys = [(unit.source, unit.domain) for unit in units_a]
    found = intervals(keys, difference, size, config.confidence, logarithm=False, singles=singles)

    def row(level: str, source: str | None, domain: str | None, documents: int, pair: tuple[float, float],
            interval: Interval) -> dict[str, Any]:  # fmt: skip
        values: dict[str, Any] = {"level": level, "source": source, "domain": domain, "documents": documents}
        values |= {"a": pair[0], "b": pair[1], "difference": pair[0] - pair[1]}
        return values | {"low": interval.low, "high": interval.high, "interval": interval.method, "p": interval.p}

    domains_a = grouped(scores_a, lambda score: (score.source, score.domain))
    domains_b = grouped(scores_b, lambda score: (score.source, score.domain))
    rows = []
    pairs = {}
    for key, members in domains_a.items():
        pairs[key] = (ratio(members, metric), ratio(domains_b[key], metric))
        rows.append(row("domain", key[0], key[1], len(members), pairs[key], found.domains[key[0], key[1]]))
    sources_b = grouped(scores_b, lambda score: (score.source,))
    for (source,), members in grouped(scores_a, lambda score: (score.source,)).items():
        pair = (ratio(members, metric), ratio(sources_b[source,], metric))
        rows.append(row("source", source, None, len(members), pair, found.sources[source]))
    sources = frozenset(source for source, _ in keys)
    sets = [("", sources, (found.micro, found.macro))]
    sets += [(name + "_", members, found.published[name]) for name, members in aggregates_of(sources).items()]
    for prefix, members_of, both in sets:
        inside = [[score for score in scores if score.source in members_of] for scores in (scores_a, scores_b)]
        micro = (ratio(inside[0], metric), ratio(inside[1], metric))
        parts = [pair for (source, _), pair in pairs.items() if source in members_of]
        macro = (math.fsum(pair[0] for pair in parts) / len(parts), math.fsum(pair[1] for pair in parts) / len(parts))
        rows.append(row("aggregate", None, prefix + "micro", len(inside[0]), micro, both[0]))
        rows.append(row("aggregate", None, prefix + "macro", len(inside[0]), macro, both[1]))
    return rows
