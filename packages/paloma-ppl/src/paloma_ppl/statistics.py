"""Intervals for bits per byte, and for other ratios of sums, by resampling documents (never tokens: those of one
document are not independent).

Bits per byte of a set of documents is a ratio of sums, r = Σx / Σb, with x the bits and b the bytes of a document. Its
interval is the symmetric studentised bootstrap (Hall 1988, The Annals of Statistics 16): documents are drawn with
replacement inside their stratum (a domain), each draw gives |t*| = |r* − r| / s*, and the interval is r ± q s', with q
the quantile of |t*|. s is the linearised standard error of a stratified ratio (Cochran 1977, chapter 6), s' that of the
jackknife, which does not overlook a single long document that pulls r towards itself. For a ratio that cannot be
negative all this is done to log r, which keeps the interval positive.

In simulations with log-normal lengths (σ of 1 and 1.5, longer documents easier) this covers 94 to 96% at a nominal 95%
from 20 documents on; percentile intervals covered 85 to 93%. Where the variance of the lengths is infinite (Pareto
with exponent 1.5), nothing of this kind is right: it covers 86 to 92%, percentile intervals 78 to 84%.

The sums Σx, Σb, Σx², Σxb, Σb² of a draw are all that r* and s* need, so that the draws of a stratum serve every set of
documents it belongs to.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

RESAMPLES = 2000
MINIMUM_DOCUMENTS = 10  # with fewer, a 95% interval of documents of very unequal length covers far less than it says
TAIL = 50  # largest draws, from which the tail of p-values is taken
TAIL_DOCUMENTS = 50  # with fewer, draws say too little of the tail
CHUNK = 4_000_000  # weights formed at once
ROUNDING = 1e-13  # share of the terms of a difference below which it is nothing
LARGEST_LOGARITHM = 700.0  # beyond this the exponential is no double
Floats = NDArray[np.float64]
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """``low`` and ``high`` are None where ``method`` says why there is no interval."""

    low: float | None
    high: float | None
    method: str
    p: float | None = None  # of no difference: two-sided, from the same draws (not with ``logarithm``)


@dataclass(frozen=True)
class Stratum:
    """Documents that are resampled together: sums over them and over each of the resamples."""

    documents: int
    bits: Floats  # [n]
    size: Floats  # [n], bytes
    sums: Floats  # [5]
    resampled: Floats  # [R, 5]
    blocks: bool = False  # of the windows of one document, instead of documents


def check_confidence(confidence: float) -> None:
    if not 0.5 <= confidence < 1:
        raise UserError(f"a confidence of {confidence}", where="confidence", fix="give one from 0.5 to below 1")


def with_products(columns: Floats) -> Floats:
    """``columns`` [n, m] and, behind them, the product of each pair of them, [n, m + m (m + 1) / 2]."""
    first, second = np.triu_indices(columns.shape[1])
    return np.concatenate([columns, columns[:, first] * columns[:, second]], axis=1)


def resampled_sums(name: str, columns: Floats, resamples: int) -> Floats:
    """Sums [R, k] of ``columns`` [n, k] over rows drawn with replacement; which, depends on ``name`` and n alone."""
    n = len(columns)
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    resampled = np.empty((resamples, columns.shape[1]))
    rows = max(1, CHUNK // n)
    for begin in range(0, resamples, rows):
        count = min(rows, resamples - begin)
        drawn = generator.integers(0, n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        resampled[begin : begin + count] = weights @ columns
    return resampled


def make_stratum(name: str, bits: Floats, size: Floats, resamples: int = RESAMPLES, *, blocks: bool = False) -> Stratum:
    """Resample the documents (or ``blocks`` of one) of a stratum; the draws depend on its name and their number alone.

    ``bits`` and ``size`` are [n]: bits (or any other amount that adds up) and bytes of each document.
    """
    columns = with_products(np.stack([bits, size], axis=1))
    return Stratum(len(bits), bits, size, columns.sum(axis=0), resampled_sums(name, columns, resamples), blocks)


def variance_of_sum(sums: Floats, n: int, ratio: Floats) -> Floats:
    """Estimated variance of Σ(x − r b) over a stratum of n documents, from its five sums [..., 5]."""
    total = sums[..., 0] - ratio * sums[..., 1]
    squares = sums[..., 2] - 2 * ratio * sums[..., 3] + ratio * ratio * sums[..., 4]
    terms = sums[..., 2] + ratio * ratio * sums[..., 4]
    return beyond_rounding(squares - total * total / n, terms) * n / (n - 1)


def beyond_rounding(difference: Floats, terms: Floats) -> Floats:
    """A sum of squares that was formed by subtraction, 0 where rounding of its ``terms`` may be all there is of it.

    A draw that repeats one document has no variance; what rounding leaves of it would give it a huge |t*|.
    """
    return np.where(difference > ROUNDING * terms, difference, 0.0)


def ratio_and_error(sums: Sequence[Floats], counts: Sequence[int]) -> tuple[Floats, Floats]:
    """Ratio of the sums over all strata, and its standard error; ``sums`` are [..., 5] each."""
    size = sum(part[..., 1] for part in sums)
    ratio = np.asarray(sum(part[..., 0] for part in sums) / size)
    variance = sum(variance_of_sum(part, n, ratio) for part, n in zip(sums, counts, strict=True))
    return ratio, np.sqrt(variance) / size


def jackknife_error(strata: Sequence[Stratum], ratio: float) -> float:
    """Standard error of the ratio of sums over all strata from leaving out each document in turn.

    The others of its stratum stand for it, each with a weight of n / (n − 1) (Jones 1974, Biometrika 61).
    """
    total = sum(float(stratum.sums[1]) for stratum in strata)
    variance = 0.0
    for stratum in strata:
        n, size, residuals = stratum.documents, stratum.size, stratum.bits - ratio * stratum.size
        change = (residuals.sum() - n * residuals) / (n - 1) / (total + (size.sum() - n * size) / (n - 1))
        variance += (1 - 1 / n) * float(np.sum((change - change.mean()) ** 2))
    return math.sqrt(variance)


def mean_jackknife_error(strata: Sequence[Stratum]) -> float:
    """The same for the mean over strata of each one's ratio."""
    errors = [jackknife_error([stratum], float(stratum.sums[0] / stratum.sums[1])) for stratum in strata]
    return math.sqrt(math.fsum(error * error for error in errors)) / len(strata)


