from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from catwalk_eval import statistics
from catwalk_eval.intervals import (
    Estimate,
    average_of_shares,
    detectable_difference,
    f1_interval,
    paired_difference,
    proportion,
    spread,
    student,
    t_p_value,
)
from catwalk_eval.scores import Prediction
from catwalk_eval.statistics import holm, lattice_sum

ONE, ZERO = Fraction(1), Fraction(0)
credits_of_ties = st.sampled_from([ZERO, ONE, Fraction(1, 2), Fraction(1, 3)])


def shares(hits: int, misses: int) -> Estimate:
    return proportion(hits / (hits + misses), np.array([1.0] * hits + [0.0] * misses))


def differences_of(values: list[Fraction]) -> Estimate:
    return paired_difference(float(sum(values)) / len(values), np.array([float(value) for value in values]))


def sign_flip_p_value(values: list[Fraction], clusters: list[int] | None = None) -> float:
    denominator = math.lcm(*(value.denominator for value in values))
    multiples = np.array([int(value * denominator) for value in values])
    return statistics.sign_flip_p_value(multiples, None if clusters is None else np.array(clusters))


def chance_p_value(rows: list[tuple[int, int, bool]]) -> float:
    """Of instances (choices, tied for best, whether the right one is among them)."""
    counts, best, hit = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.zeros(0)
    return statistics.chance_p_value(Prediction(nothing.astype(bool), best, hit.astype(bool), nothing), counts)


def test_wilson_interval_has_its_textbook_values() -> None:
    estimate = shares(15, 5)
    reference = binomtest(15, 20).proportion_ci(method="wilson")
    assert estimate.value == 0.75
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert estimate.standard_error == pytest.approx(0.09933992677987828)


def test_wilson_interval_has_width_where_all_is_right_or_wrong() -> None:
    right, wrong = shares(30, 0), shares(0, 30)
    assert (right.value, right.high) == (1.0, 1.0)
    assert right.low == pytest.approx(0.8864866, abs=1e-6)
    assert wrong.low == 0.0
    assert wrong.high == pytest.approx(1 - 0.8864866, abs=1e-6)
    errors = [right.standard_error, wrong.standard_error]
    assert errors == pytest.approx([0.03977, 0.03977], abs=1e-4)  # of Agresti and Coull: never zero


def test_a_cluster_of_equal_answers_counts_once_at_the_edges() -> None:
    clusters = np.repeat(np.arange(30), 5)
    many, once = proportion(1.0, np.ones(150), clusters), shares(30, 0)
    assert once.low is not None
    assert many.low is not None
    assert many.low < once.low  # Student's quantile of 29 degrees of freedom
    assert many.low == pytest.approx(once.low, abs=0.01)


def test_clusters_of_one_are_independent_instances() -> None:
    values = np.array([1.0] * 30 + [0.0] * 20)
    apart, clustered = spread(values, None), spread(values, np.arange(50))
    assert (apart.variance, apart.degrees) == (clustered.variance, clustered.degrees)
    assert apart.variance == pytest.approx(np.var(values, ddof=1) / 50)


def test_clustered_variance_by_hand() -> None:
    """Two clusters of sums +1 and -1 about the mean: C/(C-1) (1 + 1) / n² with C = 2, n = 4."""
    found = spread(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]))
    assert found.variance == pytest.approx(2 / 1 * 2 / 16)
    assert found.too_few == "none: 2 clusters, 10 needed"


@pytest.mark.parametrize("kind", [proportion, student, f1_interval, paired_difference])
def test_below_ten_there_is_no_interval_and_the_reason(kind: object) -> None:
    values = np.array([1.0, 0.0] * 4 + [1.0])
    assert callable(kind)
    estimate = kind(5 / 9, values, None)
    assert (estimate.low, estimate.high, estimate.method) == (None, None, "none: 9 instances, 10 needed")
    assert estimate.standard_error > 0
    one = kind(1.0, np.ones(1), None)
    assert (one.standard_error, one.method) == (None, "none: 1 instance, 10 needed")
    assert kind(0.5, np.array([1.0, 0.0] * 9), np.repeat(np.arange(9), 2)).method == "none: 9 clusters, 10 needed"


def test_f1_interval_of_independent_instances_is_that_of_a_share() -> None:
    """Where all are predicted, F/(2-F) is the share that is right among them."""
    right = np.array([1.0] * 40 + [0.0] * 60)
    value = 2 * 40 / (100 + 40)
    parts = value + (2 * right - value * (1 + right)) / 1.4
    found, plain = f1_interval(value, parts), proportion(0.4, right)
    assert found.low is not None
    assert found.high is not None
    back = [bound / (2 - bound) for bound in (found.low, found.high)]
    assert back == pytest.approx([plain.low, plain.high], abs=0.005)


def test_average_of_accuracies_adds_their_variances() -> None:
    found = average_of_shares([0.5, 0.7], [0.01, 0.03], [99, 99], 200)
    assert found.value == pytest.approx(0.6)
    assert found.standard_error == pytest.approx(math.sqrt(0.04) / 2)
    assert found.degrees == pytest.approx(0.04**2 / (0.01**2 / 99 + 0.03**2 / 99))
    certain = average_of_shares([1.0, 1.0], [0.0, 0.0], [9, 9], 20)
    assert certain.low is not None
    assert certain.low < 1


