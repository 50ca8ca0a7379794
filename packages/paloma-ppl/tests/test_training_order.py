import json
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.cli import app
from paloma_ppl.command_line import run

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