def mean_ratio_and_error(sums: Sequence[Floats], counts: Sequence[int]) -> tuple[Floats, Floats]:
    """Mean over strata of each one's ratio, and its standard error."""
    pairs = [ratio_and_error([part], [n]) for part, n in zip(sums, counts, strict=True)]
    mean = np.asarray(sum(ratio for ratio, _ in pairs) / len(pairs))
    return mean, np.sqrt(sum(error * error for _, error in pairs)) / len(pairs)


def bootstrap_interval(
    strata: Sequence[Stratum], confidence: float, *, logarithm: bool, mean_of_strata: bool = False
) -> Interval:
    """Interval for the ratio of sums over the strata, or for the mean of their ratios.

    ``logarithm``: work on log r (for amounts that cannot be negative; not for differences).
    """
    check_confidence(confidence)
    counts = [stratum.documents for stratum in strata]
    if (none := too_few(counts)) is not None:
        return none
    divisors = [float(stratum.sums[1]) for stratum in strata]
    if not (all(divisors) if mean_of_strata else any(divisors)):
        return Interval(None, None, "none: nothing to divide by")
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # such a draw is beyond
        estimate = mean_ratio_and_error if mean_of_strata else ratio_and_error
        point = float(estimate([stratum.sums for stratum in strata], counts)[0])
        error = mean_jackknife_error(strata) if mean_of_strata else jackknife_error(strata, point)
        points, errors = estimate([stratum.resampled for stratum in strata], counts)
    if not (math.isfinite(point) and math.isfinite(error)):
        return Interval(None, None, "none: one document makes all of it")
    method = method_of(counts, [stratum.blocks for stratum in strata], len(points))
    if not error > 1e-12 * abs(point):
        return Interval(
            point, point, method + " (no difference between documents)", None if logarithm else float(point == 0)
        )
    if not logarithm:
        tail = sum(counts) - (len(counts) - 1) >= TAIL_DOCUMENTS  # each further domain has a value of its own
        return symmetric_interval(point, error, points, errors, confidence, method, tail=tail)
    with np.errstate(divide="ignore", invalid="ignore"):  # stretched blocks may add up to less than nothing
        points, errors = np.log(points), errors / points
    return exponential_of(symmetric_interval(math.log(point), error / point, points, errors, confidence, method))


