from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from separate import CONTEXT

from olmo_model.cli import app
from olmo_model.command_line import run
from olmo_model.files import digest_file
from olmo_model.run_folder import complete_checkpoints
from olmo_model.trainer import Trainer

COMMAND = [sys.executable, "-c", "from olmo_model.cli import main; main()"]


@pytest.fixture
def config_file(tokens_folder, tmp_path) -> Path:
    values = {
        "save_folder": str(tmp_path / "run"),
        "data": {"tokens": str(tokens_folder)},
        "model": {
            "preset": "olmo-1m",
            "d_model": 32,
            "n_heads": 2,
            "n_layers": 1,
            "mlp_hidden_size": 128,
            "max_sequence_length": 16,
        },
        "max_duration": 60,
        "scheduler": {"warmup": 5},
        "threads": 1,
        "log_interval": 1,
        "checkpoint": {"save_interval": 10},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "config.yaml"


def call(*arguments: str) -> int:
    return run(app, list(arguments), positional_config=frozenset({"train", "plan"}))


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["train/CrossEntropyLoss"]) for row in rows]


def test_help_needs_no_torch():
    code = "import sys, olmo_model.cli; print([m for m in ('torch', 'numpy', 'tokenizers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", ["train", "plan", "generate", "which-data", "which-steps"])
def test_every_command_has_help_for_every_option(command, capsys):
    assert call(command, "--help") == 0
    help_text = capsys.readouterr().out
    for line in help_text.split("\n  --")[1:]:
        assert len(line.split(":", 1)[1].strip()) > 10, line


def test_train_generate_and_look_up(config_file, tmp_path, capsys):
    assert call("train", str(config_file), "--max-duration", "6", "--optimizer.learning-rate", "1e-3") == 0
    out = tmp_path / "out.json"
    folder = str(tmp_path / "run")
    assert call("generate", folder, "--prompt", "the cat", "--max-new-tokens", "3", "--output", str(out)) == 0
    result = json.loads(out.read_text())
    assert capsys.readouterr().out == "the cat" + result["text"] + "\n"
    assert call("which-data", folder, "--step", "2", "--step", "3", "--output", str(out)) == 0
    found = json.loads(out.read_text())
    assert [row["step"] for row in found["steps"]] == [2, 3]
    name = found["steps"][0]["documents"][0]["id"]
    assert call("which-steps", folder, "--doc", name) == 0
    seen = json.loads(capsys.readouterr().out)["documents"][0]["seen"]
    assert 2 in [row["step"] for row in seen]


def test_every_answer_in_a_file_has_a_record_beside_it(config_file, tokens_folder, tmp_path):
    assert call("train", str(config_file), "--max-duration", "6") == 0
    run, data = tmp_path / "run", str(tokens_folder / "manifest.json")
    out = tmp_path / "answers" / "a.json"
    lines = {
        "generate": ["generate", str(run), "--prompt", "cat", "--max-new-tokens", "2", "--seed", "5"],
        "which-data": ["which-data", str(run), "--step", "2"],
        "which-steps": ["which-steps", str(run), "--doc", "story-3"],
        "plan": ["plan", str(config_file), "--measured-steps", "1"],
    }
    files = {
        "generate": [str(run / "step6" / name) for name in ("config.json", "model.safetensors", "tokenizer.json")],
        "which-data": [str(run / "data_order.jsonl"), data],
        "which-steps": [str(run / "data_order.jsonl"), data],
        "plan": [data],
    }
    for command, line in lines.items():
        assert call(*line) == 0
        assert not (out.parent / "provenance").exists()
        assert call(*line, "--output", str(out)) == 0
        (file,) = (out.parent / "provenance").iterdir()
        record = json.loads(file.read_text())
        assert record["command"] == command
        assert list(record["inputs"]) == files[command]
        assert record["outputs"] == {str(out): digest_file(out)}
        assert all(count > 0 for count in record["counts"].values())
        assert record["seed"] == {"generate": 5, "plan": 6198}.get(command)
        shutil.rmtree(out.parent)


def test_dry_run_prints_the_whole_configuration_and_does_nothing(config_file, tmp_path, capsys):
    assert call("train", str(config_file), "--dry-run") == 0
    resolved = yaml.safe_load(capsys.readouterr().out)
    assert resolved["model"]["vocab_size"] == 300
    assert resolved["scheduler"]["t_max"] == "60"
    assert not (tmp_path / "run").exists()


