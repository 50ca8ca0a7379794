import numpy as np
import pytest

from paloma_ppl.errors import UserError
from paloma_ppl.statistics import (
    Interval,
    bootstrap_interval,
    exponential_of,
    holm,
    jackknife_error,
    make_stratum,
    p_value,
    ratio_and_error,
    strata_by_domain,
)


def test_jackknife_error_by_hand() -> None:
    stratum = make_stratum("s", np.array([1.0, 4.0, 7.0]), np.array([1.0, 2.0, 3.0]), resamples=2)
    # r = 2; leaving one out gives 11/5, 8/4 and 5/3; linearised changes are (x - 2 b) / (6 - b)
    changes = np.array([-1 / 5, 0.0, 1 / 3])
    expected = np.sqrt(2 / 3 * np.sum((changes - changes.mean()) ** 2))
    assert jackknife_error([stratum], 2.0) == pytest.approx(expected, rel=1e-14)
    assert pytest.approx(changes.tolist()) == [2 - 11 / 5, 2 - 8 / 4, 2 - 5 / 3]  # exactly the change of the ratio


def test_stratified_jackknife_leaves_a_stratum_its_weight() -> None:
    generator = np.random.default_rng(2)
    sizes = [np.exp(generator.normal(0, 1, n)) for n in (2, 3, 4)]
    bits = [size * generator.gamma(4, 0.25, len(size)) for size in sizes]
    strata = [make_stratum(str(k), x, b, resamples=2) for k, (x, b) in enumerate(zip(bits, sizes, strict=True))]
    ratio = sum(x.sum() for x in bits) / sum(b.sum() for b in sizes)
    variance = 0.0
    for left, size in enumerate(sizes):
        n, without = len(size), []
        for document in range(n):
            weights = [np.ones(len(b)) for b in sizes]
            weights[left][:] = n / (n - 1)
            weights[left][document] = 0
            sums = [sum(w @ part for w, part in zip(weights, parts, strict=True)) for parts in (bits, sizes)]
            without.append(sums[0] / sums[1])
        variance += (1 - 1 / n) * sum((value - np.mean(without)) ** 2 for value in without)
    assert jackknife_error(strata, ratio) == pytest.approx(np.sqrt(variance), rel=1e-12)


def test_many_strata_of_two_documents_are_covered_as_often_as_it_says() -> None:
    generator = np.random.default_rng(13)
    hits = 0
    for number in range(200):
        size = np.exp(generator.normal(7, 0.5, (50, 2)))
        bits = size * generator.gamma(4, 0.25, (50, 2))
        strata = [make_stratum(f"{number} {k}", bits[k], size[k], 400) for k in range(50)]
        found = bootstrap_interval(strata, 0.9, logarithm=True)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1 <= found.high
    assert 0.84 <= hits / 200 <= 0.98


@pytest.mark.parametrize("logarithm", [True, False])
def test_draws_of_one_document_in_each_stratum_give_no_interval(logarithm: bool) -> None:
    generator = np.random.default_rng(1)
    for number in range(10):
        bits, size = 1000 * generator.gamma(4, 0.25, (5, 2)), 1000 * np.exp(generator.normal(0, 1, (5, 2)))
        strata = [make_stratum(f"{number} {k}", bits[k], size[k]) for k in range(5)]
        found = bootstrap_interval(strata, 0.99, logarithm=logarithm)  # 1 of 32 draws
        assert (found.low, found.high) == (None, None)
        assert found.method == "none: too many resamples hold the same document only"


def test_an_interval_beyond_any_double_is_none() -> None:
    assert exponential_of(Interval(-1.0, 2.0, "m")) == Interval(np.exp(-1.0), np.exp(2.0), "m")
    for ends in ((-1.0, 710.0), (-800.0, 2.0)):
        found = exponential_of(Interval(*ends, "m"))
        assert (found.low, found.high) == (None, None)
        assert found.method.startswith("none: ")


def test_linearised_error_by_hand() -> None:
    stratum = make_stratum("s", np.array([1.0, 4.0, 7.0]), np.array([1.0, 2.0, 3.0]), resamples=2)
    ratio, error = ratio_and_error([stratum.sums], [3])
    assert float(ratio) == 2.0
    assert float(error) == pytest.approx(np.sqrt(2 * 3 / 2) / 6)  # residuals -1, 0, 1


def test_resamples_draw_as_many_documents_as_there_are() -> None:
    stratum = make_stratum("s", np.arange(1.0, 8.0), np.ones(7), resamples=500)
    assert set(stratum.resampled[:, 1]) == {7.0}
    assert len(set(stratum.resampled[:, 0])) > 10
    assert abs(stratum.resampled[:, 0].mean() - 28) < 1


@pytest.mark.parametrize("logarithm", [True, False])
def test_interval_covers_as_often_as_it_says(logarithm: bool) -> None:
    generator = np.random.default_rng(7)
    hits = 0
    for number in range(300):
        size = np.exp(generator.normal(7, 1, 30))
        bits = size * generator.gamma(4, 0.25, 30)  # one bit a byte
        interval = bootstrap_interval([make_stratum(str(number), bits, size, 400)], 0.9, logarithm=logarithm)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= 1 <= interval.high
    assert 0.86 <= hits / 300 <= 0.96


