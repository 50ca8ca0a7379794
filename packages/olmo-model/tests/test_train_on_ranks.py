"""Whole runs on several ranks: the same losses, the same checkpoints, and going on with any number of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from ranks import on_ranks

from olmo_model.config.data import DataSettings, InstanceFilterSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import OptimizerSettings, SchedulerSettings
from olmo_model.config.parallel import ParallelSettings
from olmo_model.config.training import CheckpointSettings, EvaluationSettings, TrainConfig
from olmo_model.errors import UserError
from olmo_model.model_folder import load_model
from olmo_model.plan import make_plan
from olmo_model.train import train

MODEL = ModelSettings(preset="olmo-1m", d_model=32, n_heads=4, n_layers=2, mlp_hidden_size=256, max_sequence_length=16)


@pytest.fixture
def config(tokens_folder, windows_folder, requests_folder, tmp_path) -> TrainConfig:
    return TrainConfig(
        save_folder=str(tmp_path / "run"),
        data=DataSettings(tokens=str(tokens_folder)),
        model=MODEL,
        global_batch_size=16,
        micro_batch_size=2,
        max_duration="20",
        optimizer=OptimizerSettings(learning_rate=3e-3),
        scheduler=SchedulerSettings(warmup="3", t_max="20"),
        log_interval=1,
        threads=1,
        checkpoint=CheckpointSettings(save_interval=5, max_shard_size=50_000),
        evaluation=EvaluationSettings(interval=10, windows=str(windows_folder), requests=str(requests_folder)),
    )


KEPT = ("step", "train/", "optim/", "eval/", "throughput/total_tokens")  # what does not depend on the clock


def rows(config: TrainConfig) -> list[dict[str, float]]:
    lines = (Path(config.save_folder) / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key.startswith(KEPT)} for line in lines]


def same(found: list[dict[str, float]], expected: list[dict[str, float]]) -> bool:
    """Losses within 1e-5, all else within 1e-4."""
    return len(found) == len(expected) and all(
        set(one) == set(two)
        and one["train/CrossEntropyLoss"] == pytest.approx(two["train/CrossEntropyLoss"], rel=1e-5)
        and one == pytest.approx(two, rel=1e-4, abs=1e-6)
        for one, two in zip(found, expected, strict=True)
    )


@pytest.fixture(scope="module")
def alone(tokens_folder, windows_folder, requests_folder, tmp_path_factory):
    """Rows and last weights of the run in one process, by the optimizer's name."""
    torch.set_num_threads(1)
    found = {}

    def of(config: TrainConfig):
        name = config.optimizer.name
        if name not in found:
            run = tmp_path_factory.mktemp(name) / "run"
            own = dataclasses.replace(config, save_folder=str(run))
            assert train(own) == 0
            found[name] = rows(own), load_model(run).state_dict()
        return found[name]

    return of


@pytest.mark.parametrize(
    ("world", "parallel", "optimizer"),
    [
        (1, ParallelSettings(), "adamw"),
        (2, ParallelSettings(), "adamw"),
        (4, ParallelSettings(), "adamw"),
        (4, ParallelSettings(replicas=2), "adamw"),
        (4, ParallelSettings(tensor=2), "adamw"),
        (2, ParallelSettings(), "lionw"),
        (4, ParallelSettings(replicas=2, tensor=2), "lionw"),
        (2, ParallelSettings(), "muon"),
        (4, ParallelSettings(tensor=2), "muon"),
    ],
    ids=lambda value: f"{value.replicas}x{value.tensor}" if isinstance(value, ParallelSettings) else str(value),
)
def test_a_run_has_the_losses_and_weights_of_one_process(config, alone, world, parallel, optimizer):
    config = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, name=optimizer), parallel=parallel
    )
    expected, weights = alone(dataclasses.replace(config, parallel=ParallelSettings()))
    assert on_ranks(world, train, config) == [0] * world
    assert same(rows(config), expected)
    for name, weight in load_model(config.save_folder).state_dict().items():
        torch.testing.assert_close(weight, weights[name], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((4, ParallelSettings()), (1, ParallelSettings())),
        ((1, ParallelSettings()), (4, ParallelSettings(replicas=2))),
        ((2, ParallelSettings(tensor=2)), (2, ParallelSettings())),
        ((2, ParallelSettings()), (4, ParallelSettings(tensor=2))),
    ],
    ids=str,
)
def test_a_run_goes_on_with_other_ranks(config, alone, before, after):
    expected, _ = alone(config)
    for (world, parallel), length in ((before, "10"), (after, "20")):
        own = dataclasses.replace(config, max_duration=length, parallel=parallel)
        assert on_ranks(world, train, own) == [0] * world
    found = rows(config)
    assert same(found, expected)


