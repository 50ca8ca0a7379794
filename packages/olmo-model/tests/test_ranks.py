"""Ranks that depend on each other: what one finds wrong is said once and ends all."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from ranks import on_ranks, outcome

from olmo_model import provenance, restoring
from olmo_model import train as training
from olmo_model.checkpoint import Checkpoints
from olmo_model.config.data import DataSettings, InstanceFilterSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import GuardSettings, SchedulerSettings
from olmo_model.config.training import CheckpointSettings, TrainConfig, WandbSettings
from olmo_model.errors import UserError
from olmo_model.loss import Loss
from olmo_model.order import read_ledger
from olmo_model.plan import make_plan
from olmo_model.ranks import Ranks, joined
from olmo_model.run_folder import complete_checkpoints
from olmo_model.train import train

MODEL = ModelSettings(preset="olmo-1m", d_model=32, n_heads=2, n_layers=1, mlp_hidden_size=128, max_sequence_length=16)


@pytest.fixture
def config(tokens_folder, tmp_path) -> TrainConfig:
    return TrainConfig(
        save_folder=str(tmp_path / "run"),
        data=DataSettings(tokens=str(tokens_folder)),
        model=MODEL,
        global_batch_size=16,
        max_duration="4",
        scheduler=SchedulerSettings(warmup="1", t_max="12"),
        log_interval=1,
        threads=1,
        checkpoint=CheckpointSettings(save_interval=2),
    )


def losses(config: TrainConfig) -> list[float]:
    lines = (Path(config.save_folder) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train/CrossEntropyLoss"] for line in lines]


def told_once(found: list[tuple[object, list[str]]], rank: int = 0) -> str:
    """The one line that the ranks, which all end with status 2, have said."""
    assert [status for status, _ in found] == [2] * len(found)
    said = [(speaker, line) for speaker, (_, lines) in enumerate(found) for line in lines if line.startswith("error: ")]
    assert [speaker for speaker, _ in said] == [rank], found
    return said[0][1]


def meet(fault: str, place: str) -> None:
    with joined("cpu") as ranks:
        if fault == "file":
            ranks.together(lambda: Path(place).read_bytes() if ranks.rank == 1 else b"")
        elif fault == "first":
            ranks.from_first(lambda: Path(place).read_bytes())
        elif fault == "in the middle" and ranks.rank == 1:
            raise UserError("its own mistake", where=place, fix="mend it")
        elif fault == "everywhere":
            raise UserError("the same mistake", where=place, fix="mend it")
        ranks.any(False)


@pytest.mark.parametrize(
    ("fault", "rank", "message"),
    [
        ("file", 0, "error: rank 1: No such file or directory ({}); check the path, its rights and the space left"),
        ("first", 0, "error: No such file or directory ({}); check the path, its rights and the space left"),
        ("in the middle", 1, "error: rank 1: its own mistake ({}); mend it"),
    ],
)
def test_what_one_rank_meets_is_said_once_and_ends_all(tmp_path, fault, rank, message):
    place = str(tmp_path / "none")
    assert told_once(on_ranks(2, outcome, meet, fault, place), rank) == message.format(place)


def test_what_all_ranks_meet_is_said_once(tmp_path):
    found = on_ranks(2, outcome, meet, "everywhere", "here")
    assert [status for status, _ in found] == [2, 2]
    (line,) = [line for _, lines in found for line in lines]
    assert line.removeprefix("error: ").removeprefix("rank 1: ") == "the same mistake (here); mend it"


def own_value() -> object:
    with joined("cpu") as ranks:
        return ranks.from_first(lambda: f"of rank {ranks.rank}")


def test_what_the_first_rank_finds_all_have():
    assert on_ranks(2, own_value) == ["of rank 0"] * 2


def test_a_missing_device_is_said_once(config):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    line = told_once(on_ranks(2, outcome, train, dataclasses.replace(config, device="cuda")))
    assert line == "error: there is no CUDA device (device); set device to auto or cpu"


def without(module: str, config: TrainConfig) -> int:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, module, None)
        return train(config)


@pytest.mark.parametrize(
    ("module", "settings"),
    [("torch.utils.tensorboard", {"tensorboard": True}), ("wandb", {"wandb": WandbSettings(project="stories")})],
    ids=["tensorboard", "wandb"],
)
def test_a_missing_extra_is_said_once(config, module, settings):
    line = told_once(on_ranks(2, outcome, without, module, dataclasses.replace(config, **settings)))
    assert "is not installed" in line
    assert not list(Path(config.save_folder).glob("step*"))


def test_a_damaged_row_of_metrics_is_said_once(config):
    assert train(dataclasses.replace(config, max_duration="2")) == 0
    metrics = Path(config.save_folder) / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + "what\n")
    line = told_once(on_ranks(2, outcome, train, config))
    assert line.startswith(f"error: not a row of metrics ({metrics}, line 3)")


def spoiled(step: int, config: TrainConfig) -> tuple[object, bool]:
    """Status of a run whose loss is NaN in a step, and whether its batch was listed when this rank left; the first
    takes its time for it."""
    whole, describe, taken = training.language_model_loss, training.describe_batch, [0]

    def compute(model, ids, **more):
        taken[0] += 1
        loss = whole(model, ids, **more)
        bad = float("nan") if taken[0] == step else 1.0
        return Loss(loss.total * bad, loss.cross_entropy * bad, None)

    def slow(plan, run, step):
        time.sleep(0.5)
        return describe(plan, run, step)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "language_model_loss", compute)
        patched.setattr(training, "describe_batch", slow)
        try:
            return train(config), True
        except SystemExit as end:
            return end.code, (Path(config.save_folder) / f"batch_of_step{step}.json").is_file()


def test_a_guard_stop_where_an_epoch_ends_is_said_once_with_its_documents(config):
    config = dataclasses.replace(config, max_duration="12", log_interval=100, global_batch_size=64)
    plan = make_plan(config)
    last = next(step for step in range(2, 12) if plan.order.begins(step)) - 1
    found = on_ranks(2, outcome, spoiled, last, config)
    assert [result for result, _ in found] == [(2, True), (2, True)]
    assert [len(lines) for _, lines in found] == [1, 0]
    assert f"the loss is nan at step {last}; its batch holds the documents " in found[0][1][0]


def test_skipped_steps_are_written_down_once_by_many_ranks(config):
    config = dataclasses.replace(config, guard=GuardSettings(non_finite="skip"), log_interval=3)
    found = on_ranks(2, outcome, spoiled, 2, config)
    assert [result for result, _ in found] == [(0, True), (0, True)]
    rows = read_ledger(Path(config.save_folder) / "data_order.jsonl")
    assert [row.skipped_steps for row in rows if row.skipped_steps] == [(2,)]


def records_at_the_end(config: TrainConfig) -> tuple[int, int]:
    whole = provenance.digest

    def slow(*arguments):
        time.sleep(0.3)
        return whole(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(provenance, "digest", slow)
        status = train(config)
    return status, len(list((Path(config.save_folder) / "provenance").glob("*.json")))


def test_no_rank_leaves_before_the_first_has_written_what_was_done(config):
    limited = dataclasses.replace(config, time_limit=1e-9)
    assert on_ranks(2, records_at_the_end, limited) == [(130, 1)] * 2


def with_another_list(run: Path) -> object:
    with joined("cpu") as ranks, pytest.MonkeyPatch.context() as patched:
        if ranks.rank == 1:  # as on a disk whose listing is late
            patched.setattr(restoring, "step_folders", lambda run: [])
        return restoring.newest_whole_checkpoint(run, ranks)


def test_the_first_rank_says_which_checkpoints_there_are(config):
    assert train(config) == 0
    run = Path(config.save_folder)
    assert on_ranks(2, with_another_list, run) == [(4, run / "step4")] * 2


def with_little_room(rank: int, asynchronous: bool, config: TrainConfig) -> int:
    """Train; from the third step on one rank's disk takes no file of more than a few bytes."""
    whole = Checkpoints.save
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(self, progress, **more):
        if progress.step > 2 and self.ranks.rank == rank:
            self.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        return whole(self, progress, **more)

    settings = dataclasses.replace(config.checkpoint, asynchronous=asynchronous, max_shard_size=10_000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoints, "save", save)
        try:
            return train(dataclasses.replace(config, checkpoint=settings, report_interval=None))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_full_disk_of_one_rank_is_said_once_and_the_checkpoint_before_stays(config, rank, asynchronous):
    line = told_once(on_ranks(2, outcome, with_little_room, rank, asynchronous, config))
    what = "the checkpoint cannot be written: "
    assert line.startswith(f"error: rank 1: {what}" if rank else f"error: {what}")
    assert "step4.partial); make room or mend the disk, and run the same command again" in line
    run = Path(config.save_folder)
    assert complete_checkpoints(run) == [(2, run / "step2")]
    assert on_ranks(2, train, config) == [0, 0]
    assert len(losses(config)) == 4


