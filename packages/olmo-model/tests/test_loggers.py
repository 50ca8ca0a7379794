"""TensorBoard and Weights & Biases without their servers: every row under its name, and one run after a resume."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import SchedulerSettings
from olmo_model.config.training import EvaluationSettings, TrainConfig, WandbSettings
from olmo_model.errors import UserError
from olmo_model.train import train

Rows = dict[int, dict[str, float]]


@pytest.fixture
def config(tokens_folder, windows_folder, tmp_path) -> TrainConfig:
    return TrainConfig(
        save_folder=str(tmp_path / "run"),
        data=DataSettings(tokens=str(tokens_folder)),
        model=ModelSettings(
            preset="olmo-1m", d_model=32, n_heads=2, n_layers=1, mlp_hidden_size=128, max_sequence_length=16
        ),
        max_duration="4",
        scheduler=SchedulerSettings(warmup="1", t_max="7"),
        log_interval=2,
        threads=1,
        evaluation=EvaluationSettings(interval=3, windows=str(windows_folder), limit=1),
    )


def logged(config: TrainConfig) -> Rows:
    lines = (Path(config.save_folder) / "metrics.jsonl").read_text().splitlines()
    return {row.pop("step"): row for row in map(json.loads, lines) if row.pop("time")}


def test_tensorboard_has_every_row_and_a_resumed_run_is_one(config):
    pytest.importorskip("tensorboard", reason="the extra olmo-model[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for duration in ("4", "7"):
        assert train(dataclasses.replace(config, max_duration=duration, tensorboard=True)) == 0
    events = EventAccumulator(str(Path(config.save_folder) / "tensorboard"))
    events.Reload()
    found: Rows = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            assert name not in found.setdefault(event.step, {})
            found[event.step][name] = event.value
    expected = logged(config)
    assert sorted(found) == [1, 2, 3, 4, 6, 7] == sorted(expected)
    for step, row in expected.items():
        assert found[step] == pytest.approx(row, rel=1e-6)


def test_what_is_done_again_after_a_crash_replaces_the_old_in_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra olmo-model[tensorboard] is not installed")
    from types import SimpleNamespace

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from olmo_model.callbacks.tensorboard import TensorBoard

    for begins, steps in ((0, (1, 2, 3)), (1, (2, 3, 4))):
        if begins:
            time.sleep(1.1)  # the names of its files tell seconds; TensorBoard reads them by name
        callback = TensorBoard(tmp_path)
        callback.start(SimpleNamespace(current_step=begins))
        for step in steps:
            callback.step(SimpleNamespace(current_step=step), {"train/CrossEntropyLoss": 10.0 * begins + step})
        callback.writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    values = [(event.step, event.value) for event in events.Scalars("train/CrossEntropyLoss")]
    assert values == [(1, 1.0), (2, 12.0), (3, 13.0), (4, 14.0)]


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        ("tensorboard", {"tensorboard": True}, r"tensorboard is not installed .*olmo-model\[tensorboard\]"),
        ("wandb", {"wandb": WandbSettings(project="stories")}, r"wandb is not installed .*olmo-model\[wandb\]"),
    ],
)
def test_an_extra_that_is_not_installed_is_said_before_any_step(config, monkeypatch, module, settings, message):
    monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=message):
        train(dataclasses.replace(config, **settings))
    assert not (Path(config.save_folder) / "metrics.jsonl").exists()


def wandb_records(path: Path) -> Iterator[bytes]:
    """Records of a .wandb file: a header of 7 bytes, then LevelDB's log format, blocks of 32 KiB."""
    content, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        if kind == 0 or place + 7 + length > len(content):
            return
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def wandb_run(path: Path) -> tuple[str, bool, Rows]:
    """The id of the run, whether the file is finished, and its rows."""
    from wandb.proto import wandb_internal_pb2

    identity, finished, rows = "", False, {}
    for content in wandb_records(path):
        record = wandb_internal_pb2.Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            identity = record.run.run_id
        finished = finished or kind == "exit"
        if kind == "history":
            row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            rows[row.pop("_step")] = {name: value for name, value in row.items() if not name.startswith("_")}
    return identity, finished, rows


def test_wandb_has_every_row_offline_and_a_resumed_run_is_one(config, monkeypatch):
    pytest.importorskip("wandb", reason="the extra olmo-model[wandb] is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "unset below, put back by the fixture")
    monkeypatch.delenv("WANDB_ERROR_REPORTING")
    for duration in ("4", "7"):
        assert train(dataclasses.replace(config, max_duration=duration, wandb=WandbSettings(project="stories"))) == 0
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"  # without it wandb asks the network even offline
    deadline = time.monotonic() + 60  # wandb's own process writes the files, at its leisure
    runs: list[tuple[str, bool, Rows]] = []
    while time.monotonic() < deadline and not (len(runs) == 2 and all(run[1] for run in runs)):
        time.sleep(0.1)
        runs = [wandb_run(path) for path in sorted(Path(config.save_folder).glob("wandb/offline-run-*/*.wandb"))]
    (first, _, before), (second, _, after) = runs
    assert first == second != ""
    assert sorted(before) == [1, 2, 3, 4]
    assert sorted(after) == [6, 7]
    assert before | after == logged(config)
