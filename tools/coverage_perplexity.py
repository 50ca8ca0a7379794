"""How often the intervals of paloma-ppl hold the truth, and how often p-values are small: Markdown tables.

    python tools/coverage_perplexity.py [lengths | domains | blocks | p-values] [--repetitions 400] [--resamples 500]

A document of b bytes, drawn from a heavy-tailed distribution, takes b · (b / 1000)^(-0.1) · g bits, g gamma with
mean 1 and variance 1/4: longer ones are easier. The truth is E[bits] / E[bytes].

- ``lengths``: by number and lengths of documents of one domain. Ends with status 1 where a row of finite variance
  leaves 93 to 97 % from 50 documents on.
- ``domains``: micro of many domains of few documents. Status 1 where a row of finite variance leaves 90 to 99.5 %.
- ``blocks``: a single document, by the number of its windows: a window of b bytes, about 8,000, takes
  b · exp(0.3 z - 0.045) bits, z of mean 0 and variance 1 with dependent neighbours. Status 1 where, from 49 windows
  on, a row without noise leaves 92 to 98 % or one with noise 87 to 97 %.
- ``p-values``: of no difference where there is none, a document of b bytes with a difference of b · normal bits, with
  log-normal lengths: how often p is below a level, as a multiple of the level. Status 1 where it is above 1.5 at
  0.05, or above 2 at any level from 50 documents in one domain on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np

from paloma_ppl.blocks import block_sums
from paloma_ppl.statistics import Floats, Interval, bootstrap_interval, make_stratum

DOCUMENTS = (20, 50, 200, 1000)
EASE = -0.1
LENGTHS: dict[str, tuple[Callable[[np.random.Generator, int], Floats], float, bool]] = {
    # name: (bytes / 1000, truth, finite variance)
    "log-normal, σ = 1": (lambda g, n: np.exp(g.normal(0, 1, n)), float(np.exp((0.9**2 - 1) / 2)), True),
    "log-normal, σ = 1.5": (lambda g, n: np.exp(g.normal(0, 1.5, n)), float(np.exp(1.5**2 * (0.9**2 - 1) / 2)), True),
    "Pareto, exponent 3": (lambda g, n: 1 + g.pareto(3, n), (3 / 2.1) / (3 / 2), True),
    "Pareto, exponent 1.5": (lambda g, n: 1 + g.pareto(1.5, n), (1.5 / 0.6) / (1.5 / 0.5), False),
}


def holds(interval: Interval, truth: float) -> bool:
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


def coverage(name: str, documents: int, repetitions: int, resamples: int, domains: int = 1) -> float:
    """Share of nominal 95 % intervals of all of ``domains``, of so many ``documents`` each, that hold the truth."""
    draw, truth, _ = LENGTHS[name]
    generator = np.random.default_rng([documents, *name.encode(), *([] if domains == 1 else [domains])])
    hits = 0
    for number in range(repetitions):
        strata = []
        for domain in range(domains):
            size = 1000 * draw(generator, documents)
            bits = size * (size / 1000) ** EASE * generator.gamma(4, 0.25, documents)
            seed = f"{name}{number}" if domains == 1 else f"{name}{number} {domain}"
            strata.append(make_stratum(seed, bits, size, resamples))
        hits += holds(bootstrap_interval(strata, 0.95, logarithm=True), truth)
    return hits / repetitions


DOMAINS = ((50, 2), (30, 3), (10, 10), (5, 20))  # domains, documents of each
LEVELS = (0.05, 0.01, 0.001, 0.0001)
TESTED = ((1, 10), (1, 20), (1, 50), (1, 100), (5, 10))  # domains, documents of each


def p_values(domains: int, documents: int, repetitions: int, resamples: int) -> Floats:
    """P-values [``repetitions``] of differences in documents of log-normal lengths, σ = 1.5, that differ by nothing."""
    generator = np.random.default_rng([domains, documents])
    found = []
    for number in range(repetitions):
        strata = []
        for domain in range(domains):
            size = 1000 * np.exp(generator.normal(0, 1.5, documents))
            strata.append(
                make_stratum(f"{number} {domain}", size * generator.normal(0, 0.2, documents), size, resamples)
            )
        p = bootstrap_interval(strata, 0.95, logarithm=False).p
        found.append(1.0 if p is None else p)
    return np.array(found)


WINDOWS = (20, 49, 100, 300)
DEPENDENCE = {  # name: share of the variance that is an autoregression of the first order, its coefficient
    "none": (0.0, 0.0),
    "autoregression, ρ = 0.3": (1.0, 0.3),
    "autoregression, ρ = 0.6": (1.0, 0.6),
    "autoregression, ρ = 0.8": (1.0, 0.8),
    "half noise, half ρ = 0.8": (0.5, 0.8),
    "0.7 noise, 0.3 ρ = 0.9": (0.3, 0.9),
}
BEFORE = 200  # values of a series that are thrown away


def series(generator: np.random.Generator, share: float, rho: float, size: int) -> Floats:
    """``size`` values of mean 0 and variance 1."""
    noise = generator.normal(size=size + BEFORE)
    slow = noise.copy()
    for place in range(1, len(slow)):
        slow[place] = rho * slow[place - 1] + np.sqrt(1 - rho * rho) * noise[place]
    found: Floats = np.sqrt(share) * slow[BEFORE:] + np.sqrt(1 - share) * generator.normal(size=size)
    return found


def coverage_of_blocks(name: str, windows: int, repetitions: int, resamples: int) -> float:
    """Share of nominal 95 % intervals of a single document that hold the truth, one bit a byte."""
    generator = np.random.default_rng([windows, *name.encode()])
    hits = 0
    for number in range(repetitions):
        size = 8000 * np.clip(generator.normal(1, 0.08, windows), 0.5, 2)
        size[-1] *= generator.uniform(0.1, 1)
        bits = size * np.exp(0.3 * series(generator, *DEPENDENCE[name], windows) - 0.045)
        sums = block_sums(np.stack([bits, size], axis=1))
        stratum = make_stratum(f"{name}{number}", sums[:, 0], sums[:, 1], resamples, blocks=True)
        interval = bootstrap_interval([stratum], 0.95, logarithm=True)
        hits += holds(interval, 1)
    return hits / repetitions


def print_row(name: str, cells: Sequence[str]) -> None:
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def print_head(name: str, columns: Sequence[str]) -> None:
    print_row(name, columns)
    print("| --- |" + " --- |" * len(columns))


def percent(shares: Sequence[float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]


def outside_of_lengths(repetitions: int, resamples: int) -> int:
    print_head("lengths", [f"n = {n}" for n in DOCUMENTS])
    outside = 0
    for name, (_, _, finite) in LENGTHS.items():
        found = [coverage(name, n, repetitions, resamples) for n in DOCUMENTS]
        print_row(name, percent(found))
        outside += sum(
            finite and n >= 50 and not 0.93 <= share <= 0.97 for n, share in zip(DOCUMENTS, found, strict=True)
        )
    return outside


def outside_of_domains(repetitions: int, resamples: int) -> int:
    print_head("lengths", [f"{domains} domains of {n}" for domains, n in DOMAINS])
    outside = 0
    for name, (_, _, finite) in LENGTHS.items():
        found = [coverage(name, n, repetitions, resamples, domains) for domains, n in DOMAINS]
        print_row(name, percent(found))
        outside += sum(finite and not 0.90 <= share <= 0.995 for share in found)
    return outside


def outside_of_blocks(repetitions: int, resamples: int) -> int:
    print_head("dependence of windows", [f"n = {n}" for n in WINDOWS])
    outside = 0
    for name, (share_of_slow, _) in DEPENDENCE.items():
        found = [coverage_of_blocks(name, n, repetitions, resamples) for n in WINDOWS]
        print_row(name, percent(found))
        low, high = (0.87, 0.97) if 0 < share_of_slow < 1 else (0.92, 0.98)
        outside += sum(n >= 49 and not low <= share <= high for n, share in zip(WINDOWS, found, strict=True))
    return outside


def outside_of_p_values(repetitions: int, resamples: int) -> int:
    print_head("documents", [f"p < {level}" for level in LEVELS])
    outside = 0
    for domains, documents in TESTED:
        found = p_values(domains, documents, repetitions, resamples)
        multiples = [float(np.mean(found < level)) / level for level in LEVELS]
        name = f"{documents}" if domains == 1 else f"{domains} domains of {documents}"
        print_row(name, [f"{multiple:.1f}" for multiple in multiples])
        outside += multiples[0] > 1.5 or (domains == 1 and documents >= 50 and max(multiples) > 2)
    return outside


TABLES = {
    "lengths": outside_of_lengths,
    "domains": outside_of_domains,
    "blocks": outside_of_blocks,
    "p-values": outside_of_p_values,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("table", nargs="?", choices=TABLES, default="lengths")
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    return 1 if TABLES[options.table](options.repetitions, options.resamples) else 0


if __name__ == "__main__":
    sys.exit(main())
