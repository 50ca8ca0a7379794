"""Ids that nothing has to predict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import SchedulerSettings
from olmo_model.config.training import TrainConfig
from olmo_model.errors import UserError
from olmo_model.label_masks import LabelMasks
from olmo_model.tokens import Instances, Tokens
from olmo_model.train import train


@pytest.fixture
def instances(write_tokens, tmp_path) -> Instances:
    files = [[("a", [5, 6, 7]), ("b", [8, 9, 10])], [("c", [11, 12, 13])]]
    return Instances(Tokens(write_tokens(tmp_path / "tokens", files)), 4)


def masks(folder: Path, *contents: bytes) -> list[str]:
    for number, content in enumerate(contents):
        (folder / f"mask-{number}").write_bytes(content)
    return [str(folder / f"mask-{number}") for number in range(len(contents))]


def test_masks_follow_the_instances(instances, tmp_path):
    found = LabelMasks(masks(tmp_path, b"\0\1\1\1\1\1\0\0", b"\1\0\1\0"), instances)
    rows = found.batch(np.array([2, 0, 1], dtype=np.uint32)).astype(int).tolist()
    assert rows == [[1, 0, 1, 0], [0, 1, 1, 1], [1, 1, 0, 0]]


def test_masks_that_do_not_fit_are_refused(instances, tmp_path):
    with pytest.raises(UserError, match="there are 1 files of label masks for 2 of tokens"):
        LabelMasks(masks(tmp_path, b"\1" * 8), instances)
    with pytest.raises(UserError, match="the file has 3 bytes for 4 ids"):
        LabelMasks(masks(tmp_path, b"\1" * 8, b"\1" * 3), instances)
    with pytest.raises(UserError, match="the file is missing"):
        LabelMasks([str(tmp_path / "a"), str(tmp_path / "b")], instances)


def first_loss(tokens_folder: Path, folder: Path, label_masks: list[str] | None) -> float:
    config = TrainConfig(
        save_folder=str(folder),
        data=DataSettings(tokens=str(tokens_folder), label_masks=None if label_masks is None else tuple(label_masks)),
        model=ModelSettings(preset="olmo-1m", d_model=32, n_heads=2, n_layers=1, mlp_hidden_size=128,
                            max_sequence_length=16),
        global_batch_size=8,
        max_duration="2",
        scheduler=SchedulerSettings(warmup="1"),
        threads=1,
    )  # fmt: skip
    assert train(config) == 0
    loss = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["train/CrossEntropyLoss"]
    assert isinstance(loss, float)
    return loss


def test_only_labels_count_in_the_loss_of_a_run(tokens_folder, tmp_path):
    sizes = [(tokens_folder / f"part-0000{number}.npy").stat().st_size // 2 for number in range(2)]
    everything = masks(tmp_path, *(b"\1" * size for size in sizes))
    plain = first_loss(tokens_folder, tmp_path / "plain", None)
    assert first_loss(tokens_folder, tmp_path / "all", everything) == plain
    (tmp_path / "half").mkdir()
    half = masks(tmp_path / "half", *((b"\0\1" * size)[:size] for size in sizes))
    assert first_loss(tokens_folder, tmp_path / "odd", half) != plain
    (tmp_path / "none").mkdir()
    nothing = masks(tmp_path / "none", *(b"\0" * size for size in sizes))
    assert first_loss(tokens_folder, tmp_path / "nothing", nothing) == 0.0
