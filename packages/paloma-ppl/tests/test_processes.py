"""Runs of several processes, runs that are killed, and memory that runs out."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from separate import start

from paloma_ppl import engine
from paloma_ppl.config import RunConfig
from paloma_ppl.errors import UserError
from paloma_ppl.evaluate import evaluate, ledger_path
from paloma_ppl.files import digest

LIMIT = 900  # seconds, for busy machines


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_on(processes: int, config: RunConfig) -> None:
    """What torchrun does, without its watching: the same run in every process, with its rank in the environment."""
    address = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [start(config, {**address, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(processes)]
    for process in started:
        process.join(LIMIT)
    assert [process.exitcode for process in started] == [0] * processes


def test_several_processes_and_killed_ones_give_the_files_of_one(
    model_folder: Path, suite_folder: Path, tmp_path: Path
) -> None:
    def to(name: str) -> RunConfig:
        return config(model_folder, suite_folder, tmp_path / name, 48)

    run_on(1, to("whole"))  # processes with equal numbers of threads: those of torch change the last digits
    run_on(2, to("two"))
    assert digest(tmp_path / "two") == digest(tmp_path / "whole")

    ledger = ledger_path(tmp_path / "killed") / "0"
    process = start(to("killed"))
    while process.is_alive() and not (ledger.is_file() and ledger.stat().st_size > 1500):
        time.sleep(0.002)
    process.kill()
    process.join(LIMIT)
    assert process.exitcode == -signal.SIGKILL
    assert ledger.is_file()
    assert not (tmp_path / "killed").exists()
    run_on(2, to("killed"))  # goes on with another number of processes
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("environment", "message"),
    [({"WORLD_SIZE": "x"}, "WORLD_SIZE is 'x'"), ({"WORLD_SIZE": "2"}, "RANK is missing")],
)
def test_an_environment_that_torchrun_did_not_make_is_named(
    model_folder: Path, suite_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str], message: str,
) -> None:  # fmt: skip
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{message} in the environment; start the processes with torchrun"):
        evaluate(config(model_folder, suite_folder, tmp_path / "P", 48))


def config(model: Path, suite: Path, output: Path, batch_tokens: int) -> RunConfig:
    return RunConfig(model=str(model), suite=suite, output=output, device="cpu", batch_tokens=batch_tokens)


def test_out_of_memory_halves_the_batch_and_goes_on(
    model_folder: Path, suite_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    read_rows: Callable[..., Any], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    evaluate(config(model_folder, suite_folder, tmp_path / "roomy", 500))
    real, sizes = engine.log_probabilities, []

    def narrow(model: Any, batch: Any, scored: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return real(model, batch, scored)

    monkeypatch.setattr(engine, "log_probabilities", narrow)
    evaluate(config(model_folder, suite_folder, tmp_path / "narrow", 500))
    assert max(sizes) > 5
    assert "out of memory: batches go on in 4 parts" in caplog.text
    pairs = zip(*(read_rows(tmp_path / name / "documents.jsonl.gz") for name in ("roomy", "narrow")), strict=True)
    for one, other in pairs:
        assert one["log_probability"] == pytest.approx(other["log_probability"], abs=1e-5 * one["tokens"])

    def hopeless(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(engine, "log_probabilities", hopeless)
    with pytest.raises(UserError, match=r"one window does not fit in memory: CUDA out of memory.*--max-length"):
        evaluate(config(model_folder, suite_folder, tmp_path / "none", 500))


def test_a_suite_in_sections_gives_the_same_numbers_and_keeps_little(
    model_folder: Path, suite_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    read_rows: Callable[..., Any],
) -> None:  # fmt: skip
    from paloma_ppl.evaluate import Scores

    for name in ("paloma", "training"):
        most = []
        take = Scores.take

        def watched(scores: Scores, *arguments: Any, most: Any = most, take: Any = take) -> None:
            most.append(len(scores.open))
            take(scores, *arguments)

        settings = {"model": str(model_folder), "suite": suite_folder, "device": "cpu", "format": name}
        evaluate(RunConfig(output=tmp_path / f"{name}-whole", **settings))
        with monkeypatch.context() as patch:
            patch.setattr(Scores, "take", watched)
            patch.setattr(engine.Engine.__init__, "__defaults__", (None, 100))
            patch.setattr("paloma_ppl.windows.BATCH_CHARACTERS", 1)
            evaluate(RunConfig(output=tmp_path / f"{name}-sections", **settings))
        rows = [read_rows(tmp_path / f"{name}-{way}" / "documents.jsonl.gz") for way in ("whole", "sections")]
        assert max(most) < len(rows[0])
        for one, other in zip(*rows, strict=True):
            assert one["id"] == other["id"]
            assert one["log_probability"] == pytest.approx(other["log_probability"], abs=1e-5 * one["tokens"])


def test_revision_is_a_checkpoint_of_a_run_folder(
    model_folder: Path, suite_folder: Path, tmp_path: Path, read_rows: Callable[..., Any]
) -> None:
    from shutil import copytree

    for step in ("step2", "step10"):
        copytree(model_folder, tmp_path / "run" / step)
    settings = {"model": str(tmp_path / "run"), "suite": suite_folder, "output": tmp_path / "P", "limit": 3}
    with pytest.raises(UserError, match=r"has no config\.json .*choose one with --revision: step2, step10"):
        evaluate(RunConfig(**settings))
    with pytest.raises(UserError, match=r"no checkpoint 'step3' .*there are: step2, step10"):
        evaluate(RunConfig(revision="step3", **settings))
    with pytest.raises(UserError, match="--download does nothing with a folder"):
        evaluate(RunConfig(revision="step10", download=True, **settings))
    evaluate(RunConfig(revision="step10", **settings))
    assert '"run/step10"' in (tmp_path / "P" / "manifest.json").read_text()


def test_device_map_with_a_device_or_several_processes_is_refused(
    model_folder: Path, suite_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"model": str(model_folder), "suite": suite_folder, "output": tmp_path / "P", "device_map": "auto"}
    with pytest.raises(UserError, match="--device does nothing with --device-map"):
        evaluate(RunConfig(device="cpu", **settings))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="each of 2 processes would spread the model over all GPUs"):
        evaluate(RunConfig(**settings))


def test_device_map_without_accelerate_is_one_line(
    model_folder: Path, suite_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UserError, match=r"--device-map needs accelerate .*pip install 'paloma-ppl\[accelerate\]'"):
        evaluate(RunConfig(model=str(model_folder), suite=suite_folder, output=tmp_path / "P", device_map="auto"))
