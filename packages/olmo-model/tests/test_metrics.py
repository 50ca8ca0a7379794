"""What a logged step says of speed and memory."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import torch

from olmo_model.callbacks.console import Console, use_of_device
from olmo_model.callbacks.metrics import Metrics
from olmo_model.callbacks.peak_memory import PeakMemory, peak_memory
from olmo_model.ranks import ALONE

MEASURED = {"train/CrossEntropyLoss": 2.0, "optim/learning_rate": 0.1, "optim/total_grad_norm": 1.0}


def trainer(step: int, seconds: float, measured: dict[str, float] = MEASURED) -> SimpleNamespace:
    return SimpleNamespace(
        current_step=step,
        max_steps=10,
        seconds=seconds,
        due=lambda interval: step % interval == 0,
        result=SimpleNamespace(row=lambda: dict(measured)),
    )


def make_metrics(path, **changes: object) -> Metrics:
    memory = PeakMemory(ALONE, log_interval=2)
    memory.row = {"System/Peak GPU Memory (MB)": 1234.5}
    arguments = {"flops_per_token": 6000, "peak_flops": 1e6, "devices": 4} | changes
    return Metrics(path, log_interval=2, tokens_seen=lambda step: 100 * step, memory=memory, **arguments)


def test_speed_is_of_the_steps_since_the_last_logged_one_and_of_each_device(tmp_path):
    metrics = make_metrics(tmp_path / "metrics.jsonl")
    metrics.start(trainer(0, 0.0))
    metrics.step(trainer(1, 1.0), {})
    metrics.step(trainer(3, 2.0), {})  # not logged
    row: dict[str, float] = {}
    metrics.step(trainer(4, 2.5), row)
    assert row == MEASURED | {
        "throughput/tokens_per_second": 200.0,
        "throughput/total_tokens": 400,
        "throughput/device/tokens_per_second": 50.0,
        "throughput/device/batches_per_second": 2.0,
        "throughput/device/MFU": 30.0,
        "System/Peak GPU Memory (MB)": 1234.5,
    }
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 4]


def test_a_step_that_is_not_finite_leaves_no_row(tmp_path):
    metrics = make_metrics(tmp_path / "metrics.jsonl")
    metrics.start(trainer(0, 0.0))
    metrics.step(trainer(2, 1.0, {}), {})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_without_a_known_peak_there_is_no_utilization(tmp_path):
    metrics = make_metrics(tmp_path / "metrics.jsonl", peak_flops=None)
    metrics.start(trainer(0, 0.0))
    metrics.step(trainer(2, 1.0), {})
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["throughput/device/tokens_per_second"] == 50.0
    assert "throughput/device/MFU" not in row


def test_memory_is_that_of_the_rank_that_took_most():
    ranks = SimpleNamespace(device=torch.device("cpu"), gather=lambda mine: [mine, 10**15])
    memory = PeakMemory(ranks, log_interval=2)
    memory.step(trainer(3, 1.0), {})
    assert memory.row == {}
    memory.step(trainer(4, 1.0), {})
    assert memory.row == {"System/Peak CPU Memory (MB)": 1e9}


def test_memory_of_a_processor_is_what_was_resident_at_most():
    before = peak_memory(torch.device("cpu"))
    held = torch.ones(before // 4 + 25_000_000)  # four bytes each
    assert peak_memory(torch.device("cpu")) >= 4 * len(held) > before


def test_the_console_tells_time_left_utilization_and_memory(caplog):
    console = Console(lambda step: 100 * step)
    row = MEASURED | {
        "throughput/tokens_per_second": 1000.0,
        "throughput/device/MFU": 41.26,
        "System/Peak GPU Memory (MB)": 1234.5,
    }
    with caplog.at_level(logging.INFO):
        console.start(trainer(0, 0.0))
        console.step(trainer(4, 40.0), row)
    (line,) = caplog.messages
    assert line == (
        "step 4/10  loss 2.0000  learning rate 0.1  gradient norm 1.000  1,000 tokens/s  MFU 41.3 %  "
        "peak memory 1,234 MB  1:00 left"
    )


def test_what_is_not_known_is_not_told():
    assert use_of_device({}) == ""
    assert use_of_device({"System/Peak CPU Memory (MB)": 99.6}) == "  peak memory 100 MB"
