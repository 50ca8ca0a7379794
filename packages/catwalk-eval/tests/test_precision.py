from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_runner import rows

import catwalk_eval.runner as runner
from catwalk_eval.cli import app
from catwalk_eval.command_line import run
from catwalk_eval.config import RunConfig
from catwalk_eval.errors import UserError
from catwalk_eval.files import read_json
from catwalk_eval.precision import close_calls, flips


def choices(doc_id: int, *values: float, tokens: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [
        {"doc_id": doc_id, "log_probability": value, "log_probability_answer": -1.0, "tokens": size}
        for value, size in zip(values, tokens or (1,) * len(values), strict=True)
    ]


def test_instances_within_the_rounding_error_are_close_and_exact_ties_are_not() -> None:
    found = [*choices(0, -1.0, -1.00015), *choices(1, -1.0, -1.0003), *choices(2, -2.0, -2.0, -5.0)]
    assert close_calls(found, "acc_raw", 1e-4) == 1
    assert close_calls(found, "acc_uncond", 1e-4) == 2  # two log-probabilities, twice the error
    assert close_calls(choices(0, -10.0, -20.001, tokens=(10, 20)), "acc_per_token", 1e-4) == 0
    assert close_calls(choices(0, -10.0, -20.0001, tokens=(10, 20)), "acc_per_token", 1e-4) == 1


@pytest.fixture
def config(model_folder: Path, data: Path, tmp_path: Path) -> RunConfig:
    return RunConfig(
        model=str(model_folder), tasks="piqa,sciq", data=data, output=tmp_path / "a", device="cpu", cache="none"
    )


def test_flips_between_other_weights_are_refused(
    config: RunConfig, tmp_path: Path, make_model: Callable[..., Any], tokenizer_json: Path
) -> None:
    make_model("olmo", seed=5).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "tokenizer.json").write_bytes(tokenizer_json.read_bytes())
    runner.run(config)
    runner.run(replace(config, model=str(tmp_path / "other"), output=tmp_path / "b"))
    with pytest.raises(UserError, match="tiny-olmo and other have other weights"):
        flips(config.output, tmp_path / "b")


def test_flips_name_the_metric_whose_credits_they_show(config: RunConfig) -> None:
    metrics = runner.run(replace(config, tasks="piqa"))
    for name in ("bits_per_byte", "f1"):
        path = config.output / "piqa" / "task.json"
        path.write_text(json.dumps(read_json(path) | {"primary_metric": name, "positive": 1}))
        (row,) = flips(config.output, config.output)
        assert (row["metric"], row["a"]) == ("acc_raw", metrics["tasks"]["piqa"]["metrics"]["acc_raw"]["value"])


def test_flips_between_two_dtypes_are_counted(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner.run(config)
    runner.run(replace(config, output=tmp_path / "b", dtype="bfloat16"))
    assert [(row["flips"], row["largest_difference"]) for row in flips(config.output, config.output)] == [(0, 0)] * 2
    found = flips(config.output, tmp_path / "b")
    for row in found:
        moved = [
            abs(a["log_probability"] - b["log_probability"])
            for a, b in zip(rows(config.output, row["task"]), rows(tmp_path / "b", row["task"]), strict=True)
        ]
        assert row["largest_difference"] == max(moved) > 0
        assert row["mean_difference"] == pytest.approx(sum(moved) / len(moved))
        assert 0 <= row["flips"] <= row["instances"] == 3
    assert run(app, ["flips", str(config.output), str(tmp_path / "b")]) == 0
    assert "largest" in capsys.readouterr().out


def test_the_manifest_says_how_many_requests_the_policies_and_rounding_could_turn(config: RunConfig) -> None:
    runner.run(config)
    manifest = read_json(config.output / "manifest.json")
    for task, requests in (("piqa", 6), ("sciq", 12)):
        assert manifest["boundary_differences"][task]["requests"] == requests
        assert manifest["precision"]["close"][task] == close_calls(rows(config.output, task), "acc_raw", 1e-4)
