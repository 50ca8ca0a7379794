from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_model.batch_schedule import Stage, batch_schedule, constant, growing
from olmo_model.config.data import DataSettings
from olmo_model.config.optimization import BatchWarmupSettings
from olmo_model.config.training import TrainConfig
from olmo_model.errors import UserError


def test_stages_by_hand():
    # 2, 2, 2 (six taken: past 5), 4, 4 (fourteen: past 12), then 8
    batches = growing((2, 4, 8), (5, 12))
    assert batches.stages == (Stage(1, 0, 2), Stage(4, 6, 4), Stage(6, 14, 8))
    assert [batches.batch_size(step) for step in range(1, 9)] == [2, 2, 2, 4, 4, 8, 8, 8]
    assert [batches.taken_before(step) for step in range(1, 8)] == [0, 2, 4, 6, 10, 14, 22]


def test_a_stage_that_is_over_before_it_begins_is_left_out():
    assert growing((5, 6, 7), (4, 5)).stages == (Stage(1, 0, 5), Stage(2, 5, 7))


def test_the_published_warm_up_of_65b():
    # 2M tokens, doubled every 100B to 16M (Groeneveld et al. 2024), with 2048 tokens an instance
    config = TrainConfig(
        save_folder="run",
        data=DataSettings(tokens="tokens"),
        global_batch_size=8192,
        batch_warmup=BatchWarmupSettings(sizes=(1024, 2048, 4096), until=("100e9T", "200e9T", "300e9T")),
    )
    batches = batch_schedule(config, 2048)
    assert batches.sizes == (1024, 2048, 4096, 8192)
    per_step = [size * 2048 for size in batches.sizes]
    assert per_step == [2_097_152, 4_194_304, 8_388_608, 16_777_216]
    for tokens, stage in zip((100e9, 200e9, 300e9), batches.stages[1:], strict=True):
        before = batches.taken_before(stage.first_step) * 2048
        assert tokens <= before < tokens + per_step[2]
        assert batches.taken_before(stage.first_step - 1) * 2048 < tokens
    assert batches.stages[1].first_step == 1 + 47_684  # the first whole number of steps that reaches 100e9 tokens
    assert batches.steps_within(10**11 // 2048) == 47_683


@pytest.mark.parametrize(
    ("until", "message"),
    [(("1000",), "batch_warmup.until is '1000'"), (("0T",), "batch_warmup.until is '0T'"), (("xT",), "until is 'xT'")],
)
def test_a_threshold_that_is_no_number_of_tokens_is_refused(until, message):
    config = TrainConfig(
        save_folder="run",
        data=DataSettings(tokens="tokens"),
        batch_warmup=BatchWarmupSettings(sizes=(8,), until=until),
    )
    with pytest.raises(UserError, match=message):
        batch_schedule(config, 16)


def test_thresholds_that_do_not_rise_are_refused():
    config = TrainConfig(
        save_folder="run",
        data=DataSettings(tokens="tokens"),
        batch_warmup=BatchWarmupSettings(sizes=(4, 8), until=("2e6T", "1e6T")),
    )
    with pytest.raises(UserError, match=r"batch_warmup\.until does not rise"):
        batch_schedule(config, 16)


@st.composite
def schedules(draw):
    sizes = sorted(draw(st.sets(st.integers(1, 50), min_size=1, max_size=5)))
    count = len(sizes) - 1
    return growing(sizes, sorted(draw(st.sets(st.integers(1, 2000), min_size=count, max_size=count))))


@given(schedules(), st.integers(0, 5000))
def test_the_step_of_an_instance_is_the_one_that_takes_it(batches, instance):
    step = batches.step_of(instance)
    assert batches.taken_before(step) <= instance < batches.taken_before(step + 1)


@given(schedules(), st.integers(1, 300))
def test_steps_follow_one_another_without_a_gap(batches, step):
    assert batches.taken_before(step + 1) - batches.taken_before(step) == batches.batch_size(step)
    assert batches.step_of(batches.taken_before(step)) == step
    assert batches.steps_within(batches.taken_before(step + 1)) == step
    assert batches.steps_within(batches.taken_before(step + 1) - 1) == step - 1


def test_a_constant_batch_is_one_stage():
    assert constant(16).stages == (Stage(1, 0, 16),)