def test_the_micro_batch_that_decides_is_kept_by_another_number_of_ranks(config, tmp_path, write_tokens):
    every_third = [(str(n), [5] * 15 if n % 3 == 0 else list(range(2, 17))) for n in range(90)]  # an instance each
    filtered = InstanceFilterSettings(enabled=True, min_period=1, max_period=8, max_count=3)
    data = DataSettings(tokens=str(write_tokens(tmp_path / "tokens", [every_third])), instance_filter=filtered)
    config = dataclasses.replace(config, data=data)
    longer = dataclasses.replace(config, max_duration="8")
    whole = dataclasses.replace(longer, save_folder=str(tmp_path / "whole"))
    assert on_ranks(2, train, whole) == [0, 0]
    assert on_ranks(2, train, config) == [0, 0]
    assert train(longer) == 0  # by itself it would take micro-batches twice as large
    assert losses(longer) == pytest.approx(losses(whole), rel=1e-6)
    line = told_once(on_ranks(4, outcome, train, dataclasses.replace(longer, max_duration="10")))
    assert line.startswith("error: 4 ranks with micro-batches of 8 cannot share a batch of 16 evenly")


def asked_twice(config: TrainConfig) -> int:
    """A run that its launcher asks to stop with two signals."""
    whole = training.Trainer.train_step

    def step(trainer):
        result = whole(trainer)
        if trainer.current_step == 2 and int(os.environ["RANK"]) == 1:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training.Trainer, "train_step", step)
        return train(config)


def test_two_signals_to_one_rank_stop_all_after_their_step(config):
    assert on_ranks(2, asked_twice, config) == [130, 130]
    assert len(losses(config)) == 2


def test_like_devices_are_asked_for():
    class Unlike(Ranks):
        def gather(self, value, *, aside=False):
            return ["cuda", value]

    with pytest.raises(UserError, match="rank 1 has no CUDA device, rank 0 has one"):
        training.refuse_a_mixture(Unlike())
