from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_runner import rows

import catwalk_eval.runner as runner
from catwalk_eval.batches import Scored, Unit
from catwalk_eval.cache import ROW, Cache
from catwalk_eval.config import RunConfig
from catwalk_eval.engine import Engine
from catwalk_eval.files import digest, digest_file, read_json
from catwalk_eval.requests import load_task


@pytest.fixture
def config(model_folder: Path, data: Path, tmp_path: Path) -> RunConfig:
    return RunConfig(model=str(model_folder), tasks="piqa,sciq", data=data, output=tmp_path / "p", device="cpu")


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each batch that reached the model held."""
    seen: list[int] = []
    true_score = Engine.score

    def score(engine: Engine, units: Any, batch: Any) -> list[Scored]:
        seen.append(len(batch.units))
        return true_score(engine, units, batch)

    monkeypatch.setattr(Engine, "score", score)
    return seen


def test_the_same_run_again_needs_no_model(
    config: RunConfig, forwarded: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner.run(config)
    before = digest(config.output)
    assert sum(forwarded) > 0
    forwarded.clear()
    monkeypatch.setattr(runner, "load_weights", lambda *_: pytest.fail("the model was loaded"))
    runner.run(replace(config, output=config.output.with_name("q")))
    assert forwarded == []
    assert digest(config.output.with_name("q")) == before
    assert "were scored before" in caplog.text
    record = max((config.output.with_name("q") / "provenance").iterdir())
    assert read_json(record)["counts"]["piqa"]["forwarded_tokens"] == 0


def test_transformers_is_loaded_only_where_something_is_scored(config: RunConfig) -> None:
    runner.run(config)
    line = ["run", "--model", config.model, "--tasks", config.tasks, "--device", "cpu", "--output"]
    code = (
        "import sys; from catwalk_eval.cli import app; from catwalk_eval.command_line import run;"
        "print(run(app, sys.argv[1:])); print('transformers' in sys.modules)"
    )

    def ends(output: str, data: Path | None) -> list[str]:
        arguments = [*line, str(config.output.with_name(output)), "--data", str(data)]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-2:]

    assert ends("q", config.data) == ["0", "False"]
    assert ends("r", config.output / "nothing") == ["2", "False"]


def test_any_change_is_forwarded(
    config: RunConfig,
    forwarded: list[int],
    tmp_path: Path,
    make_model: Callable[..., Any],
    data: Path,
    model_folder: Path,
) -> None:
    runner.run(config)
    everything = sum(forwarded)

    def again(**changes: Any) -> int:
        forwarded.clear()
        runner.run(replace(config, **changes))
        return sum(forwarded)

    other = tmp_path / "weights"
    make_model("olmo", seed=7).save_pretrained(other)
    (other / "tokenizer.json").write_bytes((model_folder / "tokenizer.json").read_bytes())
    assert again(model=str(other)) == everything
    assert again(dtype="float64") == everything
    assert again(boundary="joint") == everything
    tokenizer = tmp_path / "tokenizer"
    make_model("olmo").save_pretrained(tokenizer)
    described = json.loads((model_folder / "tokenizer.json").read_text())
    (tokenizer / "tokenizer.json").write_text(json.dumps(described | {"version": "1.0", "padding": None}, indent=1))
    assert digest_file(tokenizer / "tokenizer.json") != digest_file(model_folder / "tokenizer.json")
    assert again(model=str(tokenizer)) == everything
    encoder = runner.Encoder.load(model_folder / "tokenizer.json", "separate")
    tasks = [load_task(name, data, "olmo-inloop", None) for name in config.tasks.split(",")]
    whole, cut = (
        {unit for task in tasks for unit in runner.prepare(task, encoder, length, None).units} for length in (128, 12)
    )
    assert again(max_length=12) == len(cut - whole) > 0
    assert again() == 0
    assert again(cache="none") == everything
    assert again(cache=str(tmp_path / "elsewhere")) == everything
    assert again(cache=str(tmp_path / "elsewhere")) == 0


def test_more_instances_forward_only_what_is_new(config: RunConfig, forwarded: list[int]) -> None:
    runner.run(replace(config, limit=1))
    first = sum(forwarded)
    forwarded.clear()
    runner.run(replace(config, limit=2))
    both = sum(forwarded)
    forwarded.clear()
    runner.run(replace(config, limit=2, cache="none"))
    assert first + both == sum(forwarded)
    for task in ("piqa", "sciq"):
        fresh = rows(config.output, task)
        runner.run(replace(config, limit=2))
        for old, new in zip(rows(config.output, task), fresh, strict=True):
            assert old["log_probability"] == pytest.approx(new["log_probability"], abs=1e-5)


def test_a_stopped_run_goes_on_although_another_has_added_to_the_cache(
    config: RunConfig, forwarded: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = replace(config, batch_tokens=40)
    runner.run(replace(config, output=tmp_path / "other" / "whole"))
    everything, expected = len(forwarded), digest(tmp_path / "other" / "whole")
    forwarded.clear()
    with monkeypatch.context() as patch:
        patch.setattr(runner, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        patch.setattr(Cache, "keep", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            runner.run(config)
    assert len(forwarded) == everything
    runner.run(replace(config, limit=1, output=tmp_path / "neighbour"))
    forwarded.clear()
    runner.run(config)
    assert forwarded == []
    assert digest(config.output) == expected


def test_other_versions_of_torch_or_transformers_are_forwarded(
    config: RunConfig, forwarded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(config)
    everything = sum(forwarded)
    forwarded.clear()
    for package in ("torch", "transformers"):
        with monkeypatch.context() as patch:
            true = runner.version
            patch.setattr(runner, "version", lambda name, p=package, t=true: "1.2.3" if name == p else t(name))
            assert runner.minor_version(package) == "1.2"
            runner.run(config)
    assert sum(forwarded) == 2 * everything


def test_damaged_rows_are_scored_again(
    config: RunConfig, forwarded: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    runner.run(config)
    everything, before = sum(forwarded), digest(config.output)
    draw = random.Random(0)
    for path in sorted(config.output.with_name(".catwalk-eval-cache").rglob("*.scores")):
        data = bytearray(path.read_bytes())
        for _ in range(3):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data[:-5])
    forwarded.clear()
    runner.run(config)
    assert 0 < sum(forwarded) < everything
    assert "damaged rows" in caplog.text
    found = [row["log_probability"] for task in ("piqa", "sciq") for row in rows(config.output, task)]
    runner.run(replace(config, cache="none"))
    expected = [row["log_probability"] for task in ("piqa", "sciq") for row in rows(config.output, task)]
    assert digest(config.output) == before
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_row_is_found_under_its_own_ids_and_key_alone(tmp_path: Path) -> None:
    units = [Unit((1, 2), (3,)), Unit((1,), (2, 3)), Unit((1, 2), (4,))]
    cache = Cache(tmp_path, {"weights": "a"})
    cache.keep([(units[0], Scored(0, -1.25, True)), (units[1], Scored(1, -2.5, False))])
    assert cache.find(units) == {0: Scored(0, -1.25, True), 1: Scored(1, -2.5, False)}
    assert Cache(tmp_path, {"weights": "b"}).find(units) == {}
    assert Cache(None, {"weights": "a"}).find(units) == {}
    (path,) = tmp_path.rglob("*.scores")
    assert path.stat().st_size == 2 * ROW.itemsize
