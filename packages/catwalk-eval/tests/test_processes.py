"""Runs of several processes, and runs that are killed."""

from __future__ import annotations

import random
import signal
import socket
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from separate import start
from test_runner import rows

import catwalk_eval.runner as runner
from catwalk_eval.config import RunConfig
from catwalk_eval.errors import UserError
from catwalk_eval.files import digest, read_json
from catwalk_eval.processes import joined

TASKS = ("piqa", "sciq", "winogrande")
LIMIT = 600  # seconds, for busy machines


@pytest.fixture
def config(model_folder: Path, data: Path, tmp_path: Path) -> RunConfig:
    return RunConfig(
        model=str(model_folder), tasks=",".join(TASKS), data=data, output=tmp_path / "p", cache="none", batch_tokens=40
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_on(processes: int, config: RunConfig) -> None:
    """What torchrun does, without its watching: the same run in every process, with its rank in the environment."""
    port = str(free_port())
    started = []
    for rank in range(processes):
        environment = {
            "WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }  # fmt: skip
        started.append(start(config, environment))
    for process in started:
        process.join(LIMIT)
    assert [process.exitcode for process in started] == [0] * processes


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_give_the_files_of_one(config: RunConfig, tmp_path: Path, processes: int) -> None:
    runner.run(config)
    several = replace(config, output=tmp_path / "several")
    run_on(processes, several)
    assert read_json(several.output / "manifest.json") == read_json(config.output / "manifest.json")
    for task in TASKS:
        ours, theirs = rows(config.output, task), rows(several.output, task)
        assert [row["greedy"] for row in ours] == [row["greedy"] for row in theirs]
        for name in ("log_probability", "log_probability_answer", "log_probability_empty"):
            left, right = ([row[name] for row in found if row[name] is not None] for found in (ours, theirs))
            assert left == pytest.approx(right, abs=1e-5)
    assert not list(tmp_path.glob("*.partial"))


def test_several_processes_agree_on_what_the_cache_knows(config: RunConfig) -> None:
    """The second task's requests are the first one's, which the first process has just kept."""
    shared = replace(config, tasks="piqa,piqa_bpb", cache="beside")
    run_on(2, shared)
    counts = counts_of(shared)
    assert counts["piqa"]["cached"] == 0
    assert counts["piqa"]["forwarded_tokens"] == counts["piqa"]["plan_tokens"]  # of both processes
    assert counts["piqa_bpb"]["cached"] == counts["piqa_bpb"]["distinct"] > 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE is 'x'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"WORLD_SIZE": "2"}, "RANK is missing"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK is '-1'"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "a"}, "LOCAL_RANK is 'a'"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_PORT is missing"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_PORT": "1"}, "RANK is 2 of WORLD_SIZE 2"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "1"}, "MASTER_ADDR is missing"),
    ],
)
def test_an_environment_that_torchrun_did_not_make_is_named(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{message} in the environment; start the processes with torchrun"), joined():
        pass


def counts_of(config: RunConfig) -> dict[str, Any]:
    found: dict[str, Any] = read_json(max((config.output / "provenance").iterdir()))["counts"]
    return found


def end(process: BaseProcess) -> None:
    process.join(LIMIT)
    assert process.exitcode == 0


@pytest.mark.parametrize("cache", ["none", "beside"])
def test_a_run_killed_at_random_moments_ends_in_the_files_of_one_that_was_not(
    config: RunConfig, tmp_path: Path, cache: str
) -> None:
    whole = replace(config, output=tmp_path / "whole")
    config = replace(config, cache=cache)
    started = time.monotonic()
    end(start(whole))
    length = time.monotonic() - started
    draw = random.Random(5)
    journal = tmp_path / "p.scores.partial"
    killed = 0
    for kill in range(4):
        process = start(config)
        if kill == 0:  # once surely after a batch was kept
            while not list(journal.glob("*.jsonl")) and process.is_alive():
                time.sleep(0.01)
        else:
            time.sleep(draw.uniform(0.3, 1.0) * length)
        process.kill()
        process.join(LIMIT)
        killed += process.exitcode == -signal.SIGKILL
    assert killed > 0
    end(start(config))
    assert digest(config.output) == digest(whole.output)
    assert not journal.exists()
