"""How often the intervals of catwalk-eval hold the truth: simulated on a grid, as tables for docs/intervals.md.

    python tools/coverage_rank.py [--repetitions 1000] [--seed 0] [KIND …]

Answers of a cluster share a latent probability from a beta distribution with mean p, so that two of them have the
intra-cluster correlation RHO. Clusters are of equal size, or mixed: sizes drawn from 1 to 2m − 1 with mean m.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from catwalk_eval.compare import Compared, suite_difference
from catwalk_eval.intervals import (
    Estimate,
    average_of_shares,
    f1_interval,
    paired_difference,
    proportion,
    spread,
    student,
)
from catwalk_eval.scores import Floats, Ints
from catwalk_eval.suites import Member

SIZES = (50, 100, 200, 500, 1000, 5000)
SHARES = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
CLUSTERS = (1, 2, 5, 10, 20)
RHO = (0.1, 0.3)
Draw = np.random.Generator


@dataclass(frozen=True)
class Cell:
    """A place of the grid: its row and column in each printed table, what is true there, and an interval drawn."""

    places: tuple[tuple[str, str], ...]
    truth: float
    draw: Callable[[Draw], Estimate]


def clusters_of(draw: Draw, n: int, size: int, mixed: bool) -> Ints | None:
    """Cluster numbers of n instances; None for clusters of one."""
    if size == 1:
        return None
    sizes = draw.integers(1, 2 * size, n) if mixed else np.full(n // size + 1, size)
    return np.repeat(np.arange(len(sizes)), sizes)[:n]


def latent(draw: Draw, p: float, rho: float, clusters: Ints | None, n: int) -> Floats:
    """Probability of each instance: equal inside a cluster, beta-distributed between clusters."""
    if clusters is None:
        return np.full(n, p)
    weight = (1 - rho) / rho
    return draw.beta(p * weight, (1 - p) * weight, int(clusters.max()) + 1)[clusters]


def correlations(size: int) -> Sequence[float]:
    return RHO if size > 1 else (0.0,)


def accuracy_cells(mixed: bool) -> Iterator[Cell]:
    """One accuracy."""
    for n in SIZES:
        for size in CLUSTERS:
            for p in SHARES:
                for rho in correlations(size):

                    def draw(random: Draw, n: int = n, size: int = size, p: float = p, rho: float = rho) -> Estimate:
                        clusters = clusters_of(random, n, size, mixed)
                        parts = (random.random(n) < latent(random, p, rho, clusters, n)).astype(np.float64)
                        return proportion(float(parts.mean()), parts, clusters)

                    column = f"clusters of {size}"
                    yield Cell(((f"n {n}", column), (f"p {p:g}", column)), p, draw)


def difference_cells() -> Iterator[Cell]:
    """Paired difference of two accuracies: a share of pairs is right for a alone, another for b alone."""
    for n in SIZES:
        for size in CLUSTERS:
            for only_a, only_b in ((0.02, 0.02), (0.05, 0.02), (0.1, 0.1), (0.15, 0.05), (0.3, 0.2)):
                for rho in correlations(size):

                    def draw(
                        random: Draw,
                        n: int = n,
                        size: int = size,
                        a: float = only_a,
                        b: float = only_b,
                        rho: float = rho,
                    ) -> Estimate:
                        clusters = clusters_of(random, n, size, False)
                        differ = random.random(n) < latent(random, a + b, rho, clusters, n)
                        sign = random.random(n) < latent(random, a / (a + b), rho, clusters, n)
                        parts = np.where(differ, np.where(sign, 1.0, -1.0), 0.0)
                        return paired_difference(float(parts.mean()), parts, clusters)

                    yield Cell(((f"n {n}", f"clusters of {size}"),), only_a - only_b, draw)


def f1_cells() -> Iterator[Cell]:
    """F1: how often the positive choice is right, and predicted where it is and where it is not."""
    for n in SIZES:
        for size in CLUSTERS:
            for share, found, wrong in ((0.3, 0.5, 0.2), (0.5, 0.7, 0.3), (0.7, 0.95, 0.9), (0.5, 0.95, 0.05)):
                for rho in correlations(size):

                    def draw(
                        random: Draw,
                        n: int = n,
                        size: int = size,
                        share: float = share,
                        found: float = found,
                        wrong: float = wrong,
                        rho: float = rho,
                    ) -> Estimate:
                        clusters = clusters_of(random, n, size, False)
                        right = (random.random(n) < latent(random, share, rho, clusters, n)).astype(np.float64)
                        hit, miss = latent(random, found, rho, clusters, n), latent(random, wrong, rho, clusters, n)
                        predicted = (random.random(n) < np.where(right > 0, hit, miss)).astype(np.float64)
                        both, either = 2 * predicted * right, predicted + right
                        value = float(both.sum() / either.sum()) if either.sum() else 0.0
                        parts = value + (both - value * either) * n / max(1.0, float(either.sum()))
                        return f1_interval(value, parts, clusters)

                    truth = 2 * share * found / (share * found + (1 - share) * wrong + share)
                    yield Cell(((f"n {n}", f"clusters of {size}"),), truth, draw)


def mean_cells() -> Iterator[Cell]:
    """A mean of skewed positive values (bits per byte): log-normal, sigma 0.4 and 0.8."""
    for n in SIZES:
        for size in CLUSTERS:
            for sigma in (0.4, 0.8):
                for rho in correlations(size):

                    def draw(
                        random: Draw, n: int = n, size: int = size, sigma: float = sigma, rho: float = rho
                    ) -> Estimate:
                        clusters = clusters_of(random, n, size, False)
                        noise = random.normal(size=n)
                        if clusters is not None:
                            shared = random.normal(size=int(clusters.max()) + 1)[clusters]
                            noise = math.sqrt(rho) * shared + math.sqrt(1 - rho) * noise
                        parts = np.exp(sigma * noise)
                        return student(float(parts.mean()), parts, clusters)

                    yield Cell(((f"n {n}", f"clusters of {size}"),), math.exp(sigma * sigma / 2), draw)


def average_cells() -> Iterator[Cell]:
    """Unweighted mean over domains (of one task) or tasks (of a suite), each with its own accuracy about p."""
    for groups in (4, 9, 57):
        for each in (5, 10, 25, 100, 500):
            for p in SHARES:
                spare = min(p, 1 - p)
                shares = np.clip(p + np.linspace(-0.8, 0.8, groups) * spare, 0.001, 0.999)

                def draw(random: Draw, shares: Floats = shares, each: int = each, groups: int = groups) -> Estimate:
                    hits = random.random((groups, each)) < shares[:, None]
                    found = [spread(row.astype(np.float64), None) for row in hits]
                    values, variances = hits.mean(1).tolist(), [one.variance for one in found]
                    return average_of_shares(values, variances, [one.degrees for one in found], groups * each)

                yield Cell(((f"{groups} groups", f"{each} each"),), float(shares.mean()), draw)


def suite_cells() -> Iterator[Cell]:
    """Difference of two models' means over tasks, the pairs of each task unlike in their own shares."""
    for tasks in (2, 4, 9):
        for each in (50, 100, 300, 1000):
            for only_a, only_b in ((0.02, 0.02), (0.1, 0.1), (0.15, 0.05)):
                scale = np.linspace(0.5, 1.5, tasks)

                def draw(
                    random: Draw, scale: Floats = scale, each: int = each, a: float = only_a, b: float = only_b
                ) -> Estimate:
                    found = []
                    for number, share in enumerate(scale.tolist()):
                        kinds = random.choice(3, each, p=[a * share, b * share, 1 - (a + b) * share])
                        parts = np.array([1.0, -1.0, 0.0])[kinds]
                        mean = float(parts.mean())
                        row = {"metric": "acc_raw", "task": str(number), "a": mean, "b": 0.0, "difference": mean}
                        member = Member(number, parts, np.arange(each), None)
                        found.append(Compared(row, paired_difference(mean, parts), member))
                    suite = suite_difference(found)
                    assert suite is not None
                    return Estimate(
                        *(suite[key] for key in ("difference", "low", "high", "standard_error", "interval"))
                    )

                yield Cell(((f"{tasks} tasks", f"{each} each"),), only_a - only_b, draw)


