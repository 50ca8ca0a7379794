"""Standard errors and 95 % intervals.

Instances that share a cluster (a passage, a subject, a source) are not independent: variances are taken over sums of
clusters (Liang and Zeger 1986, Biometrika 73), with the factor C/(C − 1) and Student's quantiles of C − 1 degrees of
freedom. Simulated coverage of every construction is printed by ``tools/coverage_rank.py`` and stands in
``docs/intervals.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from .scores import Floats, Ints

CONFIDENCE = 0.95
NORMAL = float(ndtri(0.5 + CONFIDENCE / 2))
POWER = float(ndtri(0.8))
MINIMUM_INSTANCES = 10
MINIMUM_CLUSTERS = 10  # with fewer the spread between clusters is hardly known, and an interval says nothing


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; without one ``method`` says why. ``degrees`` of freedom are those of the error."""

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    method: str
    degrees: float = math.inf

    def as_json(self) -> dict[str, float | str | None]:
        """As ``metrics.json`` has it."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "standard_error": self.standard_error,
            "method": self.method,
        }


@dataclass(frozen=True)
class Spread:
    """Variance of a mean, and what is known of it: ``size`` of the sample if all were independent of each other."""

    variance: float
    degrees: float
    size: float
    too_few: str | None


def spread(parts: Floats, clusters: Ints | None) -> Spread:
    """Variance of the mean of ``parts`` [I] over independent clusters; without clusters over independent instances."""
    n = len(parts)
    centred: Floats = parts - math.fsum(parts) / n
    sizes: Floats = np.ones(n, dtype=np.float64)
    what, least = "instances", MINIMUM_INSTANCES
    if clusters is not None:
        centred = np.bincount(clusters, weights=centred).astype(np.float64)
        sizes = np.bincount(clusters).astype(np.float64)
        what, least = "clusters", MINIMUM_CLUSTERS
    count = len(centred)
    too_few = f"none: {count} {what[:-1] if count == 1 else what}, {least} needed" if count < least else None
    variance = float(centred @ centred) * count / (count - 1) / n**2 if count > 1 else math.nan
    return Spread(variance, count - 1, n * n / float(sizes @ sizes), too_few)


def quantile(degrees: float) -> float:
    """Of Student's distribution; of the normal one for infinite degrees of freedom."""
    return NORMAL if math.isinf(degrees) else float(stdtrit(degrees, 0.5 + CONFIDENCE / 2))


def wilson(value: float, size: float, deviation: float) -> tuple[float, float]:
    """Wilson's score interval (Wilson 1927) of a proportion ``value`` of ``size`` instances."""
    scale = 1 + deviation * deviation / size
    centre = (value + deviation * deviation / (2 * size)) / scale
    half = deviation / scale * math.sqrt(value * (1 - value) / size + deviation**2 / (4 * size * size))
    return min(max(0.0, centre - half), value), max(min(1.0, centre + half), value)


def proportion(value: float, parts: Floats, clusters: Ints | None = None) -> Estimate:
    """An accuracy with Wilson's interval, which has width at 0 and 100 % too.

    Clusters lower the number of instances to the effective one, p(1 − p) / variance (Korn and Graubard 1998, Survey
    Methodology 24), never above the real one; the quantile is Student's. Where all instances agree, so that the
    variance says nothing, each cluster counts as its members repeated (n² / Σ size²). A credit of 1/k varies less
    than the 0/1 credit of the same mean, so ties make the interval a little too wide, never too narrow.
    """
    found = spread(parts, clusters)
    spare = value * (1 - value)
    if clusters is None:
        size, deviation, method = float(len(parts)), NORMAL, "wilson"
    else:
        size = min(len(parts), spare / found.variance) if found.variance > 0 and spare > 0 else found.size
        deviation, method = quantile(found.degrees), "wilson, clustered"
    error = standard_error(found, value, size)
    if found.too_few is not None:
        return Estimate(value, None, None, error, found.too_few, found.degrees)
    low, high = wilson(value, size, deviation)
    return Estimate(value, low, high, error, method, found.degrees)


def standard_error(found: Spread, value: float, size: float) -> float | None:
    """Standard error of a proportion; where all instances agree that of Agresti and Coull (1998), which is not zero."""
    if found.variance > 0:
        return math.sqrt(found.variance)
    if math.isnan(found.variance):
        return None
    n = size + NORMAL**2
    moved = (value * size + NORMAL**2 / 2) / n
    return math.sqrt(moved * (1 - moved) / n)


def f1_interval(value: float, parts: Floats, clusters: Ints | None = None) -> Estimate:
    """F1 with an interval.

    F / (2 − F) is the share of hits among the instances that are predicted or right, so Wilson's interval is taken of
    that share, with the effective size that the linearised variance gives, and carried back to F.
    """
    found = spread(parts, clusters)
    error = math.sqrt(found.variance) if found.variance > 0 else None
    if found.too_few is not None:
        return Estimate(value, None, None, error, found.too_few, found.degrees)
    if not error or not 0 < value < 1:
        return Estimate(value, None, None, error, "none: F1 is 0 or 1", found.degrees)
    share = value / (2 - value)
    variance = found.variance * (2 / (2 - value) ** 2) ** 2
    low, high = wilson(share, share * (1 - share) / variance, quantile(found.degrees))
    method = "wilson of F/(2-F)" if clusters is None else "wilson of F/(2-F), clustered"
    return Estimate(value, 2 * low / (1 + low), 2 * high / (1 + high), error, method, found.degrees)