def test_a_run_that_goes_on_with_equal_ranks_is_bitwise_the_same(config, tmp_path):
    whole = dataclasses.replace(config, save_folder=str(tmp_path / "whole"))
    assert on_ranks(2, train, whole) == [0, 0]
    for length in ("10", "20"):
        assert on_ranks(2, train, dataclasses.replace(config, max_duration=length)) == [0, 0]
    assert rows(config) == rows(whole)
    for file in (Path(whole.save_folder) / "step20").glob("*.safetensors"):
        assert file.read_bytes() == (Path(config.save_folder) / "step20" / file.name).read_bytes()


def test_batches_that_ranks_cannot_share_are_refused(config):
    with pytest.raises(UserError, match=r"3 ranks with micro-batches of 2 cannot share a batch of 16 evenly"):
        make_plan(config, world=3)
    with pytest.raises(UserError, match=r"32 ranks cannot share a batch of 16 evenly"):
        make_plan(dataclasses.replace(config, micro_batch_size=None), world=32)
    assert make_plan(dataclasses.replace(config, micro_batch_size=None), world=4).micro_batch_size == 4


def test_attention_within_documents_and_blocks_computed_again_give_one_run_on_any_ranks(config, tmp_path):
    inside = dataclasses.replace(config.data, attention_within_documents=True)
    short = dataclasses.replace(config, data=inside, max_duration="6")
    assert train(short) == 0
    again = dataclasses.replace(short, save_folder=str(tmp_path / "again"), activation_checkpointing="one_in_two")
    assert train(again) == 0
    assert rows(again) == rows(short)
    spread = dataclasses.replace(again, save_folder=str(tmp_path / "spread"))
    assert on_ranks(2, train, spread) == [0, 0]
    assert same(rows(spread), rows(short))
    whole = dataclasses.replace(config, save_folder=str(tmp_path / "whole"), max_duration="6")
    assert train(whole) == 0
    assert rows(whole)[3]["train/CrossEntropyLoss"] != rows(short)[3]["train/CrossEntropyLoss"]


def test_a_run_leaves_at_its_time_limit_and_goes_on(config):
    limited = dataclasses.replace(config, time_limit=1e-9)
    assert on_ranks(2, train, limited) == [130, 130]
    manifest = json.loads((Path(config.save_folder) / "step1" / "manifest.json").read_text())
    assert (manifest["step"], manifest["ephemeral"], manifest["ranks"]) == (1, True, 2)
    assert on_ranks(2, train, config) == [0, 0]
    assert not (Path(config.save_folder) / "step1").exists()
    assert [row["step"] for row in rows(config)] == list(range(1, 21))


def test_instances_left_out_are_counted_once_whatever_the_ranks(config, write_tokens, tmp_path):
    wanted = InstanceFilterSettings(enabled=True, min_period=1, max_period=8, max_count=3)
    every_third = [(str(n), [5] * 15 if n % 3 == 0 else list(range(2, 17))) for n in range(40)]  # an instance each
    data = DataSettings(tokens=str(write_tokens(tmp_path / "tokens", [every_third])), instance_filter=wanted)
    config = dataclasses.replace(config, data=data, max_duration="2", evaluation=EvaluationSettings())
    counts = []
    for number, (world, parallel) in enumerate([(1, ParallelSettings()), (2, ParallelSettings(tensor=2))]):
        own = dataclasses.replace(config, save_folder=str(tmp_path / str(number)), parallel=parallel)
        assert on_ranks(world, train, own) == [0] * world
        counts.append([row["train/masked_instances"] for row in whole_rows(own)])
    assert counts[0] == counts[1]
    assert sum(counts[0]) > 0


def whole_rows(config: TrainConfig) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(config.save_folder) / "metrics.jsonl").read_text().splitlines()]
