"""Two results on the same documents: the difference in bits per byte, paired by document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .config import CompareConfig
from .errors import UserError
from .files import write_json
from .metrics import LN_2, DocumentScore, bits, grouped, intervals, sizes
from .provenance import recorded
from .results import Description, read_results
from .statistics import Interval, check_confidence


def bits_per_byte(scores: Sequence[DocumentScore]) -> float:
    total = math.fsum(score.log_probability for score in scores)
    return -total / (LN_2 * sum(score.bytes for score in scores))


def read_pair(a: Path, b: Path) -> tuple[Description, list[DocumentScore], Description, list[DocumentScore]]:
    """Both results; those of different suites, splits, limits or documents are a UserError."""
    first, scores_a = read_results(a)
    second, scores_b = read_results(b)
    for name in ("suite_digest", "split", "limit"):
        if getattr(first, name) != getattr(second, name):
            raise UserError(
                f"{name} differs: {getattr(first, name)} and {getattr(second, name)}",
                where=f"{a}, {b}",
                fix="compare results of the same suite, split and limit",
            )
    for row, (left, right) in enumerate(zip(scores_a, scores_b, strict=False), start=1):
        if (left.source, left.domain, left.id, left.bytes) != (right.source, right.domain, right.id, right.bytes):
            raise UserError("the documents differ", where=b / "documents.jsonl.gz", line=row, fix="run both again")
    if len(scores_a) != len(scores_b):
        raise UserError(f"{len(scores_a)} and {len(scores_b)} documents", where=f"{a}, {b}", fix="run both again")
    return first, scores_a, second, scores_b


def compare(a: Path, b: Path, config: CompareConfig) -> dict[str, Any]:
    """Write and return the comparison."""
    check_confidence(config.confidence)
    first, scores_a, second, scores_b = read_pair(a, b)
    comparison = {
        "format_version": 1,
        "a": first.name(),
        "b": second.name(),
        "metric": "bits_per_byte",
        "confidence": config.confidence,
        "rows": comparison_rows(scores_a, scores_b, config.confidence),
    }
    with recorded("paloma-ppl", "compare", folder=config.output.parent, config=config, inputs=[a, b]) as record:
        write_json(config.output, comparison)
        record.outputs = [config.output]
        record.counts = {"documents": len(scores_a)}
    return comparison


def comparison_rows(
    scores_a: Sequence[DocumentScore], scores_b: Sequence[DocumentScore], confidence: float
) -> list[dict[str, Any]]:
    """Rows per domain, source and aggregate (``source`` null, ``domain`` its name)."""
    keys = [(score.source, score.domain) for score in scores_a]
    found = intervals(keys, bits(scores_a) - bits(scores_b), sizes(scores_a), confidence, logarithm=False)

    def row(level: str, source: str | None, domain: str | None, documents: int, pair: tuple[float, float],
            interval: Interval) -> dict[str, Any]:  # fmt: skip
        values: dict[str, Any] = {"level": level, "source": source, "domain": domain, "documents": documents}
        values |= {"a": pair[0], "b": pair[1], "difference": pair[0] - pair[1]}
        return values | {"low": interval.low, "high": interval.high, "interval": interval.method}

    domains_a = grouped(scores_a, lambda score: (score.source, score.domain))
    domains_b = grouped(scores_b, lambda score: (score.source, score.domain))
    rows = []
    pairs = []
    for key, members in domains_a.items():
        pairs.append((bits_per_byte(members), bits_per_byte(domains_b[key])))
        rows.append(row("domain", key[0], key[1], len(members), pairs[-1], found.domains[key[0], key[1]]))
    sources_b = grouped(scores_b, lambda score: (score.source,))
    for (source,), members in grouped(scores_a, lambda score: (score.source,)).items():
        pair = (bits_per_byte(members), bits_per_byte(sources_b[source,]))
        rows.append(row("source", source, None, len(members), pair, found.sources[source]))
    n = len(scores_a)
    rows.append(row("aggregate", None, "micro", n, (bits_per_byte(scores_a), bits_per_byte(scores_b)), found.micro))
    macro = (math.fsum(pair[0] for pair in pairs) / len(pairs), math.fsum(pair[1] for pair in pairs) / len(pairs))
    rows.append(row("aggregate", None, "macro", n, macro, found.macro))
    return rows
