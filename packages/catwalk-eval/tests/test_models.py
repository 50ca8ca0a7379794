"""Where models come from, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_engine import by_itself, score_all, some_instances
from test_runner import rows

import catwalk_eval.runner as runner
from catwalk_eval import model_weights
from catwalk_eval.config import RunConfig
from catwalk_eval.engine import Engine
from catwalk_eval.errors import UserError
from catwalk_eval.files import read_json
from catwalk_eval.model_place import locate
from catwalk_eval.model_weights import load_weights, resolve_dtype, weight_files
from catwalk_eval.models import look_at


@pytest.fixture
def config(model_folder: Path, data: Path, tmp_path: Path) -> RunConfig:
    return RunConfig(
        model=str(model_folder), tasks="piqa", data=data, output=tmp_path / "p", device="cpu", cache="none"
    )


def test_a_checkpoint_of_a_run_is_its_revision(config: RunConfig, tmp_path: Path, model_folder: Path) -> None:
    run = tmp_path / "run"
    for name in ("step9", "step10"):
        (run / name).mkdir(parents=True)
        for file in model_folder.iterdir():
            (run / name / file.name).write_bytes(file.read_bytes())
    runner.run(config)
    runner.run(replace(config, model=str(run), revision="step10", output=tmp_path / "q"))
    assert rows(tmp_path / "q", "piqa") == rows(config.output, "piqa")
    assert read_json(tmp_path / "q" / "manifest.json")["model"]["name"] == "run/step10"
    with pytest.raises(UserError, match=r"no checkpoint 'step11'.*there are: step9, step10"):
        runner.run(replace(config, model=str(run), revision="step11"))
    with pytest.raises(UserError, match=r"no checkpoint .*\.\./p"):
        runner.run(replace(config, model=str(run), revision="../p"))
    with pytest.raises(UserError, match=r"no config.json.*--revision: step9, step10"):
        runner.run(replace(config, model=str(run)))


def test_sharded_weights_are_read_and_a_missing_part_is_named(
    config: RunConfig, tmp_path: Path, make_model: Callable[..., Any], tokenizer_json: Path
) -> None:
    folder = tmp_path / "sharded"
    make_model("olmo").save_pretrained(folder, max_shard_size="20KB")
    (folder / "tokenizer.json").write_bytes(tokenizer_json.read_bytes())
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    runner.run(config)
    runner.run(replace(config, model=str(folder), output=tmp_path / "q"))
    assert rows(tmp_path / "q", "piqa") == rows(config.output, "piqa")
    parts[-1].unlink()
    with pytest.raises(UserError, match="a part of the weights is missing"):
        runner.run(replace(config, model=str(folder)))


def test_weights_in_one_file_are_the_ones_that_count(tmp_path: Path, make_model: Callable[..., Any]) -> None:
    """transformers loads them, whatever index lies beside."""
    make_model("olmo").save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(weight_files(tmp_path)) > 1
    make_model("olmo").save_pretrained(tmp_path / "whole")
    (tmp_path / "whole" / "model.safetensors").rename(tmp_path / "model.safetensors")
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]


def test_a_folder_without_tokenizer_json_says_how_it_is_made(
    config: RunConfig, tmp_path: Path, make_model: Callable[..., Any]
) -> None:
    make_model("llama").save_pretrained(tmp_path / "slow")
    (tmp_path / "slow" / "tokenizer.model").write_bytes(b"pieces")
    with pytest.raises(UserError, match=r"has no tokenizer\.json.*AutoTokenizer"):
        runner.run(replace(config, model=str(tmp_path / "slow")))


def test_a_name_is_fetched_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such model folder"):
        locate("./nothing", None, False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match="--download to fetch it"):
        locate("somebody/nothing-of-that-name", None, False)


def test_a_model_in_parts_in_memory_and_on_disk_gives_the_same_numbers(
    make_model: Callable[..., Any], tmp_path: Path, tokenizer_json: Path
) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    model = make_model("llama")
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_bytes(tokenizer_json.read_bytes())
    places = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "disk"}
    places |= {"model.rotary_emb": "cpu", "lm_head": "disk"}
    spread = load_weights(tmp_path / "model", "cpu", "float32", places, tmp_path / "offload")
    engine = Engine(spread)
    assert engine.shared
    for unit, scored in score_all(engine, some_instances(0), 60).items():
        assert scored.log_probability == pytest.approx(by_itself(model, unit)[0], abs=1e-4)


def test_a_process_that_scores_on_a_processor_keeps_the_memory_of_freed_tensors(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(model_weights, "keep_freed_memory", lambda: kept.append(True))
    load_weights(model_folder, "meta", "float32")
    assert not kept
    load_weights(model_folder, "cpu", "float32")
    assert kept


def test_the_type_of_the_weights_is_what_was_asked(
    config: RunConfig, tmp_path: Path, make_model: Callable[..., Any], tokenizer_json: Path
) -> None:
    make_model("olmo").to(torch.bfloat16).save_pretrained(tmp_path / "half")
    (tmp_path / "half" / "tokenizer.json").write_bytes(tokenizer_json.read_bytes())
    folder = look_at(tmp_path / "half")
    assert folder.dtype == "bfloat16"
    assert resolve_dtype("auto", folder.dtype, "cpu") == "float32"
    assert resolve_dtype("auto", folder.dtype, "cuda:0") == "bfloat16"
    with pytest.raises(UserError, match="no float64"):
        resolve_dtype("float64", folder.dtype, "mps")
    manifests = {}
    for dtype in ("float32", "float64", "bfloat16"):
        runner.run(replace(config, model=str(tmp_path / "half"), dtype=dtype, output=tmp_path / dtype))
        manifests[dtype] = read_json(tmp_path / dtype / "manifest.json")
        assert manifests[dtype]["dtype"] == dtype
    single, double = (
        [row["log_probability"] for row in rows(tmp_path / name, "piqa")] for name in ("float32", "float64")
    )
    assert single == pytest.approx(double, abs=1e-4)
    assert single != double
    assert manifests["float64"]["precision"]["tolerance"] == 1e-9
