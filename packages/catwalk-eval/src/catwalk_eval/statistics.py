"""Exact tests, and the correction for many of them.

Credits are fractions, since a tie of k best choices counts 1/k; no test here takes them for 0 or 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from .scores import Floats, Ints, Prediction


def binomial(count: int, probability: float) -> Floats:
    """P(k successes of ``count``), k = 0 … count."""
    k = np.arange(count + 1)
    ways = gammaln(count + 1) - gammaln(k + 1) - gammaln(count - k + 1)
    return np.asarray(np.exp(ways + xlogy(k, probability) + xlog1py(count - k, -probability)))


def lattice_sum(groups: Sequence[tuple[int, int, float]]) -> NDArray[np.float64]:
    """Distribution of a sum of scaled binomials: entry s is P(Σ step · Binomial(count, probability) = s).

    ``groups`` are (step, count, probability) with step >= 1. Exact but for rounding: sums of products of
    probabilities, nothing is subtracted.
    """
    total = np.ones(1)
    for step, count, probability in sorted(groups, key=lambda group: -group[1]):
        part = binomial(count, probability)
        longer = np.zeros(len(total) + step * count)
        for k in range(count + 1) if count < len(total) else ():
            longer[k * step : k * step + len(total)] += part[k] * total
        for k in range(len(total)) if count >= len(total) else ():
            longer[k : k + step * count + 1 : step] += total[k] * part
        total = longer
    return total


def sign_flip_p_value(multiples: Ints, clusters: Ints | None = None) -> float:
    """Exact two-sided p value that paired differences are as often positive as negative.

    The paired randomisation test (Fisher 1935, Pitman 1937): under the null hypothesis each difference has either
    sign with probability 1/2, its size given; p = P(|Σ ±d| >= |Σ d|), summed exactly over all sign patterns. For
    credits of 0 and 1 this is the exact McNemar test (McNemar 1947), and ties' fractions keep their size. Differences
    are given as whole ``multiples`` of one fraction. Those of a cluster turn their sign together.
    """
    if clusters is not None:
        sums = np.zeros(int(clusters.max()) + 1, dtype=np.int64)
        np.add.at(sums, clusters, multiples)
        multiples = sums
    multiples = multiples[multiples != 0]
    if not len(multiples):
        return 1.0
    multiples = multiples // np.gcd.reduce(np.abs(multiples))
    sizes, counts = np.unique(np.abs(multiples), return_counts=True)
    observed = abs(int(multiples.sum()))
    # Σ ±d = 2 · (sum of the positive sizes) − sum of all sizes
    groups = zip(sizes.tolist(), counts.tolist(), strict=True)
    chances = lattice_sum([(size, count, 0.5) for size, count in groups])
    sums = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(sums) >= observed].sum()))


def difference_multiples(ours: Prediction, theirs: Prediction) -> Ints:
    """Differences of credits as whole multiples of one fraction."""
    denominator = math.lcm(*np.unique(ours.count).tolist(), *np.unique(theirs.count).tolist())
    return ours.multiples(denominator) - theirs.multiples(denominator)


def chance_p_value(prediction: Prediction, choices: Ints) -> float:
    """Exact one-sided p value of an accuracy against guessing; ``choices`` [I] counts those of each instance.

    The scores are held fixed and the right answer is drawn among the choices: an instance with n choices, b of
    them tied for best, earns 1/b with probability b/n. p is the probability of a sum at least the observed one. Without
    ties this is the Poisson-binomial tail, and the binomial tail where all instances have equally many choices.
    """
    groups = Counter(zip(prediction.count.tolist(), choices.tolist(), strict=True))
    certain = sum((Fraction(count, b) for (b, n), count in groups.items() if b == n), Fraction(0))
    denominator = math.lcm(*(b for b, _ in groups))
    observed = (prediction.total - certain) * denominator
    chances = lattice_sum([(denominator // b, count, b / n) for (b, n), count in groups.items() if b < n])
    if observed <= 0:
        return 1.0
    return min(1.0, float(chances[math.ceil(observed) :].sum()))


def holm(p_values: Mapping[object, float]) -> dict[object, float]:
    """p values adjusted for their number (Holm 1979): the chance of any false finding stays below the level."""
    adjusted: dict[object, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}
