"""How often the intervals of paloma-ppl hold the truth, by number and lengths of documents: a Markdown table.

    python tools/coverage_perplexity.py [--repetitions 400] [--resamples 500] [--blocks]

A document of b bytes, drawn from a heavy-tailed distribution, takes b · (b / 1000)^(-0.1) · g bits, g gamma with
mean 1 and variance 1/4: longer ones are easier. The truth is E[bits] / E[bytes]. Ends with status 1 where a row of
finite variance leaves 93 to 97 % from 50 documents on.

With ``--blocks`` the same of a single document, by the number of its windows: a window of b bytes, about 8,000, takes
b · exp(0.3 z - 0.045) bits, z of mean 0 and variance 1 with dependent neighbours. Ends with status 1 where a row of
an autoregression leaves 90 to 99 % from 49 windows on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

from paloma_ppl.blocks import block_sums
from paloma_ppl.statistics import Floats, bootstrap_interval, make_stratum

DOCUMENTS = (20, 50, 200, 1000)
EASE = -0.1
LENGTHS: dict[str, tuple[Callable[[np.random.Generator, int], Floats], float, bool]] = {
    # name: (bytes / 1000, truth, finite variance)
    "log-normal, σ = 1": (lambda g, n: np.exp(g.normal(0, 1, n)), float(np.exp((0.9**2 - 1) / 2)), True),
    "log-normal, σ = 1.5": (lambda g, n: np.exp(g.normal(0, 1.5, n)), float(np.exp(1.5**2 * (0.9**2 - 1) / 2)), True),
    "Pareto, exponent 3": (lambda g, n: 1 + g.pareto(3, n), (3 / 2.1) / (3 / 2), True),
    "Pareto, exponent 1.5": (lambda g, n: 1 + g.pareto(1.5, n), (1.5 / 0.6) / (1.5 / 0.5), False),
}


def coverage(name: str, documents: int, repetitions: int, resamples: int) -> float:
    """Share of nominal 95 % intervals that hold the truth."""
    draw, truth, _ = LENGTHS[name]
    generator = np.random.default_rng([documents, *name.encode()])
    hits = 0
    for number in range(repetitions):
        size = 1000 * draw(generator, documents)
        bits = size * (size / 1000) ** EASE * generator.gamma(4, 0.25, documents)
        interval = bootstrap_interval([make_stratum(f"{name}{number}", bits, size, resamples)], 0.95, logarithm=True)
        hits += interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high
    return hits / repetitions


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
        hits += interval.low is not None and interval.high is not None and interval.low <= 1 <= interval.high
    return hits / repetitions


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--blocks", action="store_true", help="a single document, by blocks of its windows")
    options = parser.parse_args()
    names, counts, share_of = (
        (DEPENDENCE, WINDOWS, coverage_of_blocks) if options.blocks else (LENGTHS, DOCUMENTS, coverage)
    )
    outside = 0
    head = "dependence of windows" if options.blocks else "lengths"
    print(f"| {head} | " + " | ".join(f"n = {n}" for n in counts) + " |")
    print("| --- |" + " --- |" * len(counts))
    for name in names:
        found = [share_of(name, n, options.repetitions, options.resamples) for n in counts]
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in found) + " |", flush=True)
        for n, share in zip(counts, found, strict=True):
            if options.blocks:
                outside += DEPENDENCE[name][0] in (0.0, 1.0) and n >= 49 and not 0.90 <= share <= 0.99
            else:
                outside += LENGTHS[name][2] and n >= 50 and not 0.93 <= share <= 0.97
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
