from __future__ import annotations

import gzip
import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import catwalk_eval.runner as runner
from catwalk_eval.batches import Batch, Scored, Unit
from catwalk_eval.cli import app
from catwalk_eval.command_line import run as main
from catwalk_eval.compare import compare
from catwalk_eval.config import CompareConfig, RequestsConfig, RunConfig
from catwalk_eval.engine import Engine
from catwalk_eval.errors import UserError
from catwalk_eval.files import digest, digest_file, read_json
from catwalk_eval.journal import Journal
from catwalk_eval.predictions import rescore
from catwalk_eval.requests import load_task, write_requests

TASKS = "piqa,sciq,winogrande"


@pytest.fixture
def config(model_folder: Path, data: Path, tmp_path: Path) -> RunConfig:
    return RunConfig(
        model=str(model_folder),
        cache="none",
        tasks=TASKS,
        data=data,
        output=tmp_path / "p",
        device="cpu",
        batch_tokens=60,
    )


def rows(root: Path, task: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in gzip.decompress((root / task / "predictions.jsonl.gz").read_bytes()).splitlines()
    ]


def test_a_run_stores_what_every_scoring_needs(config: RunConfig) -> None:
    metrics = runner.run(config)
    assert read_json(config.output / "metrics.json") == metrics
    manifest = read_json(config.output / "manifest.json")
    assert manifest["counts"] == {
        "piqa": {"instances": 3, "requests": 6},
        "sciq": {"instances": 3, "requests": 12},
        "winogrande": {"instances": 3, "requests": 6},
    }
    assert (manifest["dtype"], manifest["maximum_length"], manifest["boundary"]) == ("float32", 128, "separate")
    sciq = rows(config.output, "sciq")
    assert all(row["log_probability_answer"] < 0 and row["log_probability_empty"] < 0 for row in sciq)
    for doc_id in range(3):  # "sea" stands there twice
        first, _, third, _ = (row for row in sciq if row["doc_id"] == doc_id)
        assert {**first, "idx": 2} == third
    assert (sciq[0]["characters"], sciq[0]["bytes"], sciq[0]["label"]) == (4, 4, 3)
    assert metrics["tasks"]["sciq"]["baselines"]["majority"]["value"] == 1.0
    assert set(metrics["tasks"]["piqa"]["metrics"]) == {
        "acc_raw", "acc_per_token", "acc_per_char", "acc_per_char_bare", "acc_per_byte", "acc_per_byte_bare",
        "acc_uncond", "acc_uncond_empty", "bits_per_byte", "soft_score", "log_soft_score", "probability_mass",
    }  # fmt: skip
    # one continuation for both contexts: nothing to normalise by
    assert all(
        row["log_probability_answer"] is row["log_probability_empty"] is None
        for row in rows(config.output, "winogrande")
    )
    assert "acc_uncond" not in metrics["tasks"]["winogrande"]["metrics"]
    assert not list(config.output.parent.glob("*.partial"))


def test_rescoring_gives_the_same_metrics_without_the_model(config: RunConfig) -> None:
    metrics = runner.run(config)
    before = (config.output / "metrics.json").read_bytes()
    assert rescore(config.output) == metrics
    (config.output / "metrics.json").unlink()
    assert rescore(config.output) == metrics
    assert (config.output / "metrics.json").read_bytes() == before


class Stopped(BaseException):
    """Stands in for a killed process: nothing handles it."""


