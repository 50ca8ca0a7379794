from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from test_run_report import stored_run

from catwalk_eval.config import ExportConfig
from catwalk_eval.errors import UserError
from catwalk_eval.files import read_json, write_json
from catwalk_eval.lm_eval_layout import export
from catwalk_eval.predictions import ROWS, compute_metrics, write_rows
from catwalk_eval.records import json_rows
from catwalk_eval.requests import ROWS as REQUESTS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    run = stored_run(tmp_path, "allenai/OLMo-1B", 40)
    record = {"finished": "2026-01-02T03:04:05.678+00:00"}
    write_json(run / "provenance" / "20260102T030000-run-0.json", record)
    export(run, ExportConfig(output=tmp_path / "out"))
    return tmp_path


def test_results_have_the_names_and_keys_of_the_harness(place: Path) -> None:
    folder = place / "out" / "allenai__OLMo-1B"
    assert sorted(path.name for path in folder.glob("*.json*")) == [
        "results_2026-01-02T03-04-05.678000.json",
        "samples_boolq_2026-01-02T03-04-05.678000.jsonl",
    ]
    results = read_json(folder / "results_2026-01-02T03-04-05.678000.json")
    ours = compute_metrics(place / "allenai_OLMo_1B")["tasks"]["boolq"]["metrics"]
    row = results["results"]["boolq"]
    assert (row["alias"], row["sample_len"]) == ("boolq", 60)
    for name, known in (("acc_raw", "acc"), ("acc_per_char_bare", "acc_norm"), ("acc_uncond_empty", "acc_mutual_info")):
        assert row[f"{known},none"] == ours[name]["value"]
        assert row[f"{known}_stderr,none"] == ours[name]["standard_error"]
    assert row["acc_per_token,none"] == ours["acc_per_token"]["value"]
    assert (
        results["higher_is_better"]["boolq"] | {"acc": True, "bits_per_byte": False}
        == results["higher_is_better"]["boolq"]
    )
    assert results["n-samples"] == {"boolq": {"original": 60, "effective": 60}}
    assert (results["n-shot"], results["model_name"]) == ({"boolq": 0}, "allenai/OLMo-1B")
    assert {"configs", "versions", "config", "git_hash", "date", "task_hashes"} <= results.keys()


def test_samples_are_lines_whose_log_probabilities_are_texts(place: Path) -> None:
    path = next((place / "out" / "allenai__OLMo-1B").glob("samples_*.jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 60
    row = rows[45]  # the right choice is the second, and the first was chosen
    context = "Question: one?\nAnswer: no\n\nQuestion 45: why?\nAnswer:"
    assert row["arguments"]["gen_args_1"] == {"arg_0": context, "arg_1": " choice 1 why"}
    assert row["resps"] == [[["-1.0", "False"]], [["-9.0", "False"]]]
    assert row["filtered_resps"] == [["-1.0", "False"], ["-9.0", "False"]]
    assert (row["target"], row["acc"], row["filter"], row["doc_id"]) == ("1", 0.0, "none", 45)
    assert row["metrics"] == ["acc", "acc_norm", "acc_bytes", "acc_mutual_info"]
    assert row["prompt_hash"] == hashlib.sha256(context.encode()).hexdigest()
    assert sum(one["acc"] for one in rows) == 40


def test_what_does_not_apply_is_not_exported(tmp_path: Path) -> None:
    """Right answers alone earn no accuracy, and a choice of one space has no length without it."""
    run = stored_run(tmp_path, "m", 40, tasks=("boolq", "boolq_bpb"))
    rows = [row for row in read_rows(run / "boolq_bpb" / ROWS) if row["idx"] == row["label"]]
    write_rows(run / "boolq_bpb" / ROWS, [row | {"idx": 0, "label": 0} for row in rows])
    asked = [row for row in read_rows(run / "boolq_bpb" / REQUESTS) if row["idx"] == row["label"]]
    write_rows(run / "boolq_bpb" / REQUESTS, [row | {"idx": 0, "label": 0} for row in asked])
    about = read_json(run / "boolq_bpb" / "task.json") | {"primary_metric": "bits_per_byte"}
    write_json(run / "boolq_bpb" / "task.json", about)
    manifest = read_json(run / "manifest.json")
    manifest["counts"]["boolq_bpb"] = {"instances": 60, "requests": 60}
    write_json(run / "manifest.json", manifest)
    bare = read_rows(run / "boolq" / ROWS)
    write_rows(run / "boolq" / ROWS, [{**bare[0], "characters_bare": 0, "bytes_bare": 0}, *bare[1:]])
    paths = export(run, ExportConfig(output=tmp_path / "out"))
    first = {path.name.rsplit("_", 1)[0]: json.loads(path.read_text().splitlines()[0]) for path in paths[1:]}
    assert first["samples_boolq"]["metrics"] == ["acc", "acc_mutual_info"]
    assert first["samples_boolq_bpb"]["metrics"] == []
    assert not {"acc", "acc_norm"} & first["samples_boolq_bpb"].keys()
    assert "total_evaluation_time_seconds" not in read_json(paths[0])


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in json_rows(path)]


def test_predictions_without_their_requests_cannot_be_exported(place: Path) -> None:
    run = place / "allenai_OLMo_1B"
    (run / "boolq" / "requests.jsonl.gz").unlink()
    with pytest.raises(UserError, match="prompts were not stored"):
        export(run, ExportConfig(output=place / "again"))
    assert not (place / "again").exists()
