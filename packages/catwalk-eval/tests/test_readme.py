"""The README's own task works as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from catwalk_eval.cli import app
from catwalk_eval.command_line import run
from catwalk_eval.requests import load_task

README = Path(__file__).parents[1] / "README.md"


def block(language: str) -> str:
    section = README.read_text(encoding="utf-8").split("## A task of your own", 1)[1].split("\n## ", 1)[0]
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(found)


def test_the_own_task_of_the_readme_runs(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "colours.jsonl").write_text(block("json"), encoding="utf-8")
    (tmp_path / "colours.yaml").write_text(block("yaml"), encoding="utf-8")
    (tmp_path / "shouted.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    line = ["--tasks", "colours.yaml,shouted.py", "--output", "predictions", "--device", "cpu"]
    assert run(app, ["run", "--model", str(model_folder), *line]) == 0
    metrics = json.loads(Path("predictions/metrics.json").read_text())["tasks"]
    assert (metrics["colours"]["primary_metric"], metrics["colours"]["choices"]) == ("acc_per_char", [2, 3])
    assert load_task("colours.yaml", None, "lm-eval", None).instances[0].contexts[0] == "The colour of grass is"
    assert load_task("shouted.py", None, "olmo-inloop", None).instances[0].contexts[0] == "The colour of GRASS is"


def test_the_tables_of_the_readme_name_every_task_and_dialect() -> None:
    from catwalk_eval.prompts import DIALECTS
    from catwalk_eval.tasks import TASKS

    text = README.read_text(encoding="utf-8")
    assert [name for name in (*TASKS, *DIALECTS) if f"`{name}`" not in text] == []
