from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from olmo_model.sampling import FIRST_CANDIDATES, Sampling, choose, draws

PROBABILITIES = [0.1, 0.4, 0.05, 0.25, 0.2]
LOGITS = torch.tensor([PROBABILITIES]).log()


def chosen(numbers, logits=LOGITS, **options):
    rows = logits.expand(len(numbers), -1).clone()
    return choose(rows, Sampling(**options), numbers).tolist()


def test_temperature_zero_takes_the_likeliest():
    assert chosen([0.0, 0.99]) == [1, 1]


def test_a_number_is_looked_up_among_the_cumulated_probabilities():
    numbers = [0.0, 0.0999, 0.1001, 0.4999, 0.5001, 0.5499, 0.5501, 0.7999, 0.8001, 0.999999]
    assert chosen(numbers, temperature=1.0) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_temperature_sharpens_and_flattens():
    squared = [p * p for p in PROBABILITIES]
    edge = sum(squared[:2]) / sum(squared)
    assert chosen([edge - 1e-5, edge + 1e-5], temperature=0.5) == [1, 2]
    assert chosen([0.19999, 0.20001], temperature=1e9) == [0, 1]
    assert chosen([0.0, 0.5, 0.999999], temperature=1e-30) == [1, 1, 1]


def test_top_k_keeps_the_k_likeliest_at_their_rates():
    assert chosen([0.0, 0.614, 0.617, 0.999], temperature=1.0, top_k=2) == [1, 1, 3, 3]
    assert chosen([0.0, 0.999], temperature=1.0, top_k=1) == [1, 1]
    assert chosen([0.0], temperature=1.0, top_k=99) == [0]


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    numbers = [place / 100 for place in range(100)]
    assert set(chosen(numbers, temperature=1.0, top_p=0.39)) == {1}
    assert set(chosen(numbers, temperature=1.0, top_p=0.41)) == {1, 3}
    assert set(chosen(numbers, temperature=1.0, top_p=0.84)) == {1, 3, 4}
    assert set(chosen(numbers, temperature=1.0, top_p=0.0)) == {1}
    assert set(chosen(numbers, temperature=1.0, top_p=1.0)) == {0, 1, 2, 3, 4}


def test_top_p_counts_what_top_k_leaves():
    # of 0.4, 0.25 and 0.2 the first two are 0.76
    numbers = [place / 100 for place in range(100)]
    assert set(chosen(numbers, temperature=1.0, top_k=3, top_p=0.75)) == {1, 3}


def test_a_flat_distribution_over_many_ids_is_cut_right():
    logits = torch.zeros(1, 10 * FIRST_CANDIDATES)
    logits[0, : 3 * FIRST_CANDIDATES] = 5.0
    found = chosen([0.0, 0.5, 0.999999], logits, temperature=1.0, top_p=0.9)
    assert found == [0, 3 * FIRST_CANDIDATES // 2, 3 * FIRST_CANDIDATES - 1]


def test_rows_are_chosen_apart():
    logits = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    assert choose(logits, Sampling(temperature=1.0, top_p=0.5), [0.5] * 3).tolist() == [1, 0, 2]


@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20),
    number=st.floats(0, 1, exclude_max=True),
    temperature=st.floats(1e-3, 100),
    top_k=st.none() | st.integers(1, 25),
    top_p=st.none() | st.floats(0, 1),
)
def test_what_is_chosen_is_always_among_the_kept(logits, number, temperature, top_k, top_p):
    (found,) = chosen([number], torch.tensor([logits]), temperature=temperature, top_k=top_k, top_p=top_p)
    assert 0 <= found < len(logits)
    if top_k is not None:
        assert sum(other > logits[found] for other in logits) < top_k
    if top_p == 0:
        assert torch.tensor(logits)[found] == pytest.approx(max(logits), abs=1e-4 * temperature)


def test_draws_are_a_stream_for_each_seed_prompt_and_sample():
    first = list(islice(draws(1, (5, 6)), 200))
    assert first == list(islice(draws(1, [5, 6]), 200))
    assert all(0 <= number < 1 for number in first)
    assert len(set(first)) == 200
    others = [next(draws(*key)) for key in ((1, (5, 6)), (2, (5, 6)), (1, (6, 5)), (1, (5, 6), 1), (1, (5,)))]
    assert len(set(others)) == 5
    assert next(draws(2**63 - 1, (2**32 + 1,))) < 1


def test_a_stream_of_draws_stays_what_it_is():
    assert list(islice(draws(1, (5, 6)), 2)) == [0.0849640073468737, 0.10742995920511589]