def test_plan_counts_and_keeps_nothing(config_file, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert call("plan", str(config_file), "--measured-steps", "1", "--output", str(out)) == 0
    found = json.loads(out.read_text())
    assert found["parameters"] == 384 * 32 + 4 * 32 * 32 + 3 * 32 * 64
    assert found["tokens_per_step"] == 16 * 16
    assert (found["steps"], found["tokens"]) == (60, 60 * 256)
    assert found["memory"]["weights"] == 4 * found["parameters"]
    assert found["flops_per_token"] == 6 * found["parameters"] + 6 * 1 * 32 * 16
    assert found["tokens_per_second"] > 0
    assert found["seconds"] == pytest.approx(60 * 256 / found["tokens_per_second"])
    assert found["speed_from"] == "measured in 1 steps here"
    assert found["energy_kwh"] is None
    assert found["checkpoint_bytes"] == 12 * found["parameters"]
    assert found["memory"]["total"] < found["memory_available"]
    assert "parameters       22,528" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_the_micro_batch_of_a_run_that_goes_on_stands_in_every_plan(config_file, capsys):
    """Where labels are left out of the loss of v1, the size of a micro-batch decides how much each weighs."""
    line = [str(config_file), "--data.instance-filter.enabled", "--max-duration", "2", "--scheduler.t-max", "60"]
    assert call("train", *line, "--micro-batch-size", "4") == 0
    capsys.readouterr()
    line[3] = "4"
    assert call("train", *line, "--dry-run") == 0
    assert yaml.safe_load(capsys.readouterr().out)["micro_batch_size"] == 4
    assert call("train", *line, "--dry-run", "--overwrite") == 0
    assert yaml.safe_load(capsys.readouterr().out)["micro_batch_size"] == 16
    assert call("plan", *line, "--measured-steps", "1") == 0
    assert "micro-batches of 4\n" in capsys.readouterr().out
    assert call("config", "show", *line) == 0
    assert "micro_batch_size: 4 " in capsys.readouterr().out


def test_plan_for_another_machine_measures_nothing(config_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Trainer, "train_step", None)
    out = tmp_path / "plan.json"
    line = [
        "plan",
        str(config_file),
        "--ranks",
        "4",
        "--accelerator",
        "H100",
        "--mfu",
        "0.5",
        "--precision",
        "amp_bf16",
    ]
    assert call(*line, "--output", str(out)) == 0
    found = json.loads(out.read_text())
    rate = 4 * 989.4e12 * 0.5 / found["flops_per_token"]
    assert found["tokens_per_second"] == pytest.approx(rate)
    assert found["energy_kwh"] == pytest.approx(4 * 700 * 60 * 256 / rate / 3.6e6)
    assert (found["ranks"], found["micro_batch_size"], found["memory_available"]) == (4, 4, 80_000_000_000)
    assert found["memory"]["optimizer"] == 2 * found["parameters"]
    assert "50 % of the 989.4 TFLOP/s of each h100" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mfu", "0.5"], "mfu is given without an accelerator (options); give --accelerator NAME too"),
        (["--accelerator", "h100", "--mfu", "50"], "mfu is 50 (options); give a share, such as 0.4"),
        (["--accelerator", "h100", "--measured-steps", "2"], "both steps to measure and an accelerator"),
        (["--accelerator", "h1000"], "unknown accelerator 'h1000'"),
        (["--ranks", "3"], "3 ranks cannot share a batch of 16 evenly"),
        (["--model.preset", "olmo-65b", "--model.d-model", "131072"], "a rank takes about"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(config_file, options, message, capsys):
    assert call("plan", str(config_file), *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-duraton", "5"], "Did you mean --max-duration?"),
        (["--model.preset", "olmo-2b"], "unknown preset 'olmo-2b'"),
        (["--data.tokens", "nowhere"], "no tokens artifact: manifest.json is missing (nowhere)"),
    ],
)
def test_mistakes_are_one_line_and_status_two(config_file, arguments, message, capsys):
    assert call("train", str(config_file), *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def wait_for_rows(ended: Callable[[], bool], file: Path, rows: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ended():
        if file.is_file() and file.read_bytes().count(b"\n") >= rows:
            return
        time.sleep(0.01)
    raise AssertionError(f"the run did not come to row {rows}")


def test_a_killed_process_run_again_gives_bitwise_the_same_losses(config_file, tmp_path):
    killed, whole = tmp_path / "run", tmp_path / "whole"
    process = CONTEXT.Process(target=call, args=("train", str(config_file)))
    process.start()
    wait_for_rows(lambda: not process.is_alive(), killed / "metrics.jsonl", 12)
    while not (killed / "latest").exists():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert complete_checkpoints(killed)[-1][0] >= 10
    assert not (killed / "step60").exists()
    assert call("train", str(config_file)) == 0
    assert call("train", str(config_file), "--save-folder", str(whole)) == 0
    assert losses(killed) == losses(whole)
    weights = [(folder / "step60" / "model.safetensors").read_bytes() for folder in (killed, whole)]
    assert weights[0] == weights[1]


def test_sigterm_finishes_the_step_saves_it_and_says_how_to_go_on(config_file, tmp_path):
    command = [*COMMAND, "train", str(config_file), "--max-duration", "100000", "--checkpoint.save-interval", "100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        wait_for_rows(lambda: process.poll() is not None, tmp_path / "run" / "metrics.jsonl", 3)
        process.terminate()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.decode().splitlines()[-1].endswith("resume with the same command")
    ((step, _),) = complete_checkpoints(tmp_path / "run")
    assert losses(tmp_path / "run")[-1][0] == step


def test_one_interrupt_stops_after_the_step_and_the_handlers_are_put_back(config_file, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    whole = Trainer.train_step
    before = signal.getsignal(signal.SIGINT)  # a shell starts what is in its background with interrupts ignored

    def interrupted(trainer):
        result = whole(trainer)
        if trainer.current_step == 4:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    assert call("train", str(config_file)) == 130
    assert "stopped after step 4" in caplog.text
    assert [step for step, _ in complete_checkpoints(tmp_path / "run")] == [4]
    assert [step for step, _ in losses(tmp_path / "run")] == [1, 2, 3, 4]
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_rows_go_to_weights_and_biases(config_file, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra olmo-model[wandb] is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "unset below, put back by the fixture")
    monkeypatch.delenv("WANDB_ERROR_REPORTING")
    assert call("train", str(config_file), "--max-duration", "6", "--wandb.project", "stories") == 0
    (record,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    deadline = time.monotonic() + 60  # wandb's own process writes the file, at its leisure
    while b"train/CrossEntropyLoss" not in record.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"train/CrossEntropyLoss" in record.read_bytes()
    assert b"stories" in record.read_bytes()
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"  # without it wandb asks the network even offline
