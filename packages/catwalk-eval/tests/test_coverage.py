"""The intervals hold the truth about as often as they say; the whole grid is printed by tools/coverage_rank.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from catwalk_eval.intervals import Estimate, average_of_shares, paired_difference, proportion, spread, student
from catwalk_eval.suites import Member, spread_of_sum

DRAWS = 400
Draw = np.random.Generator


def accuracy(random: Draw, n: int, size: int, p: float) -> Estimate:
    """Clusters of equal size with an intra-cluster correlation of 0.2."""
    chances = random.beta(4 * p, 4 * (1 - p), -(-n // size)) if size > 1 else np.full(n, p)
    clusters = np.repeat(np.arange(len(chances)), size)[:n]
    parts = (random.random(n) < chances[clusters]).astype(np.float64)
    return proportion(float(parts.mean()), parts, clusters if size > 1 else None)


def difference(random: Draw, n: int, size: int, p: float) -> Estimate:
    """A share of p of the pairs is right for the first alone, of 0.1 for the second alone; size at a time alike."""
    kinds = np.repeat(random.choice(3, -(-n // size), p=[p, 0.1, 0.9 - p]), size)[:n]
    parts = np.array([1.0, -1.0, 0.0])[kinds]
    clusters = np.repeat(np.arange(-(-n // size)), size)[:n]
    return paired_difference(float(parts.mean()), parts, clusters if size > 1 else None)


def domains(random: Draw, n: int, size: int, p: float) -> Estimate:
    """``size`` domains of n / size instances, with accuracies about p."""
    shares = np.linspace(0.5 * p, 1.5 * p, size)
    hits = random.random((n // size, size)) < shares
    found = [spread(hits[:, k].astype(np.float64), None) for k in range(size)]
    return average_of_shares(hits.mean(0).tolist(), [one.variance for one in found], [one.degrees for one in found], n)


def same_questions(random: Draw, n: int, size: int, p: float) -> Estimate:
    """Mean of ``size`` accuracies on the same n questions, which are easy or hard for all of them."""
    easy = random.beta(2 * p, 2 * (1 - p), n)
    members = [Member("one", (random.random(n) < easy).astype(np.float64), np.arange(n), None) for _ in range(size)]
    found = spread_of_sum(members)
    values = [float(member.parts.mean()) for member in members]
    return average_of_shares(values, [found.variance], [found.degrees], n)


def bits(random: Draw, n: int, size: int, p: float) -> Estimate:
    """Log-normal values with a mean of 1, ``size`` at a time alike."""
    values = np.repeat(random.normal(size=-(-n // size)), size)[:n]
    parts = np.exp(p * values - p * p / 2)
    clusters = np.repeat(np.arange(-(-n // size)), size)[:n]
    return student(float(parts.mean()), parts, clusters if size > 1 else None)


@pytest.mark.parametrize(
    ("draw", "truth", "grid"),
    [
        (
            accuracy,
            lambda p: p,
            [(50, 1, 0.1), (50, 1, 0.98), (500, 1, 0.5), (100, 5, 0.25), (200, 10, 0.9), (400, 20, 0.5)],
        ),
        (difference, lambda p: p - 0.1, [(50, 1, 0.1), (200, 1, 0.2), (200, 5, 0.1), (400, 10, 0.3)]),
        (domains, lambda p: p, [(100, 10, 0.3), (400, 4, 0.6), (570, 57, 0.4)]),
        (same_questions, lambda p: p, [(100, 2, 0.5), (300, 2, 0.3), (200, 4, 0.6)]),
        (bits, lambda p: 1.0, [(100, 1, 0.4), (400, 1, 0.8), (300, 5, 0.4)]),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(
    draw: Callable[..., Estimate], truth: Callable[[float], float], grid: list[tuple[int, int, float]]
) -> None:
    covered = []
    for cell, (n, size, p) in enumerate(grid):
        random = np.random.default_rng([7, cell])
        held = 0
        for _ in range(DRAWS):
            found = draw(random, n, size, p)
            assert found.low is not None
            assert found.high is not None
            held += found.low <= truth(p) <= found.high
        covered.append(held / DRAWS)
        assert 0.89 <= covered[-1] <= 0.99, (n, size, p)
    assert 0.93 <= sum(covered) / len(covered) <= 0.97