def test_stratified_interval_ignores_differences_between_domains() -> None:
    generator = np.random.default_rng(3)
    size = np.full(40, 100.0)
    bits = np.where(np.arange(40) < 20, 100.0, 900.0) + generator.normal(0, 5, 40)
    one = bootstrap_interval([make_stratum("all", bits, size)], 0.95, logarithm=True)
    halves = [make_stratum("low", bits[:20], size[:20]), make_stratum("high", bits[20:], size[20:])]
    two = bootstrap_interval(halves, 0.95, logarithm=True)
    mean = bootstrap_interval(halves, 0.95, logarithm=True, mean_of_strata=True)
    assert None not in (one.low, one.high, two.low, two.high, mean.low)
    assert (two.high - two.low) * 20 < one.high - one.low  # type: ignore[operator]
    assert two.low == pytest.approx(mean.low, rel=1e-3)  # equal domains: micro is macro


def test_equal_documents_give_an_interval_of_no_width() -> None:
    interval = bootstrap_interval([make_stratum("s", np.zeros(12), np.arange(1.0, 13.0))], 0.95, logarithm=False)
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_too_few_documents_or_single_ones_give_no_interval_and_say_why() -> None:
    def interval(*sizes: int, mean: bool = False) -> tuple[float | None, str]:
        strata = [make_stratum(str(n), np.arange(1.0, n + 1), np.ones(n), 50) for n in sizes]
        found = bootstrap_interval(strata, 0.95, logarithm=True, mean_of_strata=mean)
        return found.low, found.method

    assert interval(1) == (None, "none: 1 document, at least 10 are needed")
    assert interval(9) == (None, "none: 9 documents, at least 10 are needed")
    assert interval(12, 1, mean=True) == (None, "none: 1 of 2 domains have a single document")
    assert interval(10)[0] is not None


def test_impossible_confidence_is_refused() -> None:
    with pytest.raises(UserError, match=r"confidence of 1\.0"):
        bootstrap_interval([make_stratum("s", np.arange(1.0, 13.0), np.ones(12), 50)], 1.0, logarithm=True)


def test_domains_of_one_document_are_pooled() -> None:
    def strata(*keys: str) -> list[list[int]]:
        pools = strata_by_domain([(key[0], key) for key in keys])
        assert sorted(index for pool in pools.values() for index in pool) == list(range(len(keys)))
        return sorted(pool.tolist() for pool in pools.values())

    assert strata("a1", "a2", "a1", "a2") == [[0, 2], [1, 3]]
    assert strata("a1", "a2", "a3", "a3") == [[0, 1], [2, 3]]  # within the source
    assert strata("a1", "b1", "b2", "b2") == [[0, 1], [2, 3]]  # over sources
    assert strata("a1", "b1", "b1", "b2", "b2", "b2") == [[0, 3, 4, 5], [1, 2]]  # with the largest
    assert strata("a1") == [[0]]


def test_p_value_beyond_the_draws_follows_their_tail() -> None:
    draws = (np.arange(1, 2001) / 2001.0) ** (-1 / 4)  # Pareto with index 4: a share x^-4 is above x
    for observed in (1.5, 4.0, 40.0):
        assert p_value(draws, observed, tail=True) == pytest.approx(observed**-4, rel=0.5)
    assert p_value(draws, 0.5, tail=True) == 1.0
    assert p_value(np.ones(100), 3.0, tail=True) == pytest.approx(1 / 101)  # no tail to see
    assert p_value(np.append(np.ones(99), np.inf), 3.0, tail=True) >= 1 / 101
    values = [p_value(draws, observed, tail=True) for observed in np.linspace(1, 9, 400)]
    assert values == sorted(values, reverse=True)


def test_p_value_of_few_documents_does_not_go_beyond_the_draws() -> None:
    draws = (np.arange(1, 2001) / 2001.0) ** (-1 / 4)
    assert p_value(draws, 40.0, tail=False) == 1 / 2001
    assert p_value(draws, 1.5, tail=False) == pytest.approx(1.5**-4, rel=0.01)

    def p(*documents: int) -> float:
        generator = np.random.default_rng(1)
        strata = [make_stratum(str(k), generator.normal(9, 1, n), np.ones(n)) for k, n in enumerate(documents)]
        found = bootstrap_interval(strata, 0.95, logarithm=False).p
        assert found is not None
        return found

    assert p(10) == p(49) == p(25, 25) == 1 / 2001
    assert p(50) < 1e-6
    assert p(25, 26) < 1e-6


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_p_value_is_as_often_small_as_it_says_and_fits_the_interval() -> None:
    generator = np.random.default_rng(5)
    small = 0
    for number in range(300):
        size = np.exp(generator.normal(7, 1, 40))
        found = bootstrap_interval(
            [make_stratum(str(number), size * generator.normal(0, 0.2, 40), size, 400)], 0.9, logarithm=False
        )
        assert found.p is not None
        assert found.low is not None
        assert found.high is not None
        small += found.p < 0.1
        if abs(found.p - 0.1) > 0.01:
            assert (found.p < 0.1) == (found.low > 0 or found.high < 0)
    assert 0.04 <= small / 300 <= 0.15
