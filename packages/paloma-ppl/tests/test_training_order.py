import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.cli import app
from paloma_ppl.command_line import run
from paloma_ppl.compare import compare
from paloma_ppl.config import CompareConfig, RunConfig
from paloma_ppl.errors import UserError
from paloma_ppl.evaluate import evaluate
from paloma_ppl.results import read_results
from paloma_ppl.training_order import order_of_checkpoint, same_so_far

ROW = {"format_version": 1, "first_step": 1, "first_instance": 0, "epoch": 0, "batch_size": 4, "sequence_length": 8,
       "seed": 1, "instances": 100, "mixture": None, "skipped_steps": [], "tokens_fingerprint": "sha256:" + "4" * 64,
       "order": "olmo"}  # fmt: skip


def ledger(folder: Path, *changes: dict[str, Any]) -> str:
    folder.mkdir()
    (folder / "data_order.jsonl").write_text("".join(json.dumps(ROW | change) + "\n" for change in changes))
    return str(folder)


def test_a_resumed_run_has_the_order_of_one_that_never_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = ledger(tmp_path / "a", {})
    resumed = ledger(
        tmp_path / "b", {}, {"first_step": 6, "first_instance": 20}, {"first_step": 3, "first_instance": 8}
    )
    assert run(app, ["training-order", whole, resumed]) == 0
    assert capsys.readouterr().out.count("sha256:") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{"seed": 2}], "from step 1 on: seed 1 and 2"),
        ([{}, {"first_step": 3, "first_instance": 8, "batch_size": 8}], "from step 3 on: one run changed"),
    ],
)
def test_another_order_is_named_and_gives_status_1(
    tmp_path: Path, changes: list[dict[str, Any]], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["training-order", ledger(tmp_path / "a", {}), ledger(tmp_path / "b", *changes)]) == 1
    assert message in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "", "{}\n", "[\n"])
def test_what_is_no_ledger_is_one_line(tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    a = ledger(tmp_path / "a", {})
    (tmp_path / "b").mkdir()
    if content is not None:
        (tmp_path / "b" / "data_order.jsonl").write_text(content)
    assert run(app, ["training-order", a, str(tmp_path / "b")]) == 2
    assert "data_order.jsonl" in capsys.readouterr().err


def at(run_folder: str, step: int) -> dict[str, Any]:
    """What the manifest of results of a checkpoint says of its training."""
    order = order_of_checkpoint(Path(run_folder) / f"step{step}", step)
    assert order is not None
    return {"step": step, "training_order": order}


def test_checkpoints_are_compared_up_to_the_earlier_step(tmp_path: Path) -> None:
    later = {"first_step": 3, "first_instance": 8, "batch_size": 8}
    one, two = ledger(tmp_path / "a", {}), ledger(tmp_path / "b", {}, later)
    assert same_so_far(at(one, 2), at(two, 4)) is True  # they part at step 3
    assert same_so_far(at(one, 3), at(two, 4)) is False
    assert same_so_far(at(ledger(tmp_path / "c", {"seed": 2}), 2), at(one, 2)) is False
    assert same_so_far({"step": 2}, at(one, 2)) is None


def test_results_record_the_order_and_compare_says_whether_it_is_the_same(
    model_folder: Path, suite_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two runs of one order and one of another; a model outside any run; a run whose ledger is damaged."""
    for name, change in (("a", {}), ("b", {}), ("c", {"seed": 2}), ("damaged", {"first_step": "x"})):
        ledger(tmp_path / name, change)
    models = {name: tmp_path / name / "step4" for name in ("a", "b", "c", "damaged")} | {"alone": tmp_path / "alone"}
    for name, model in models.items():
        shutil.copytree(model_folder, model)
        (model / "manifest.json").write_text(json.dumps({"artifact": "checkpoint", "step": 4, "tokens_seen": 128}))
        evaluate(RunConfig(model=str(model), suite=suite_folder, output=tmp_path / f"P-{name}", limit=2))
    assert "the training order is not recorded: " in caplog.text

    def line(b: str) -> str:
        found = compare([tmp_path / "P-a", tmp_path / f"P-{b}"], CompareConfig(output=tmp_path / "c.json"))
        return str(found["comparisons"][0]["training_order"])

    assert line("b") == "training order: the same data in the same order up to step 4"
    assert line("c") == "training order: other data or another order"
    assert line("alone") == "training order: unknown, not recorded for alone"
    assert line("damaged") == "training order: unknown, not recorded for damaged/step4"

    manifest = tmp_path / "P-a" / "manifest.json"
    stated = json.loads(manifest.read_text())
    for value in (3, [3], [{"first_step": "x"}]):
        stated["model"]["training_order"] = value
        manifest.write_text(json.dumps(stated))
        with pytest.raises(UserError, match="the manifest is not whole: training_order"):
            read_results(tmp_path / "P-a")