def student(value: float, parts: Floats, clusters: Ints | None = None) -> Estimate:
    """Mean over instances with Student's t interval."""
    found = spread(parts, clusters)
    error = None if math.isnan(found.variance) else math.sqrt(found.variance)
    if found.too_few is not None or error is None:
        return Estimate(value, None, None, error, found.too_few or "none", found.degrees)
    half = quantile(found.degrees) * error
    method = "student-t" if clusters is None else "student-t, clustered"
    return Estimate(value, value - half, value + half, error, method, found.degrees)


def estimate(metric: str, value: float, parts: Floats, clusters: Ints | None) -> Estimate:
    """``metric`` with the interval that is right for it."""
    if metric.startswith("acc"):
        return proportion(value, parts, clusters)
    return (f1_interval if metric == "f1" else student)(value, parts, clusters)


def combined(variances: Sequence[float], degrees: Sequence[float], count: int) -> tuple[float, float]:
    """Variance of a mean of ``count`` values, and its degrees of freedom (Satterthwaite 1946, Biometrics 2).

    ``variances`` are those of independent values, or of independent sums of some of them.
    """
    shares = [variance / count**2 for variance in variances]
    total = math.fsum(shares)
    spent = math.fsum(share * share / df for share, df in zip(shares, degrees, strict=True) if share and df)
    return total, total * total / spent if spent else math.inf


def average_of_shares(
    values: Sequence[float], variances: Sequence[float], degrees: Sequence[float], size: int
) -> Estimate:
    """Unweighted mean of accuracies (domains, tasks) with Wilson's interval of the effective size.

    ``variances`` and ``degrees`` are those of :func:`combined`; ``size`` is the number of all instances, for where
    every one of them agrees.
    """
    value = math.fsum(values) / len(values)
    variance, df = combined(variances, degrees, len(values))
    error = math.sqrt(variance) if variance > 0 else standard_error(Spread(0.0, df, size, None), value, size)
    spare = value * (1 - value)
    low, high = wilson(value, spare / variance if variance > 0 and spare > 0 else size, quantile(df))
    return Estimate(value, low, high, error, "wilson, effective size", df)


def average_of_differences(
    value: float, variances: Sequence[float], degrees: Sequence[float], count: int, weight: float, method: str
) -> tuple[Estimate, float | None]:
    """Mean of ``count`` paired differences (domains, tasks) by Student's t, and its p value.

    As in :func:`paired_difference` one pair of +1 and one of −1 are added, so that the interval has width where all
    agree. They are added once, with the ``weight`` that the heaviest instance has in the mean; a pair in every task
    would widen the interval with the number of tasks. The standard error is without them.
    """
    variance, df = combined(variances, degrees, count)
    wider = math.sqrt(variance + 2 * weight * weight)
    half = quantile(df) * wider
    low, high = max(-1.0, min(value - half, value)), min(1.0, max(value + half, value))
    return Estimate(value, low, high, math.sqrt(variance), method, df), t_p_value(value, wider, df)


def paired_difference(value: float, parts: Floats, clusters: Ints | None = None) -> Estimate:
    """Mean paired difference of credits with an interval.

    Bonett and Price (2012, Journal of Educational and Behavioral Statistics 37): one pair of +1 and one of −1 are
    added, then the usual interval of a mean, which keeps its coverage in small samples and has width where all agree.
    With clusters the two are clusters of their own and the quantile is Student's. ``value`` is the plain mean.
    """
    found = spread(parts, clusters)
    error = None if math.isnan(found.variance) else math.sqrt(found.variance)
    if found.too_few is not None:
        return Estimate(value, None, None, error, found.too_few, found.degrees)
    n = len(parts)
    if clusters is None:
        shifted = math.fsum(parts) / (n + 2)
        half = NORMAL * math.sqrt(((math.fsum(parts * parts) + 2) / (n + 2) - shifted * shifted) / (n + 2))
        method = "bonett-price"
    else:
        extended = np.append(parts, [1.0, -1.0])
        last = int(clusters.max())
        wider = spread(extended, np.append(clusters, [last + 1, last + 2]))
        shifted = math.fsum(extended) / len(extended)
        half = quantile(found.degrees) * math.sqrt(wider.variance)
        method = "bonett-price, clustered"
    low, high = max(-1.0, min(shifted - half, value)), min(1.0, max(shifted + half, value))
    return Estimate(value, low, high, error, method, found.degrees)


def t_p_value(value: float, error: float | None, degrees: float) -> float | None:
    """Two-sided p value that ``value`` is zero, by Student's t; None without a standard error."""
    if error is None:
        return None
    if error == 0.0:
        return 1.0 if value == 0.0 else 0.0
    scaled = -abs(value) / error
    return float(2 * (ndtr(scaled) if math.isinf(degrees) else stdtr(degrees, scaled)))


def detectable_difference(error: float | None, degrees: float) -> float | None:
    """Difference that a comparison with this standard error finds with probability 80 % at the 5 % level.

    ``degrees`` of freedom are those of the error; infinite ones give the normal quantiles.
    """
    if not error:
        return None
    return (quantile(degrees) + (POWER if math.isinf(degrees) else float(stdtrit(degrees, 0.8)))) * error
