"""Token targets of a suite: Paloma's control 3 (arXiv 2312.10523).

At least 100,000 tokens in each domain and a million in each source, in val and in test each: a domain of a source with
k domains is drawn from until max(100,000, 1,000,000 / k) tokens are passed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .config import PrepareConfig
from .errors import UserError

TOKENS_PER_DOMAIN = 100_000
TOKENS_PER_SOURCE = 1_000_000
ALL, ONE_DOMAIN = "all", "one-domain"


@dataclass(frozen=True)
class Target:
    """``amount`` to pass in each domain, or in the whole source where ``one_domain``; math.inf takes everything."""

    amount: float
    one_domain: bool = False


def exceptions(config: PrepareConfig) -> dict[str, str]:
    """``SOURCE=…`` of ``target_of`` by source; a UserError for what is none of the three forms."""
    found = {}
    for text in config.target_of:
        source, _, value = text.rpartition("=")
        if not source or not (value in (ALL, ONE_DOMAIN) or (value.isdecimal() and int(value) > 0)):
            raise UserError(
                f"{text!r} is no exception",
                where="target_of",
                fix="give SOURCE=TOKENS, SOURCE=all or SOURCE=one-domain",
            )
        found[source] = value
    return found


def check_targets(config: PrepareConfig) -> None:
    """A UserError where targets are impossible or have no effect."""
    tokens = (config.target_tokens_per_domain, config.target_tokens_per_source)
    if config.tokenizer is None and (config.target_of or any(value is not None for value in tokens)):
        raise UserError("targets in tokens need a tokenizer", where="tokenizer", fix="give --tokenizer")
    if config.tokenizer is not None and config.target_bytes_per_domain is not None:
        raise UserError("targets in tokens and in bytes", where="target_bytes_per_domain", fix="give one of them")
    for name in ("target_bytes_per_domain", "target_tokens_per_domain", "target_tokens_per_source"):
        value = getattr(config, name)
        if value is not None and value < 1:
            unit = "byte" if "bytes" in name else "token"
            raise UserError(f"the target is below one {unit}", where=name, fix="give 1 or more")
    exceptions(config)


def targets(config: PrepareConfig, domains_of: Mapping[str, int]) -> dict[str, Target]:
    """Target of every source, given its number of domains."""
    if config.target_bytes_per_domain is not None:
        return {source: Target(config.target_bytes_per_domain) for source in domains_of}
    per_domain = config.target_tokens_per_domain or TOKENS_PER_DOMAIN
    per_source = config.target_tokens_per_source or TOKENS_PER_SOURCE
    found = {source: Target(max(per_domain, math.ceil(per_source / count))) for source, count in domains_of.items()}
    for source, value in exceptions(config).items():
        if source not in found:
            known = ", ".join(sorted(found))
            raise UserError(f"the suite has no source {source!r}", where="target_of", fix=f"choose from: {known}")
        if value == ONE_DOMAIN:
            found[source] = Target(per_source, one_domain=True)
        else:
            found[source] = Target(math.inf if value == ALL else int(value))
    return found
