from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from catwalk_eval.cli import app
from catwalk_eval.command_line import run


def test_tasks_lists_every_task_with_its_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["tasks"]) == 0
    out = capsys.readouterr().out
    words = {line.split()[0].rstrip(","): line.split() for line in out.splitlines() if line}
    assert words["piqa"][1:7] == [
        "acc_per_token", "acc_per_char", "acc_per_char_bare", "acc_per_char", "acc_raw", "acc_per_char_bare",
    ]  # fmt: skip
    assert words["csqa"][1] == "commonsense_qa"
    assert "acc_per_char_bare (test)" in out
    assert out.splitlines()[0].split()[1:4] == ["olmo-paper", "olmo-inloop", "olmo-v1-inloop"]
    assert "lm-eval: EleutherAI/lm-evaluation-harness 0.4.13" in out


def test_requests_run_rescore_and_compare_work_from_the_command_line(
    data: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests, a, b = (str(tmp_path / name) for name in ("r", "a", "b"))
    model = ["--model", str(model_folder), "--device", "cpu"]
    assert run(app, ["requests", "--tasks", "piqa,sciq", "--data", str(data), "--output", requests]) == 0
    assert run(app, ["run", *model, "--tasks", "piqa,sciq", "--data", str(data), "--output", a]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split()[:5] == ["task", "dialect", "n", "metric", "value"]
    assert run(app, ["run", *model, "--tasks", "piqa", "--requests", requests, "--output", b]) == 0
    capsys.readouterr()
    assert run(app, ["rescore", a]) == 0
    assert capsys.readouterr().out == table
    assert run(app, ["compare", a, b, "--output", str(tmp_path / "c.json")]) == 0
    assert "piqa" in capsys.readouterr().out


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["make-cloze", "--documents", "s", "--output", str(tmp_path / "t"), "--items", "7", "--dry-run"]
    assert run(app, arguments) == 0
    assert "items: 7\n" in capsys.readouterr().out
    assert not (tmp_path / "t").exists()


def test_mistakes_are_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["requests", "--tasks", "arc_esy", "--data", str(tmp_path), "--output", str(tmp_path / "r")]
    assert run(app, arguments) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == "error: unknown task 'arc_esy' (tasks); did you mean arc_easy?"
    assert run(app, ["rescore", str(tmp_path)]) == 2
    assert run(app, ["requests", "--task", "piqa"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from catwalk_eval.cli import app; from catwalk_eval.command_line import run;"
        "run(app, ['run', '--help']);"
        "print([m for m in ('torch', 'transformers', 'numpy', 'scipy', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--batch-tokens" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
