from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_model.batch_schedule import constant, growing
from olmo_model.config.data import DataSettings
from olmo_model.config.optimization import AnnealSettings, OptimizerSettings, SchedulerSettings
from olmo_model.config.training import TrainConfig
from olmo_model.errors import UserError
from olmo_model.schedule import ClipWarmup, Schedule, schedules


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


def train_config(**changes):
    return TrainConfig(save_folder="run", data=DataSettings(tokens="tokens"), **changes)


def test_the_anneal_of_olmo_7b_continues_any_schedule():
    config = train_config(
        global_batch_size=2160,
        optimizer=OptimizerSettings(learning_rate=3e-4),
        scheduler=SchedulerSettings(
            warmup="5000", t_max="976562", anneal=AnnealSettings(start="556000", learning_rate=2.3e-5)
        ),
    )
    schedule, _ = schedules(config, constant(2160), 2048, 557_001)
    plain = replace(schedule, anneal=None)
    assert [schedule.learning_rate(step) for step in (1, 5000, 555_999, 556_000)] == [
        plain.learning_rate(step) for step in (1, 5000, 555_999, 556_000)
    ]
    for step in range(556_001, 557_001):
        assert schedule.learning_rate(step) == pytest.approx(2.3e-5 * (1 - 0.999 * (step - 556_000) / 1000), rel=1e-12)
    assert schedule.learning_rate(557_000) == schedule.learning_rate(557_001) == pytest.approx(2.3e-8)


def test_an_anneal_begins_at_the_learning_rate_there_is():
    config = train_config(
        optimizer=OptimizerSettings(learning_rate=1.0),
        scheduler=SchedulerSettings(
            warmup="10", t_max="110", alpha_f=0.0, anneal=AnnealSettings(start="60", length="10", alpha_f=0.0)
        ),
    )
    schedule, _ = schedules(config, constant(16), 16, 71)
    expected = {59: 0.51, 60: 0.5, 61: 0.45, 65: 0.25, 70: 0.0, 71: 0.0}
    assert {step: schedule.learning_rate(step) for step in expected} == pytest.approx(expected)


def test_no_warmup_starts_at_the_peak():
    schedule = Schedule(name="linear_with_warmup", peak=1.0, warmup=0, t_max=10, alpha_f=0.0)
    assert schedule.learning_rate(1) == pytest.approx(0.9)


def made(name, **changes):
    return Schedule(**{"name": name, "peak": 2.0, "warmup": 10, "t_max": 110, "alpha_f": 0.1} | changes)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (made("inverse_sqrt_with_warmup"), {5: 1.1, 10: 2.0, 40: 1.0, 1000: 0.2}),
        (made("constant"), {1: 2.0, 5: 2.0, 1000: 2.0}),
        (made("constant_with_warmup"), {5: 1.1, 10: 2.0, 1000: 2.0}),
        # at 60 the cosine is at 0.55, the envelope at 0.1 + 0.9 / 4
        (made("cosine_linear_envelope"), {5: 1.1, 10: 2.0, 60: 2 * 0.325, 110: 0.2, 200: 0.2}),
        # stable to 88, then 22 down
        (made("wsd", decay_share=0.2), {5: 1.1, 10: 2.0, 88: 2.0, 99: 1.1, 110: 0.2, 111: 0.2}),
        (made("wsd", decay_share=0.2, decay_form="sqrt"), {88: 2.0, 93.5: 1.1, 99: 2 * (1 - 0.9 * 0.5**0.5), 110: 0.2}),
        (made("wsd", decay_share=0.2, decay_form="cosine"), {93.5: 2 * (0.1 + 0.45 * (1 + 0.5**0.5)), 99: 1.1}),
        (made("wsd", decay_share=0.0), {109: 2.0, 110: 0.2}),
        (made("linear_with_warmup", warmup_start=0.0), {1: 0.2, 5: 1.0}),
    ],
)
def test_every_form_by_hand(schedule, expected):
    assert {step: schedule.learning_rate(step) for step in expected} == pytest.approx(expected)


@given(st.integers(1, 300))
def test_the_maximum_of_two_is_one_of_them(step):
    found = made("max_scheduler").learning_rate(step)
    two = [made(name).learning_rate(step) for name in ("cosine_with_warmup", "inverse_sqrt_with_warmup")]
    assert found == max(two)


def test_the_bound_of_a_step_is_that_of_the_step_before():
    warmup = ClipWarmup(until=1000, factor=10.0)
    # OLMo clips before it sets the bound: the first step by the bare bound, steps 2 to 1001 by the looser one
    assert [warmup.at(step - 1) for step in (1, 2, 1001, 1002)] == [1.0, 10.0, 10.0, 1.0]


def test_lengths_are_converted_along_a_growing_batch():
    # steps 1 to 4 take 10 instances of 16 tokens, later ones 20: 640 tokens, then 320 a step
    batches = growing((10, 20), (40,))
    settings = SchedulerSettings(warmup="640T", t_max="6", grad_clip_warmup_steps="1000T", grad_clip_warmup_factor=2.0)
    config = train_config(global_batch_size=20, scheduler=settings)
    schedule, clip = schedules(config, batches, 16, 100)
    assert (schedule.units, schedule.warmup, schedule.t_max, clip.until) == ("steps", 4, 6, 5)
    in_tokens = train_config(global_batch_size=20, scheduler=replace(settings, units="tokens"))
    schedule, clip = schedules(in_tokens, batches, 16, 100)
    assert (schedule.units, schedule.warmup, schedule.t_max, clip.until) == ("tokens", 640, 1280, 1000)
    assert schedule.position(5, 960) == 960
    assert schedule.learning_rate(960) == pytest.approx(4e-4 * 0.55)
    whole, _ = schedules(train_config(scheduler=SchedulerSettings(units="tokens", warmup="0")), batches, 16, 100)
    assert whole.t_max == (4 * 10 + 96 * 20) * 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "wsd", "warmup": "95"}, "warm-up of 95 steps is longer than the schedule's 100 without its decay"),
        ({"name": "max_scheduler", "warmup": "0"}, "max_scheduler falls from the end of its warm-up, which is 0"),
        ({"name": "inverse_sqrt_with_warmup", "warmup": "0"}, "falls from the end of its warm-up"),
        (
            {"warmup": "1", "anneal": AnnealSettings(start="100")},
            "the anneal begins at 100 steps .* the run ends at 100",
        ),
        ({"warmup": "1", "anneal": AnnealSettings(start="50", length="0")}, "is 0 long"),
    ],
)
def test_schedules_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        schedules(train_config(scheduler=SchedulerSettings(**settings)), constant(16), 16, 100)


def test_the_warm_up_may_begin_at_a_learning_rate_of_its_own():
    config = train_config(
        optimizer=OptimizerSettings(learning_rate=0.01),
        scheduler=SchedulerSettings(warmup="10", warmup_min_lr=0.002),
    )
    schedule, _ = schedules(config, constant(16), 16, 100)
    assert [schedule.learning_rate(step) for step in (0, 5, 10)] == pytest.approx([0.002, 0.006, 0.01])