def test_a_stopped_run_goes_on_where_it_stopped_and_ends_the_same(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner.run(replace(config, output=tmp_path / "whole"))
    expected = digest(tmp_path / "whole")
    true_score: Callable[..., list[Scored]] = Engine.score
    calls: list[int] = []
    stop_at = 4

    def score(engine: Engine, units: Any, batch: Batch) -> list[Scored]:
        calls.append(1)
        if len(calls) == stop_at:
            raise Stopped
        return true_score(engine, units, batch)

    monkeypatch.setattr(Engine, "score", score)
    with pytest.raises(Stopped):
        runner.run(config)
    assert not config.output.exists()
    journals = sorted((tmp_path / "p.scores.partial").glob("*.jsonl"))
    with open(journals[-1], "ab") as stream:  # a line that was being written
        stream.write(b'{"batch": 1, "sco')
    stop_at = -1
    done = len(calls) - 1
    runner.run(config)
    assert digest(config.output) == expected
    total = len(calls) - 1
    calls.clear()
    runner.run(replace(config, output=tmp_path / "again"))
    assert total == len(calls)  # no batch was scored twice
    assert done == 3
    assert "batches are done already" in caplog.text


def test_scores_of_other_settings_are_not_used(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "write", lambda *_: (_ for _ in ()).throw(Stopped()))
    with pytest.raises(Stopped):
        runner.run(config)
    monkeypatch.undo()
    calls: list[int] = []
    true_score: Callable[..., list[Scored]] = Engine.score
    monkeypatch.setattr(Engine, "score", lambda *a: calls.append(1) or true_score(*a))
    runner.run(replace(config, boundary="joint"))
    done = len(calls)
    runner.run(replace(config, output=tmp_path / "q", boundary="joint"))
    assert len(calls) == 2 * done  # all batches, although they were done under the other policy


def test_written_requests_give_the_predictions_of_the_task_data(config: RunConfig, data: Path, tmp_path: Path) -> None:
    runner.run(config)
    write_requests(RequestsConfig(tasks=TASKS, data=data, output=tmp_path / "r"))
    runner.run(replace(config, data=None, requests=tmp_path / "r", output=tmp_path / "q"))
    for task in TASKS.split(","):
        assert rows(tmp_path / "q", task) == rows(config.output, task)
    assert read_json(tmp_path / "q" / "metrics.json") == read_json(config.output / "metrics.json")


def test_the_boundary_of_the_requests_is_that_of_the_run(
    config: RunConfig, data: Path, tmp_path: Path, model_folder: Path
) -> None:
    tokenizer = model_folder / "tokenizer.json"
    made = RequestsConfig(tasks=TASKS, data=data, output=tmp_path / "r", tokenizer=tokenizer, boundary="joint")
    write_requests(made)
    again = replace(config, data=None, requests=tmp_path / "r")
    runner.run(again)
    assert read_json(config.output / "manifest.json")["boundary"] == "joint"
    assert read_json(config.output / "piqa" / "task.json")["boundary"] == "joint"
    with pytest.raises(UserError, match="the token ids of piqa were made with the boundary joint, not separate"):
        runner.run(replace(again, boundary="separate"))
    about = read_json(tmp_path / "r" / "sciq" / "task.json")
    (tmp_path / "r" / "sciq" / "task.json").write_text(json.dumps(about | {"boundary": "separate"}))
    with pytest.raises(UserError, match="made with several boundaries: winogrande joint, sciq separate"):
        runner.run(again)
    (tmp_path / "r" / "sciq" / "task.json").write_text(json.dumps(about | {"boundary": "apart"}))
    with pytest.raises(UserError, match="boundary is 'apart'"):
        runner.run(again)
    write_requests(replace(made, output=tmp_path / "text", tokenizer=None, boundary=None))
    runner.run(replace(again, tasks="piqa", requests=tmp_path / "text", boundary="joint-safe"))
    assert read_json(config.output / "manifest.json")["boundary"] == "joint-safe"


def test_token_ids_of_another_tokenizer_are_refused(config: RunConfig, data: Path, tmp_path: Path) -> None:
    described = json.loads((Path(config.model) / "tokenizer.json").read_text())
    other = tmp_path / "tokenizer.json"
    other.write_text(json.dumps(described, indent=1))
    write_requests(RequestsConfig(tasks="piqa", data=data, output=tmp_path / "r", tokenizer=other))
    with pytest.raises(UserError, match="the token ids of piqa are those of another tokenizer"):
        runner.run(replace(config, tasks="piqa", data=None, requests=tmp_path / "r"))


def test_settings_without_effect_are_refused(
    config: RunConfig, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--seed does nothing where no examples are drawn"):
        runner.run(replace(config, seed=7))
    with pytest.raises(UserError, match="--seed does nothing with --requests"):
        runner.run(replace(config, data=None, requests=tmp_path, seed=1234))
    with pytest.raises(UserError, match="--download does nothing with a folder"):
        runner.run(replace(config, download=True))
    with pytest.raises(UserError, match="--device does nothing with --device-map"):
        runner.run(replace(config, device_map="auto"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="each of 2 processes would spread the model over all GPUs"):
        runner.run(replace(config, device="auto", device_map="auto"))
    made = RequestsConfig(tasks="piqa", data=data, output=tmp_path / "r")
    with pytest.raises(UserError, match="--seed does nothing where no examples are drawn"):
        write_requests(replace(made, seed=7))
    with pytest.raises(UserError, match="--boundary does nothing without --tokenizer"):
        write_requests(replace(made, boundary="joint"))


@pytest.mark.parametrize("inside", ["", "more"])
def test_a_cache_that_is_no_folder_is_refused_before_scoring(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(runner, "prepare", lambda *_: pytest.fail("the run has begun"))
    with pytest.raises(UserError, match="the cache is no folder"):
        runner.run(replace(config, cache=str(tmp_path / "file" / inside)))


def test_a_choice_longer_than_the_model_reads_loses_its_beginning(config: RunConfig) -> None:
    runner.run(config)
    whole = rows(config.output, "piqa")
    runner.run(replace(config, tasks="piqa", max_length=2))
    found = rows(config.output, "piqa")
    assert [row["tokens"] for row in found] == [min(2, row["tokens"]) for row in whole]
    assert any(row["tokens"] > 2 for row in whole)
    assert all(row["truncated"] and row["log_probability"] < 0 for row in found)


def test_a_long_context_is_cut_alike_for_all_choices(config: RunConfig, caplog: pytest.LogCaptureFixture) -> None:
    runner.run(replace(config, tasks="sciq", max_length=12))
    found = rows(config.output, "sciq")
    assert [row["truncated"] for row in found] == [True] * 12
    assert "cut to 12 tokens" in caplog.text
    with pytest.raises(UserError, match="the model reads at most 128"):
        runner.run(replace(config, max_length=129))


def test_the_unigram_baseline_needs_the_models_tokenizer(
    config: RunConfig, tmp_path: Path, tokenizer_json: Path
) -> None:
    counts = {
        "artifact": "unigram", "format_version": 1, "tokenizer_digest": digest_file(tokenizer_json), "vocab_size": 320,
        "smoothing": 1.0, "counts": list(range(320)), "documents": 1, "tokens": sum(range(320)),
    }  # fmt: skip
    path = tmp_path / "unigram.json"
    path.write_text(json.dumps(counts))
    metrics = runner.run(replace(config, tasks="piqa", unigram=path))
    unigram = metrics["tasks"]["piqa"]["baselines"]["unigram"]
    assert unigram["difference"] == pytest.approx(
        metrics["tasks"]["piqa"]["metrics"]["acc_per_char"]["value"] - unigram["value"]
    )
    assert all(row["log_probability_unigram"] < 0 for row in rows(config.output, "piqa"))
    path.write_text(json.dumps(counts | {"tokenizer_digest": "sha256:" + "0" * 64}))
    with pytest.raises(UserError, match="another tokenizer"):
        runner.run(replace(config, unigram=path))


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(
    config: RunConfig, tmp_path: Path, make_model: Callable[..., Any], tokenizer_json: Path
) -> None:
    make_model("olmo", vocab_size=100).save_pretrained(tmp_path / "small")
    (tmp_path / "small" / "tokenizer.json").write_bytes(tokenizer_json.read_bytes())
    with pytest.raises(UserError, match="the model has ids below 100"):
        runner.run(replace(config, model=str(tmp_path / "small")))


def test_model_folders_are_checked_before_any_work(config: RunConfig, tmp_path: Path, model_folder: Path) -> None:
    with pytest.raises(UserError, match="no such model folder"):
        runner.run(replace(config, model=str(tmp_path / "nothing")))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    for name, message in (
        ("config.json", "has no config.json"),
        ("model.safetensors", "no weights in safetensors"),
        ("tokenizer.json", "has no tokenizer.json"),
    ):
        with pytest.raises(UserError, match=message):
            runner.run(replace(config, model=str(folder)))
        (folder / name).write_bytes((model_folder / name).read_bytes())


def test_weights_that_do_not_fit_the_configuration_are_refused(
    config: RunConfig, tmp_path: Path, model_folder: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match="missing keys"):
        runner.run(replace(config, model=str(folder)))
    (folder / "config.json").write_text(json.dumps(settings | {"hidden_size": 64}))
    misfit = r"mismatched keys \(lm_head.weight is \(320, 32\), not \(320, 64\)"
    with pytest.raises(UserError, match=misfit):
        runner.run(replace(config, model=str(folder)))


def test_impossible_combinations_fail_before_any_work(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="either --data or --requests"):
        runner.run(replace(config, requests=tmp_path))
    with pytest.raises(UserError, match="--dialect does nothing"):
        runner.run(replace(config, data=None, requests=tmp_path, dialect="olmo-paper"))
    with pytest.raises(UserError, match="named twice"):
        runner.run(replace(config, tasks="piqa,piqa"))
    with pytest.raises(UserError, match="--limit is 0"):
        runner.run(replace(config, limit=0))
    with pytest.raises(UserError, match="cannot be used"):
        runner.run(replace(config, device="cuda:99"))


def test_two_models_are_compared_on_the_same_items(
    config: RunConfig, tmp_path: Path, make_model: Callable[..., Any], tokenizer_json: Path
) -> None:
    runner.run(config)
    other = tmp_path / "other"
    make_model("olmo", seed=5).save_pretrained(other)
    (other / "tokenizer.json").write_bytes(tokenizer_json.read_bytes())
    runner.run(replace(config, model=str(other), output=tmp_path / "q", tasks="sciq,piqa"))
    result = compare([config.output, tmp_path / "q"], CompareConfig())
    assert [row["task"] for row in result["rows"]] == ["piqa", "sciq"]
    for row in result["rows"]:
        mine, theirs = (
            read_json(root / "metrics.json")["tasks"][row["task"]]["metrics"][row["metric"]]["value"]
            for root in (config.output, tmp_path / "q")
        )
        assert row["difference"] == pytest.approx(mine - theirs)


def test_units_of_the_plan_are_what_the_tokenised_requests_say(config: RunConfig, data: Path, tmp_path: Path) -> None:
    """What the trainer reads and what is scored here are the same ids."""
    write_requests(RequestsConfig(tasks="sciq", data=data, output=tmp_path / "r", tokenizer=Path(config.model)))
    written = gzip.decompress((tmp_path / "r" / "sciq" / "tokenized.jsonl.gz").read_bytes()).splitlines()
    encoder = runner.Encoder.load(Path(config.model) / "tokenizer.json", "separate")
    task = load_task("sciq", data, "olmo-inloop", None)
    prepared = runner.prepare(task, encoder, 128, None)
    units = [*prepared.conditional, *prepared.answer]
    loaded = [json.loads(line) for line in written]
    assert [Unit(tuple(row["context_ids"]), tuple(row["continuation_ids"])) for row in loaded] == units


def test_a_run_without_room_names_its_file_and_goes_on_where_it_stopped(
    config: RunConfig, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    output = config.output.with_name("full")
    line = ["run", "--model", config.model, "--tasks", "piqa", "--data", str(config.data), "--device", "cpu"]
    line += ["--batch-size", "2", "--cache", "none", "--output", str(output)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, before[1]))
    try:
        assert main(app, line) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert told.startswith("error: File too large (")
    assert "full.scores.partial/piqa.0.jsonl)" in told
    assert main(app, line) == 0
    assert "batches are done already" in caplog.text
    runner.run(replace(config, tasks="piqa", batch_size=2, batch_tokens=None))
    for name in ("piqa/predictions.jsonl.gz", "metrics.json", "manifest.json"):
        assert (output / name).read_bytes() == (config.output / name).read_bytes()


def test_a_damaged_line_of_a_journal_is_scored_again_with_all_that_follows(tmp_path: Path) -> None:
    path = tmp_path / "task.0.jsonl"
    journal = Journal(tmp_path, "task", {"a": 1})
    for batch in range(3):
        journal.add(batch, [Scored(batch, -1.0, True)], parts=batch + 1)
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    again = Journal(tmp_path, "task", {"a": 1})
    again.close()
    assert again.parts == 3
    path.write_bytes(b"".join([*lines[:2], b'{"batch": 1, "sc\xff\n', lines[3]]))
    again = Journal(tmp_path, "task", {"a": 1})
    again.close()
    assert list(again.batches) == [0]
    assert again.parts == 1
    assert path.read_bytes() == b"".join(lines[:2])


def test_a_damaged_metrics_file_is_written_anew(config: RunConfig, caplog: pytest.LogCaptureFixture) -> None:
    metrics = runner.run(replace(config, tasks="piqa"))
    (config.output / "metrics.json").write_bytes(b"\xff")
    assert rescore(config.output) == metrics == read_json(config.output / "metrics.json")
    assert "written anew" in caplog.text
