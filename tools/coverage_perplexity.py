"""How often the intervals of paloma-ppl hold the truth, by number and lengths of documents: a Markdown table.

    python tools/coverage_perplexity.py [--repetitions 400] [--resamples 500]

A document of b bytes, drawn from a heavy-tailed distribution, takes b · (b / 1000)^(-0.1) · g bits, g gamma with
mean 1 and variance 1/4: longer ones are easier. The truth is E[bits] / E[bytes]. Ends with status 1 where a row of
finite variance leaves 93 to 97 % from 50 documents on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    outside = 0
    print("| lengths | " + " | ".join(f"n = {n}" for n in DOCUMENTS) + " |")
    print("| --- |" + " --- |" * len(DOCUMENTS))
    for name, (_, _, finite) in LENGTHS.items():
        found = [coverage(name, n, options.repetitions, options.resamples) for n in DOCUMENTS]
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in found) + " |", flush=True)
        outside += sum(
            finite and n >= 50 and not 0.93 <= share <= 0.97 for n, share in zip(DOCUMENTS, found, strict=True)
        )
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
