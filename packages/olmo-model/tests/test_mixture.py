from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_model.config.commands import WhichDataConfig, WhichStepsConfig
from olmo_model.config.data import DataSettings, SourceSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import SchedulerSettings
from olmo_model.config.training import CheckpointSettings, TrainConfig
from olmo_model.epoch_order import EpochOrder, MixedOrder
from olmo_model.errors import UserError
from olmo_model.lookup import which_data, which_steps
from olmo_model.mixture import Mixture, mixture_of
from olmo_model.train import train

T = 16


def epoch_of(mixture: Mixture, seed: int, epoch: int) -> list[int]:
    return MixedOrder(EpochOrder(mixture.places, seed, epoch), mixture).taken(0, mixture.places)


def test_an_epoch_of_a_small_mixture():
    mixture = Mixture(counts=(3, 4), taken=(6, 2))
    assert mixture.instances(np.arange(6, dtype=np.uint32), 0, 0).tolist() == [0, 1, 2, 0, 1, 2]
    drawn = mixture.instances(np.array([6, 7], dtype=np.uint32), 0, 0).tolist()
    assert len(set(drawn)) == 2
    assert set(drawn) <= {3, 4, 5, 6}


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 30)), min_size=1, max_size=4), st.integers(0, 3))
def test_each_instance_comes_its_number_of_times_or_once_more(parts, seed):
    mixture = Mixture(*map(tuple, zip(*parts, strict=True)))
    for epoch in (0, 1):
        found = epoch_of(mixture, seed, epoch)
        times = Counter(found)
        first = 0
        for count, taken in parts:
            each = [times[number] for number in range(first, first + count)]
            assert sum(each) == taken
            assert set(each) <= {taken // count, -(-taken // count)}
            first += count
        order = MixedOrder(EpochOrder(mixture.places, seed, epoch), mixture)
        assert sorted(order.positions(range(first))) == sorted((number, place) for place, number in enumerate(found))


def test_the_second_epoch_has_another_order_and_another_part():
    mixture = Mixture(counts=(40, 40), taken=(40, 20))
    first, second = epoch_of(mixture, 6198, 0), epoch_of(mixture, 6198, 1)
    assert first != second
    assert {number for number in first if number >= 40} != {number for number in second if number >= 40}
    assert first == epoch_of(mixture, 6198, 0)


def test_repeats_and_weights_become_places():
    def of(*pairs: dict[str, float], counts: tuple[int, ...]) -> tuple[int, ...]:
        return mixture_of([SourceSettings(tokens="x", **pair) for pair in pairs], counts).taken

    assert of({"repeat": 2}, {"repeat": 0.25}, {}, counts=(10, 8, 5)) == (20, 2, 5)
    assert of({"weight": 3}, {"weight": 1}, counts=(10, 30)) == (30, 10)
    with pytest.raises(UserError, match="not one instance would be taken"):
        of({"repeat": 0.01}, counts=(10,))
    with pytest.raises(UserError, match="no whole instance"):
        of({}, counts=(0,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "data.tokens is missing"),
        ({"tokens": "a", "sources": (SourceSettings(tokens="b"),)}, "exclude each other"),
        ({"sources": (SourceSettings(tokens="b", weight=1), SourceSettings(tokens="c"))}, "mix repeat and weight"),
    ],
)
def test_sources_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        DataSettings(**settings)


def test_a_share_has_to_be_above_zero():
    with pytest.raises(UserError, match=r"repeat is 0 \(data.sources\)"):
        SourceSettings(tokens="b", repeat=0)


@pytest.fixture
def config_of(tokens_folder, write_tokens, tmp_path):
    other = write_tokens(tmp_path / "other", [[(f"other-{number}", [5 + number] * 40) for number in range(20)]])

    def make(folder: str, steps: int, **more: object) -> TrainConfig:
        return TrainConfig(
            save_folder=str(tmp_path / folder),
            data=DataSettings(
                sources=(
                    SourceSettings(tokens=str(tokens_folder), repeat=0.5), SourceSettings(tokens=str(other), repeat=2)
                )
            ),
            model=ModelSettings(
                preset="olmo-1m", d_model=32, n_heads=2, n_layers=1, mlp_hidden_size=128, max_sequence_length=T
            ),
            global_batch_size=16,
            max_duration=str(steps),
            scheduler=SchedulerSettings(warmup="0", t_max="14"),
            log_interval=1,
            threads=1,
            checkpoint=CheckpointSettings(save_interval=5),
        )  # fmt: skip

    return make


def test_a_run_on_several_sources_resumes_exactly_and_says_what_it_saw(config_of, tmp_path, caplog):
    caplog.set_level("INFO")
    assert train(config_of("whole", 14)) == 0
    assert "other: an epoch takes 102 of its 51 instances, 0 are left out" in caplog.text
    for steps in (6, 14):
        assert train(config_of("parts", steps)) == 0

    def losses(folder: str) -> list[float]:
        rows = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        return [json.loads(row)["train/CrossEntropyLoss"] for row in rows]

    assert losses("whole") == losses("parts")
    run = tmp_path / "parts"
    steps = which_data(run, WhichDataConfig(step=("1-14",)))["steps"]
    per_epoch = len([step for step in steps if step["epoch"] == 0])
    assert 0 < per_epoch < 14
    every = [(step["step"], row["instance"], row["id"]) for step in steps for row in step["documents"]]
    (found,) = which_steps(run, WhichStepsConfig(doc="other-3"))["documents"]
    expected = {(step, number) for step, number, name in every if name == "other-3"}
    assert {(row["step"], row["instance"]) for row in found["seen"]} == expected
    assert len(found["seen"]) >= 4


def test_sources_of_another_tokenizer_are_refused(config_of, tmp_path):
    config = config_of("run", 2)
    manifest = tmp_path / "other" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"pad_token_id": 2}))
    with pytest.raises(UserError, match="pad_token_id is not that of"):
        train(config)
