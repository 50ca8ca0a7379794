from __future__ import annotations

import math

import pytest

from olmo_model.schedule import Schedule


def test_linear_by_hand():
    schedule = Schedule(name="linear_with_warmup", peak=1.0, warmup=10, t_max=110, warmup_start=0.1, alpha_f=0.1)
    expected = {1: 0.19, 5: 0.55, 10: 1.0, 11: 0.991, 60: 0.55, 109: 0.109, 110: 0.1, 500: 0.1}
    assert {step: schedule.learning_rate(step) for step in expected} == pytest.approx(expected)


def test_cosine_by_hand():
    schedule = Schedule(name="cosine_with_warmup", peak=2.0, warmup=0, t_max=100, alpha_f=0.1)
    expected = {1: 2 * (0.1 + 0.45 * (1 + math.cos(math.pi / 100))), 50: 1.1, 100: 0.2, 101: 0.2}
    assert {step: schedule.learning_rate(step) for step in expected} == pytest.approx(expected)


def test_final_anneal_of_olmo_7b():
    schedule = Schedule(name="linear_with_warmup", peak=2.3e-5, warmup=556_000, t_max=557_000, alpha_f=0.001)
    assert schedule.learning_rate(556_000) == pytest.approx(2.3e-5)
    assert schedule.learning_rate(556_500) == pytest.approx(2.3e-5 * 0.5005)
    assert schedule.learning_rate(557_000) == pytest.approx(2.3e-8)


def test_no_warmup_starts_at_the_peak():
    schedule = Schedule(name="linear_with_warmup", peak=1.0, warmup=0, t_max=10, alpha_f=0.0)
    assert schedule.learning_rate(1) == pytest.approx(0.9)
