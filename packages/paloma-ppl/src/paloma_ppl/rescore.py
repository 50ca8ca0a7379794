"""Figures from the stored sums of the documents, without the model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .config import RescoreConfig
from .errors import UserError
from .files import read_json, write_json
from .metrics import LN_2, DocumentScore, grouped, perplexity, summarize
from .positions import read_positions
from .provenance import recorded
from .results import read
from .statistics import check_confidence

log = logging.getLogger(__name__)
Weights = Mapping[str, Mapping[str, float]]


def rescore(config: RescoreConfig) -> dict[str, Any]:
    """Write ``results.json`` anew and return it."""
    check_confidence(config.confidence)
    stored = read(config.results)
    warn_of_another_level(config)
    results = summarize(stored.scores, config.confidence, read_positions(config.results), stored.windows)
    with recorded(
        "paloma-ppl", "rescore", folder=config.results, config=config, inputs=[config.results / "documents.jsonl.gz"]
    ) as record:
        write_json(config.results / "results.json", results)
        record.outputs = [config.results / "results.json"]
        record.counts = {"documents": len(stored.scores)}
    return results


def warn_of_another_level(config: RescoreConfig) -> None:
    path = config.results / "results.json"
    before = read_json(path) if path.is_file() else None
    level = before.get("confidence") if isinstance(before, dict) else None
    if level is not None and level != config.confidence:
        log.warning("%s: intervals were at level %s and are now at %s", path, level, config.confidence)


def read_weights(path: Path) -> Weights:
    """Shares of the natural mix by source and domain; a UserError for anything else."""
    weights = read_json(path)
    try:
        shares = [share for domains in weights.values() for share in domains.values()]
        right = all(type(share) in (int, float) and 0 <= share < math.inf for share in shares) and sum(shares) > 0
    except (AttributeError, TypeError):
        right = False
    if not right:
        raise UserError("no shares by source and domain", where=path, fix="give {SOURCE: {DOMAIN: SHARE}}, not below 0")
    return dict(weights)


def natural_mix(scores: Sequence[DocumentScore], weights: Weights, where: Path) -> dict[str, float | None]:
    """exp(Σ α NLL per token) and Σ α bits per byte over domains, the α made to add up to 1 (Paloma, section 4).

    Undoes the equal sizes of stratified domains: α is a domain's share of the corpus's tokens, or bytes.
    """
    domains = grouped(scores, lambda score: (score.source, score.domain))
    total = math.fsum(share for shares in weights.values() for share in shares.values())
    nats: list[float] | None = []
    bits = []
    for source, shares in weights.items():
        for domain, share in shares.items():
            members = domains.get((source, domain))
            if members is None:
                raise UserError(f"the results have no domain {domain!r} of {source!r}", where=where, fix="leave it out")
            loss = -math.fsum(score.log_probability for score in members)
            tokens = sum(score.tokens for score in members)
            bits.append(share / total * loss / (LN_2 * sum(score.bytes for score in members)))
            nats = [*nats, share / total * loss / tokens] if nats is not None and tokens else None
    return {
        "perplexity": None if nats is None else perplexity(-math.fsum(nats), 1),
        "bits_per_byte": math.fsum(bits),
    }
