"""Statistics of accuracies: intervals, exact paired tests, correction for many tasks.

Credits are fractions, since a tie of k best choices counts 1/k; no test here takes them for 0 or 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; ``standard_error`` and the limits are None where there are too few items."""

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    method: str

    def as_json(self) -> dict[str, float | str | None]:
        """As ``metrics.json`` has it."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "standard_error": self.standard_error,
            "method": self.method,
        }


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean of independent values; None below two of them."""
    if len(values) < 2:
        return None
    return float(np.std(np.asarray(values, dtype=np.float64), ddof=1) / math.sqrt(len(values)))


def wilson(credits_: Sequence[Fraction], confidence: float = CONFIDENCE) -> Estimate:
    """Accuracy with Wilson's score interval (Wilson 1927), which has width at 0 and 100 % too.

    A fractional credit varies less than the 0/1 credit of the same mean, so with ties the interval is a
    little too wide, never too narrow.
    """
    n = len(credits_)
    p = float(sum(credits_, Fraction(0)) / n)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Estimate(p, min(low, p), max(high, p), standard_error([float(c) for c in credits_]), "wilson")


def student(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean over instances with Student's t interval."""
    mean = math.fsum(values) / len(values)
    error = standard_error(values)
    if error is None:
        return Estimate(mean, None, None, None, "none: one instance")
    half = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1)) * error
    return Estimate(mean, mean - half, mean + half, error, "student-t")


def lattice_sum(groups: Sequence[tuple[int, int, float]]) -> NDArray[np.float64]:
    """Distribution of a sum of scaled binomials: entry s is P(Σ step · Binomial(count, probability) = s).

    ``groups`` are (step, count, probability) with step >= 1. Exact but for rounding: sums of products of
    probabilities, nothing is subtracted.
    """
    total = np.ones(1)
    for step, count, probability in sorted(groups, key=lambda group: -group[1]):
        part = stats.binom.pmf(np.arange(count + 1), count, probability)
        longer = np.zeros(len(total) + step * count)
        for k in range(count + 1) if count < len(total) else ():
            longer[k * step : k * step + len(total)] += part[k] * total
        for k in range(len(total)) if count >= len(total) else ():
            longer[k : k + step * count + 1 : step] += total[k] * part
        total = longer
    return total


def lattice(values: Sequence[Fraction]) -> tuple[list[int], int]:
    """``values`` as whole multiples of 1/denominator: (multiples, denominator), in lowest terms."""
    denominator = math.lcm(*(value.denominator for value in values)) if values else 1
    return [int(value * denominator) for value in values], denominator


def sign_flip_p_value(differences: Sequence[Fraction]) -> float:
    """Exact two-sided p value that paired differences are as often positive as negative.

    The paired randomisation test (Fisher 1935, Pitman 1937): under the null hypothesis each difference has either
    sign with probability 1/2, its size given; p = P(|Σ ±d| >= |Σ d|), summed exactly over all sign patterns. For
    credits of 0 and 1 this is the exact McNemar test (McNemar 1947), and ties' fractions keep their size.
    """
    multiples, _ = lattice([value for value in differences if value])
    if not multiples:
        return 1.0
    unit = math.gcd(*multiples)
    sizes = Counter(abs(multiple) // unit for multiple in multiples)
    observed = abs(sum(multiples)) // unit
    # Σ ±d = 2 · (sum of the positive sizes) − sum of all sizes
    chances = lattice_sum([(size, count, 0.5) for size, count in sorted(sizes.items())])
    sums = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(sums) >= observed].sum()))


def chance_p_value(credits_: Sequence[Fraction], best: Sequence[int], choices: Sequence[int]) -> float:
    """Exact one-sided p value of an accuracy against guessing.

    The scores are held fixed and the right answer is drawn among the choices: an instance with n choices, b of
    them tied for best, earns 1/b with probability b/n. p is the probability of a sum at least the observed one. Without
    ties this is the Poisson-binomial tail, and the binomial tail where all instances have equally many choices.
    """
    groups = Counter(zip(best, choices, strict=True))
    certain = sum((Fraction(1, b) * count for (b, n), count in groups.items() if b == n), Fraction(0))
    steps, denominator = lattice([Fraction(1, b) for b, _ in groups])
    observed = (sum(credits_, Fraction(0)) - certain) * denominator
    chances = lattice_sum(
        [(step, count, b / n) for step, ((b, n), count) in zip(steps, groups.items(), strict=True) if b < n]
    )
    if observed <= 0:
        return 1.0
    return min(1.0, float(chances[math.ceil(observed) :].sum()))


def paired_difference(differences: Sequence[Fraction], confidence: float = CONFIDENCE) -> Estimate:
    """Mean paired difference of credits with an interval.

    Bonett & Price (2012): one item of +1 and one of −1 are added, then the usual interval of a mean, which keeps
    its coverage in small samples and has width where all pairs agree. ``value`` is the plain mean.
    """
    n = len(differences)
    values = [float(value) for value in differences]
    mean = float(sum(differences, Fraction(0)) / n)
    shifted = math.fsum(values) / (n + 2)
    spread = (math.fsum(value * value for value in values) + 2) / (n + 2) - shifted * shifted
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt(spread / (n + 2))
    low, high = max(-1.0, min(shifted - half, mean)), min(1.0, max(shifted + half, mean))
    return Estimate(mean, low, high, standard_error(values), "bonett-price")


def paired_t_p_value(differences: Sequence[float]) -> float | None:
    """Two-sided p value of Student's paired t test; None below two items."""
    error = standard_error(differences)
    if error is None:
        return None
    mean = math.fsum(differences) / len(differences)
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, len(differences) - 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values adjusted for their number (Holm 1979): the chance of any false finding stays below the level."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def detectable_difference(differences: Sequence[Fraction], power: float = 0.8) -> float | None:
    """Paired difference that a comparison of this size and spread finds with probability ``power`` at the 5 % level."""
    error = standard_error([float(value) for value in differences])
    if not error:
        return None
    return float(stats.norm.ppf(0.5 + CONFIDENCE / 2) + stats.norm.ppf(power)) * error