def test_student_interval_of_ten_values() -> None:
    estimate = student(5.5, np.arange(1.0, 11.0))
    half = 2.2621571628 * (9.1666666667 / 10) ** 0.5
    assert (estimate.low, estimate.high) == pytest.approx((5.5 - half, 5.5 + half), abs=1e-8)


def test_lattice_sum_is_the_sum_of_scaled_binomials() -> None:
    assert lattice_sum([(1, 2, 0.5)]).tolist() == pytest.approx([0.25, 0.5, 0.25])
    assert lattice_sum([(2, 1, 0.25), (3, 1, 0.5)]).tolist() == pytest.approx([0.375, 0, 0.125, 0.375, 0, 0.125])


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (9, 2), (3, 3), (40, 21)])
def test_sign_flip_of_right_and_wrong_is_the_exact_mcnemar_test(b: int, c: int) -> None:
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert sign_flip_p_value([ONE] * b + [-ONE] * c + [ZERO] * 5) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60)
@given(st.lists(st.tuples(credits_of_ties, credits_of_ties), min_size=1, max_size=9))
def test_sign_flip_counts_all_sign_patterns_of_fractional_differences(pairs: list[tuple[Fraction, Fraction]]) -> None:
    differences = [a - b for a, b in pairs]
    observed = abs(sum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    extreme = sum(abs(sum(s * d for s, d in zip(p, differences, strict=True))) >= observed for p in patterns)
    assert sign_flip_p_value(differences) == pytest.approx(extreme / len(patterns), abs=1e-12)


def test_differences_of_a_cluster_turn_together() -> None:
    """Three clusters with sums 2, 1 and -1: of the 8 sign patterns 6 have a sum at least 2 in size."""
    values = [ONE, ONE, ONE, ZERO, ONE, -ONE, -ONE]
    assert sign_flip_p_value(values, [0, 0, 1, 1, 2, 2, 2]) == 6 / 8
    assert sign_flip_p_value(values, list(range(7))) == sign_flip_p_value(values)


def test_chance_p_value_without_ties_is_the_binomial_tail() -> None:
    p = chance_p_value([(4, 1, True)] * 40 + [(4, 1, False)] * 60)
    assert p == pytest.approx(binomtest(40, 100, 0.25, alternative="greater").pvalue, rel=1e-9)
    assert chance_p_value([(4, 1, False)] * 5) == 1.0


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(2, 4), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=5))
def test_chance_p_value_draws_the_right_answer_among_all_choices(rows: list[tuple[int, int, int]]) -> None:
    """Instances of n choices, the first b of them tied for best, the right one drawn: all combinations counted."""
    rows = [(n, min(b, n), label % n) for n, b, label in rows]

    def total(labels: tuple[int, ...]) -> Fraction:
        return sum((Fraction(1, b) for (_, b, _), label in zip(rows, labels, strict=True) if label < b), ZERO)

    observed = total(tuple(label for _, _, label in rows))
    everything = list(itertools.product(*(range(n) for n, _, _ in rows)))
    expected = sum(total(labels) >= observed for labels in everything) / len(everything)
    p = chance_p_value([(n, b, label < b) for n, b, label in rows])
    assert p == pytest.approx(expected, abs=1e-9)


def test_paired_difference_is_bonett_and_price() -> None:
    # 12 and 2 discordant of 50: p1 = 13/52, p2 = 3/52
    estimate = differences_of([ONE] * 12 + [-ONE] * 2 + [ZERO] * 36)
    error = ((13 / 52 + 3 / 52 - (10 / 52) ** 2) / 52) ** 0.5
    assert estimate.value == 0.2
    assert (estimate.low, estimate.high) == pytest.approx(
        (10 / 52 - 1.959964 * error, 10 / 52 + 1.959964 * error), abs=1e-6
    )
    same = differences_of([ZERO] * 20)
    assert same.low is not None
    assert same.high is not None
    assert same.low < 0 < same.high


def test_sign_flip_rejects_a_true_null_hypothesis_no_oftener_than_it_says() -> None:
    draw = np.random.default_rng(1)
    values = [Fraction(1, 2), -Fraction(1, 2), ONE, -ONE, ZERO]
    rejected = sum(
        sign_flip_p_value([values[k] for k in draw.choice(5, size=40, p=[0.1, 0.1, 0.15, 0.15, 0.5])]) < 0.05
        for _ in range(1500)
    )
    assert 0.02 <= rejected / 1500 <= 0.06


def test_holm_adjusts_in_order() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "b": 0.06, "c": 0.06}
    assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_paired_t_and_detectable_difference() -> None:
    error = 1 / math.sqrt(3)
    assert t_p_value(2.0, error, 2) == pytest.approx(0.0741799, abs=1e-6)
    assert t_p_value(2.0, None, 2) is None
    assert t_p_value(0.0, 0.0, 2) == 1.0
    # half of 100 pairs differ: sd about 1/2, standard error about 0.05, times (1.96 + 0.84)
    found = differences_of([ONE, ZERO] * 50)
    expected = 2.801585 * 0.5 * (100 / 99) ** 0.5 / 10
    assert detectable_difference(found.standard_error, math.inf) == pytest.approx(expected, rel=1e-5)
    assert detectable_difference(0.05, 9) == pytest.approx((2.262157 + 0.883404) * 0.05, rel=1e-6)  # ten clusters
    assert detectable_difference(0.0, 9) is None
