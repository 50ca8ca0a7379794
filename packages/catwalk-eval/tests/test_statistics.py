from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from catwalk_eval.statistics import (
    chance_p_value,
    detectable_difference,
    holm,
    lattice_sum,
    paired_difference,
    paired_t_p_value,
    sign_flip_p_value,
    student,
    wilson,
)

ONE, ZERO = Fraction(1), Fraction(0)
credits_of_ties = st.sampled_from([ZERO, ONE, Fraction(1, 2), Fraction(1, 3)])


def test_wilson_interval_has_its_textbook_values() -> None:
    estimate = wilson([ONE] * 15 + [ZERO] * 5)
    reference = binomtest(15, 20).proportion_ci(method="wilson")
    assert estimate.value == 0.75
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert estimate.standard_error == pytest.approx(0.09933992677987828)


def test_wilson_interval_has_width_where_all_is_right_or_wrong() -> None:
    right, wrong = wilson([ONE] * 30), wilson([ZERO] * 30)
    assert (right.value, right.high) == (1.0, 1.0)
    assert right.low == pytest.approx(0.8864866, abs=1e-6)
    assert wrong.low == 0.0
    assert wrong.high == pytest.approx(1 - 0.8864866, abs=1e-6)


def test_student_interval_of_three_values() -> None:
    estimate = student([1.0, 2.0, 3.0])
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((-0.484138, 2.0, 4.484138), abs=1e-6)
    assert student([2.0]).low is None


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


def test_chance_p_value_without_ties_is_the_binomial_tail() -> None:
    p = chance_p_value([ONE] * 40 + [ZERO] * 60, [1] * 100, [4] * 100)
    assert p == pytest.approx(binomtest(40, 100, 0.25, alternative="greater").pvalue, rel=1e-9)
    assert chance_p_value([ZERO] * 5, [1] * 5, [4] * 5) == 1.0


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
    credits_ = [Fraction(1, b) if label < b else ZERO for _, b, label in rows]
    p = chance_p_value(credits_, [b for _, b, _ in rows], [n for n, _, _ in rows])
    assert p == pytest.approx(expected, abs=1e-9)


def test_paired_difference_is_bonett_and_price() -> None:
    # 12 and 2 discordant of 50: p1 = 13/52, p2 = 3/52
    estimate = paired_difference([ONE] * 12 + [-ONE] * 2 + [ZERO] * 36)
    error = ((13 / 52 + 3 / 52 - (10 / 52) ** 2) / 52) ** 0.5
    assert estimate.value == 0.2
    assert (estimate.low, estimate.high) == pytest.approx(
        (10 / 52 - 1.959964 * error, 10 / 52 + 1.959964 * error), abs=1e-6
    )
    same = paired_difference([ZERO] * 20)
    assert same.low is not None
    assert same.high is not None
    assert same.low < 0 < same.high


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    inside = paired = 0
    for _ in range(1500):
        hits = draw.random(60) < 0.85
        estimate = wilson([Fraction(int(hit)) for hit in hits])
        assert estimate.low is not None
        assert estimate.high is not None
        inside += estimate.low <= 0.85 <= estimate.high
        kinds = draw.choice(3, size=60, p=[0.15, 0.05, 0.8])
        estimate = paired_difference([(ONE, -ONE, ZERO)[kind] for kind in kinds])
        assert estimate.low is not None
        assert estimate.high is not None
        paired += estimate.low <= 0.10 <= estimate.high
    assert 0.93 <= inside / 1500 <= 0.98
    assert 0.93 <= paired / 1500 <= 0.98


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
    assert paired_t_p_value([1.0, 2.0, 3.0]) == pytest.approx(0.0741799, abs=1e-6)
    assert paired_t_p_value([1.0]) is None
    # half of 100 pairs differ: sd about 1/2, standard error about 0.05, times (1.96 + 0.84)
    assert detectable_difference([ONE, ZERO] * 50) == pytest.approx(2.801585 * 0.5 * (100 / 99) ** 0.5 / 10, rel=1e-5)
