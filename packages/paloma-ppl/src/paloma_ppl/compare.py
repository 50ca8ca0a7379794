"""Two results on the same documents: the difference in bits per byte or log perplexity, paired by document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .config import CompareConfig
from .errors import UserError
from .files import write_json
from .metrics import LN_2, DocumentScore, bits, grouped, intervals, sizes
from .provenance import recorded
from .results import Description, read_results
from .statistics import Floats, Interval, check_confidence, holm
from .training_order import order_line


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


def read_aligned(paths: Sequence[Path]) -> list[tuple[Description, list[DocumentScore]]]:
    """Results on the same documents; those of different suites, splits, limits or documents are a UserError."""
    read = [read_results(path) for path in paths]
    first, scores = read[0]
    for path, (other, others) in zip(paths[1:], read[1:], strict=True):
        for name in ("suite_digest", "split", "limit"):
            if getattr(first, name) != getattr(other, name):
                raise UserError(
                    f"{name} differs: {getattr(first, name)} and {getattr(other, name)}",
                    where=f"{paths[0]}, {path}",
                    fix="compare results of the same suite, split and limit",
                )
        for row, (left, right) in enumerate(zip(scores, others, strict=False), start=1):
            if (left.source, left.domain, left.id, left.bytes) != (right.source, right.domain, right.id, right.bytes):
                where = path / "documents.jsonl.gz"
                raise UserError("the documents differ", where=where, line=row, fix="run both again")
        if len(scores) != len(others):
            both = f"{paths[0]}, {path}"
            raise UserError(f"{len(scores)} and {len(others)} documents", where=both, fix="run both again")
    return read


def compare(a: Path, b: Path, config: CompareConfig) -> dict[str, Any]:
    """Write and return the comparison."""
    check_confidence(config.confidence)
    (first, scores_a), (second, scores_b) = read_aligned([a, b])
    check_vocabulary(first, second, config.metric, f"{a}, {b}")
    comparison = {
        "format_version": 1,
        "a": first.name(),
        "b": second.name(),
        "metric": config.metric,
        "confidence": config.confidence,
        "training_order": order_line(first.model or {}, second.model or {}, (first.name(), second.name())),
        "rows": comparison_rows(scores_a, scores_b, config),
    }
    with recorded("paloma-ppl", "compare", folder=config.output.parent, config=config, inputs=[a, b]) as record:
        write_json(config.output, comparison)
        record.outputs = [config.output]
        record.counts = {"documents": len(scores_a)}
    return comparison


def comparison_rows(
    scores_a: Sequence[DocumentScore], scores_b: Sequence[DocumentScore], config: CompareConfig
) -> list[dict[str, Any]]:
    """Rows per domain, source and aggregate (``source`` null, ``domain`` its name).

    ``p`` is that of no difference; ``p_holm`` of a domain is adjusted for all domains that have one.
    """
    metric = config.metric
    above, size = amounts(scores_a, metric)
    keys = [(score.source, score.domain) for score in scores_a]
    found = intervals(keys, above - amounts(scores_b, metric)[0], size, config.confidence, logarithm=False, many=True)

    def row(level: str, source: str | None, domain: str | None, documents: int, pair: tuple[float, float],
            interval: Interval) -> dict[str, Any]:  # fmt: skip
        values: dict[str, Any] = {"level": level, "source": source, "domain": domain, "documents": documents}
        values |= {"a": pair[0], "b": pair[1], "difference": pair[0] - pair[1]}
        return values | {"low": interval.low, "high": interval.high, "interval": interval.method, "p": interval.p}

    domains_a = grouped(scores_a, lambda score: (score.source, score.domain))
    domains_b = grouped(scores_b, lambda score: (score.source, score.domain))
    rows = []
    pairs = []
    for key, members in domains_a.items():
        pairs.append((ratio(members, metric), ratio(domains_b[key], metric)))
        rows.append(row("domain", key[0], key[1], len(members), pairs[-1], found.domains[key[0], key[1]]))
    tested = [row for row in rows if row["p"] is not None]
    for one, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        one["p_holm"] = adjusted
    sources_b = grouped(scores_b, lambda score: (score.source,))
    for (source,), members in grouped(scores_a, lambda score: (score.source,)).items():
        pair = (ratio(members, metric), ratio(sources_b[source,], metric))
        rows.append(row("source", source, None, len(members), pair, found.sources[source]))
    n = len(scores_a)
    rows.append(row("aggregate", None, "micro", n, (ratio(scores_a, metric), ratio(scores_b, metric)), found.micro))
    macro = (math.fsum(pair[0] for pair in pairs) / len(pairs), math.fsum(pair[1] for pair in pairs) / len(pairs))
    rows.append(row("aggregate", None, "macro", n, macro, found.macro))
    return rows