KINDS: dict[str, tuple[str, Callable[[], Iterator[Cell]]]] = {
    "accuracy": ("Accuracy, clusters of equal size; mean over p and correlation", lambda: accuracy_cells(False)),
    "mixed": ("Accuracy, clusters of mixed size; mean over p and correlation", lambda: accuracy_cells(True)),
    "difference": (
        "Paired difference of accuracies; mean over shares of unlike pairs and correlation",
        difference_cells,
    ),
    "f1": ("F1; mean over rates and correlation", f1_cells),
    "mean": ("Mean of skewed values (bits per byte); mean over skewness and correlation", mean_cells),
    "suite": ("Difference of means over tasks; mean over shares of unlike pairs", suite_cells),
    "average": ("Unweighted mean of accuracies (domains, tasks); mean over p", average_cells),
}


def coverage(cell: Cell, repetitions: int, random: Draw) -> float | None:
    """Share of intervals that hold the truth; None where most draws have none."""
    held = there = 0
    for _ in range(repetitions):
        found = cell.draw(random)
        if found.low is not None and found.high is not None:
            there += 1
            held += found.low <= cell.truth <= found.high
    return held / there if there > repetitions / 2 else None


def tables(kind: str, repetitions: int, seed: int) -> tuple[str, list[float]]:
    """The Markdown tables of a kind, and the coverage of all its cells."""
    title, cells = KINDS[kind]
    found: list[dict[tuple[str, str], list[float | None]]] = []
    every = []
    for number, cell in enumerate(cells()):
        value = coverage(cell, repetitions, np.random.default_rng([seed, number]))
        found += [defaultdict(list) for _ in cell.places[len(found) :]]
        for layout, place in zip(found, cell.places, strict=True):
            layout[place].append(value)
        every += [] if value is None else [value]
    lines = [f"**{title}**"]
    for layout in found:
        rows, columns = (list(dict.fromkeys(place[side] for place in layout)) for side in (0, 1))
        lines += ["", "| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
        lines += [f"| {row} | " + " | ".join(summary(layout[row, name]) for name in columns) + " |" for row in rows]
    lines += ["", f"Mean over {len(every)} cells {100 * np.mean(every):.1f} %, lowest {100 * min(every):.1f} %."]
    return "\n".join(lines), every


def summary(values: Sequence[float | None]) -> str:
    """Mean and lowest in percent."""
    known = [value for value in values if value is not None]
    return f"{100 * sum(known) / len(known):.1f} ({100 * min(known):.0f})" if known else "none"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args(arguments)
    unknown = [kind for kind in settings.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; known: {', '.join(KINDS)}")
    print(f"Percent of nominal 95 % intervals that hold the truth, {settings.repetitions} draws a cell, seed")
    print(f"{settings.seed}: mean (lowest cell). none: below the minimum count no interval is given.\n")
    outside = []
    for kind in settings.kinds or KINDS:
        text, every = tables(kind, settings.repetitions, settings.seed)
        print(text + "\n", flush=True)
        if not 0.93 <= float(np.mean(every)) <= 0.97:
            outside.append(kind)
    if outside:
        print(f"outside 93 to 97 %: {', '.join(outside)}", file=sys.stderr)
    return 1 if outside else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