def exponential_of(of: Interval) -> Interval:
    """Interval of an amount from that of its logarithm."""
    if of.low is None or of.high is None:
        return of
    if max(-of.low, of.high) > LARGEST_LOGARITHM:
        return Interval(None, None, "none: too many resamples hold almost the same document only")
    return Interval(math.exp(of.low), math.exp(of.high), of.method)


def too_few(counts: Sequence[int]) -> Interval | None:
    """What stands in the place of an interval where strata of so many documents are too little to resample."""
    documents = sum(counts)
    if documents < MINIMUM_DOCUMENTS:
        counted = "1 document" if documents == 1 else f"{documents} documents"
        return Interval(None, None, f"none: {counted}, at least {MINIMUM_DOCUMENTS} are needed")
    alone = sum(count == 1 for count in counts)
    if alone:
        return Interval(None, None, f"none: {alone} of {len(counts)} domains have a single document")
    return None


def method_of(counts: Sequence[int], blocks: Sequence[bool], resamples: int) -> str:
    """What was done, in words; ``blocks``: which strata are blocks of the windows of one document."""
    if len(counts) == 1:
        over = f"{counts[0]} blocks of the windows of one document" if blocks[0] else "documents"
        return f"studentised bootstrap over {over}, {resamples} resamples"
    some = f" (in {sum(blocks)} domains over blocks of the windows of one)" if any(blocks) else ""
    return f"studentised bootstrap over documents{some}, {resamples} resamples, stratified by domain"


def symmetric_interval(
    point: float, error: float, points: Floats, errors: Floats, confidence: float, method: str, *, tail: bool = False
) -> Interval:
    """``point`` ± q ``error``, q the quantile of |t*| = |``points`` − ``point``| / ``errors`` over the draws [R].

    ``tail``: whether the p-value may follow the tail of the draws beyond them.
    """
    with np.errstate(invalid="ignore"):
        t = np.divide(np.abs(points - point), errors, out=np.full_like(points, np.inf), where=errors > 0)
    t[np.isnan(t)] = np.inf  # a draw that has no value
    reach = float(np.quantile(t, confidence, method="higher")) * error
    if not math.isfinite(reach):
        return Interval(None, None, "none: too many resamples hold the same document only")
    return Interval(point - reach, point + reach, method, p_value(t, abs(point) / error, tail=tail))


def p_value(t: Floats, observed: float, *, tail: bool) -> float:
    """Share of the draws |t*| [R] that reach ``observed``, at least 1 / (R + 1).

    With ``tail``, what lies beyond all but the ``TAIL`` largest draws is taken for Pareto's, with the index that these
    give (Hill 1975, The Annals of Statistics 3), so that tests of many domains do not need as many more draws. A tail
    that falls faster than any power, such as a normal one, gives larger values than it should.
    """
    largest = np.sort(t)[-TAIL - 1 :]
    base, excess = float(largest[0]), 0.0
    if tail and len(t) > TAIL and observed > base > 0:
        excess = float(np.sum(np.log(largest[1:] / base)))
    if excess > 0:
        return (1 + TAIL) / (1 + len(t)) * math.exp(TAIL / excess * math.log(base / observed))
    return (1 + int(np.count_nonzero(t >= observed))) / (1 + len(t))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false one below their level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def indices_of(keys: Iterable[K]) -> dict[K, list[int]]:
    """Where each key stands, in the order in which they first do."""
    found: dict[K, list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return found


def strata_by_domain(keys: Sequence[tuple[str, str]]) -> dict[str, NDArray[np.int64]]:
    """Indices of the documents of each stratum, by name: domains, where those of a single document are pooled.

    A stratum of one document has no variance to resample. Such domains are pooled within their source; where that
    leaves one alone, over sources; where that does, with the largest stratum. Pooling takes differences between the
    domains for chance, so that the interval errs to the wide side.
    """
    domains = indices_of(f"{source}\0{domain}" for source, domain in keys)
    for pool_of in (lambda name: name.split("\0")[0], lambda _: ""):
        for name in [name for name, members in domains.items() if len(members) == 1]:
            members = domains.pop(name)
            domains.setdefault(pool_of(name) + "\0\0pooled", []).extend(members)
    for name in [name for name, members in domains.items() if len(members) == 1 and len(domains) > 1]:
        members = domains.pop(name)
        domains[max(domains, key=lambda other: len(domains[other]))].extend(members)
    return {name: np.array(sorted(members)) for name, members in domains.items()}
