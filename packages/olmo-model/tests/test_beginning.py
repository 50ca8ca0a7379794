"""Runs that begin with the state of another checkpoint: ours, or an unsharded one of OLMo's trainer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from olmo_model.config.commands import ConvertConfig, WhichDataConfig
from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import OptimizerSettings, SchedulerSettings
from olmo_model.config.training import CheckpointSettings, TrainConfig
from olmo_model.convert.command import convert
from olmo_model.errors import UserError
from olmo_model.lookup import which_data
from olmo_model.train import train

STEP = 6


@pytest.fixture(scope="module")
def config(tokens_folder, tmp_path_factory) -> TrainConfig:
    return TrainConfig(
        save_folder=str(tmp_path_factory.mktemp("whole") / "run"),
        data=DataSettings(tokens=str(tokens_folder)),
        model=ModelSettings(
            preset="olmo-1m", d_model=32, n_heads=2, n_layers=2, mlp_hidden_size=128, max_sequence_length=16
        ),
        max_duration="14",
        optimizer=OptimizerSettings(learning_rate=1e-2, max_grad_norm=None, max_grad_norm_ratio=1.1),
        scheduler=SchedulerSettings(warmup="3"),
        checkpoint=CheckpointSettings(save_interval=STEP),
        threads=1,
        log_interval=1,
    )


@pytest.fixture(scope="module")
def whole(config) -> list[dict[str, float]]:
    """Rows of a run of fourteen steps, an epoch having about eleven; it keeps its checkpoint of step 6."""
    assert train(config) == 0
    return rows(config)


def rows(config: TrainConfig) -> list[dict[str, float]]:
    lines = (Path(config.save_folder) / "metrics.jsonl").read_text().splitlines()
    kept = ("step", "train/CrossEntropyLoss", "optim/learning_rate", "optim/total_grad_norm", "optim/clipping_rate")
    return [{key: row[key] for key in kept} for row in map(json.loads, lines)]


def official(config: TrainConfig, folder: Path, *, by_name: bool = True) -> Path:
    """The checkpoint of step 6 as OLMo's trainer writes it: FSDP by names, DDP by numbers."""
    ours = Path(config.save_folder) / f"step{STEP}"
    convert(str(ours), str(folder), ConvertConfig(to="olmo"))
    weights = load_file(folder / "model.safetensors") if (folder / "model.safetensors").is_file() else None
    names = list(weights or torch.load(folder / "model.pt"))
    dcp_to_torch_save(ours / "train", folder / "ours.pt")
    kept = torch.load(folder / "ours.pt", weights_only=False)
    (folder / "ours.pt").unlink()
    state = {
        name: kept["update"]["optimizer"][name] | {"grad_norm_exp_avg": kept["update"]["norm_means"][name]}
        for name in names
    }
    group = {"params": names, "param_names": names, "lr": 1e-2, "betas": (0.9, 0.95)}
    if not by_name:
        state = dict(enumerate(state.values()))
        group |= {"params": list(range(len(names)))}
    torch.save({"state": state, "param_groups": [group]}, folder / "optim.pt")
    trainer = {
        "epoch": 0,
        "global_step": STEP,
        "global_train_examples_seen_this_epoch": STEP * config.global_batch_size,
        "global_train_tokens_seen": STEP * config.global_batch_size * 16,
        "world_size": 1,
        "checkpoints": [PosixPath("/some/step6")],
        "rng": {"numpy": np.random.RandomState(0).get_state(), "torch": torch.get_rng_state()},
    }
    torch.save(trainer, folder / "train.pt")
    return folder


def begun(config: TrainConfig, folder: Path, place: Path, **more: object) -> TrainConfig:
    values = {"load_optimizer_state": True, "load_trainer_state": True} | more
    return dataclasses.replace(config, save_folder=str(folder), load_path=str(place), **values)


