"""A small seeded part of the simulation whose table the documentation prints."""

import pytest

import coverage_perplexity


@pytest.mark.parametrize("name", ["log-normal, σ = 1", "log-normal, σ = 1.5"])
def test_intervals_of_fifty_documents_hold_the_truth_as_often_as_they_say(name: str) -> None:
    assert 0.91 <= coverage_perplexity.coverage(name, 50, repetitions=300, resamples=200) <= 0.985


def test_intervals_from_blocks_hold_the_truth_about_as_often_as_they_say() -> None:
    share = coverage_perplexity.coverage_of_blocks("autoregression, ρ = 0.6", 49, repetitions=300, resamples=200)
    assert 0.90 <= share <= 0.99
