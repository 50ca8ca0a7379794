"""A small seeded part of the simulation whose table the documentation prints."""

import pytest

import coverage_perplexity


@pytest.mark.parametrize("name", ["log-normal, σ = 1", "log-normal, σ = 1.5"])
def test_intervals_of_fifty_documents_hold_the_truth_as_often_as_they_say(name: str) -> None:
    assert 0.91 <= coverage_perplexity.coverage(name, 50, repetitions=300, resamples=200) <= 0.985


def test_intervals_of_many_small_domains_hold_the_truth_as_often_as_they_say() -> None:
    share = coverage_perplexity.coverage("log-normal, σ = 1", 2, repetitions=150, resamples=200, domains=50)
    assert 0.90 <= share <= 0.99


def test_p_values_of_nothing_are_as_seldom_small_as_they_say() -> None:
    found = coverage_perplexity.p_values(1, 50, repetitions=400, resamples=400)
    assert 0.02 <= (found < 0.05).mean() <= 0.08
    assert (found < 0.001).mean() <= 0.005


def test_intervals_from_blocks_hold_the_truth_about_as_often_as_they_say() -> None:
    share = coverage_perplexity.coverage_of_blocks("autoregression, ρ = 0.6", 49, repetitions=300, resamples=200)
    assert 0.90 <= share <= 0.99