@pytest.mark.parametrize("by_name", [True, False])
def test_a_run_goes_on_from_a_checkpoint_of_olmo(config, whole, tmp_path, by_name):
    place = official(config, tmp_path / "olmo", by_name=by_name)
    new = begun(config, tmp_path / "run", place)
    assert train(new) == 0
    assert rows(new) == whole[STEP:]
    assert sorted(path.name for path in (tmp_path / "run").glob("step*")) == ["step12", "step14"]
    first = which_data(tmp_path / "run", WhichDataConfig(step=(7, 14)))["steps"]
    second = which_data(config.save_folder, WhichDataConfig(step=(7, 14)))["steps"]
    assert [row["instances"] for row in first] == [row["instances"] for row in second]
    with pytest.raises(UserError, match="step 6 is not among the steps 7 to 14"):
        which_data(tmp_path / "run", WhichDataConfig(step=(6,)))
    assert train(new) == 0  # nothing is left to do


def test_a_run_goes_on_from_a_checkpoint_of_another_run(config, whole, tmp_path):
    new = begun(config, tmp_path / "run", Path(config.save_folder) / f"step{STEP}")
    assert train(new) == 0
    assert rows(new) == whole[STEP:]


def test_each_state_by_itself(config, whole, tmp_path):
    place = official(config, tmp_path / "olmo")
    shorter = dataclasses.replace(config, max_duration="8", scheduler=SchedulerSettings(warmup="3", t_max="14"))
    step = begun(shorter, tmp_path / "step", place, load_optimizer_state=False)
    assert train(step) == 0
    assert [row["step"] for row in rows(step)] == [7, 8]
    assert rows(step)[0] == whole[STEP] | {"optim/clipping_rate": 0.0}  # no mean of a norm is known yet
    assert rows(step)[1]["train/CrossEntropyLoss"] != whole[STEP + 1]["train/CrossEntropyLoss"]
    moments = begun(shorter, tmp_path / "moments", place, load_trainer_state=False)
    assert train(moments) == 0
    assert [row["step"] for row in rows(moments)] == [*range(1, 9)]
    assert rows(moments)[0]["optim/learning_rate"] == whole[0]["optim/learning_rate"]


def test_what_cannot_be_taken_over_is_refused_before_anything_is_written(config, whole, tmp_path):
    place = official(config, tmp_path / "olmo")

    def refused(message: str, **more: object) -> None:
        with pytest.raises(UserError, match=message):
            train(begun(config, tmp_path / "run", more.pop("place", place), **more))
        assert not (tmp_path / "run").exists()

    refused("seen 1,536 tokens at step 6, with this configuration it would be 768", global_batch_size=8)
    refused("is at step 6, and the run ends at 5", max_duration="5")
    refused("there is no momentum of transformer", optimizer=OptimizerSettings(name="muon"))
    refused("load_path is a URL", place="s3://bucket/step6")
    trainer = torch.load(place / "train.pt", weights_only=False)
    torch.save(trainer | {"epoch": 1}, place / "train.pt")
    refused("taken 96 instances of epoch 1 at step 6, with this configuration it would be 96 of epoch 0")
    torch.save({"global_step": STEP}, place / "train.pt")
    assert train(begun(config, tmp_path / "oldest", place)) == 0  # as the first versions wrote it
    (place / "train.pt").write_bytes(b"nonsense")
    refused("no readable state")
    (place / "train.pt").unlink()
    refused("the checkpoint has no train.pt")
    (place / "optim.pt").unlink()
    refused("the checkpoint has no optim.pt")
    with pytest.raises(UserError, match="load_trainer_state without load_path"):
        dataclasses.replace(config, load_trainer_state=True)


class Wicked:
    def __reduce__(self):
        return (print, ("run by a pickle",))


def test_nothing_in_a_file_is_executed(config, whole, tmp_path, capsys):
    place = official(config, tmp_path / "olmo")
    torch.save({"global_step": STEP, "more": Wicked()}, place / "train.pt")
    capsys.readouterr()
    with pytest.raises(UserError, match="no readable state"):
        train(begun(config, tmp_path / "run", place))
    assert "run by a pickle" not in capsys.readouterr().out
