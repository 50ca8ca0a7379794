from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest

from olmo_model import id_check
from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import SchedulerSettings
from olmo_model.config.training import TrainConfig
from olmo_model.errors import UserError
from olmo_model.files import read_json
from olmo_model.id_check import check_ids
from olmo_model.raw_tokens import open_tokens
from olmo_model.tokens import Tokens
from olmo_model.train import train
from olmo_model.validate import validate


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/olmo-model"


def config(tmp_path, data: DataSettings) -> TrainConfig:
    return TrainConfig(
        save_folder=str(tmp_path / "run"),
        data=data,
        model=ModelSettings(
            preset="olmo-1m", d_model=32, n_heads=2, n_layers=1, mlp_hidden_size=128, max_sequence_length=16,
            vocab_size=300, eos_token_id=0, pad_token_id=1,
        ),
        global_batch_size=1,
        max_duration="2",
        scheduler=SchedulerSettings(warmup="0"),
        threads=1,
    )  # fmt: skip


def artifact(write_tokens, tmp_path, **manifest: object) -> Tokens:
    """Two files, in the second of which token 41 is id 999."""
    ids = [7] * 60
    folder = write_tokens(tmp_path / "tokens", [[("a", ids)], [("b", [*ids[:41], 999, *ids])]])
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | manifest))
    return Tokens(folder)


@pytest.mark.parametrize("looked_at", [1 << 22, 10])
def test_an_id_beyond_the_vocabulary_is_found_before_anything_is_written(
    write_tokens, tmp_path, monkeypatch, looked_at
):
    monkeypatch.setattr(id_check, "LOOKED_AT", looked_at)
    tokens = artifact(write_tokens, tmp_path)
    settings = config(tmp_path, DataSettings(tokens=str(tokens.folder)))
    for command in (train, validate):
        with pytest.raises(UserError, match="token 41 is id 999, not below vocab_size 300") as found:
            command(settings)
        assert found.value.where == str(tokens.folder / "part-00001.npy")
    assert not (tmp_path / "run").exists()


def test_the_manifest_knows_the_largest_id(write_tokens, tmp_path, cache):
    with pytest.raises(UserError, match="the tokens hold id 300, not below vocab_size 300"):
        check_ids(artifact(write_tokens, tmp_path, max_token_id=300), 16)
    check_ids(artifact(write_tokens, tmp_path, max_token_id=299), 16)  # and is believed
    assert not cache.exists()
    with pytest.raises(UserError, match="a value of a wrong kind"):
        artifact(write_tokens, tmp_path, max_token_id="299")


def test_files_are_looked_through_once(write_tokens, tmp_path, cache, monkeypatch):
    folder = write_tokens(tmp_path / "tokens", [[("a", [7] * 60)], [("b", [9] * 41)]])
    data = DataSettings(
        tokens=str(folder), files=("part-00000.npy", "part-00001.npy"), tokenizer=str(folder / "tokenizer.json")
    )
    model = ModelSettings(vocab_size=300, eos_token_id=0, pad_token_id=1)
    read = []
    look = id_check._look
    monkeypatch.setattr(id_check, "_look", lambda *of: read.append(of) or look(*of))
    check_ids(open_tokens(data, model), 64)
    (answer,) = cache.iterdir()
    assert read_json(answer) == {"id": 9, "file": 1, "token": 0}
    check_ids(open_tokens(data, model), 64)
    assert len(read) == 1
    file = folder / "part-00001.npy"
    before = file.stat()
    ids = np.fromfile(file, dtype="<u2")
    ids[20] = 555
    ids.tofile(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(UserError, match="token 20 is id 555"):
        check_ids(open_tokens(data, model), 64)
    answer.write_text("nonsense")
    file.write_bytes(b"\x09\x00" * 42)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    check_ids(open_tokens(data, model), 64)


def test_a_cache_that_cannot_be_written_stops_nothing(write_tokens, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    check_ids(Tokens(write_tokens(tmp_path / "tokens", [[("a", [7] * 60)]])), 16)
    assert "the largest id is not kept in" in caplog.text


def test_ids_of_a_wider_type_are_recognised(write_tokens, tmp_path):
    folder = write_tokens(tmp_path / "tokens", [[("a", [7] * 200)]])
    np.full(200, 7, dtype="<u4").tofile(folder / "wide.npy")
    data = DataSettings(tokens=str(folder), files=("wide.npy",), tokenizer=str(folder / "tokenizer.json"))
    with pytest.raises(UserError, match="every second id is 0: these are ids of uint32"):
        open_tokens(data, ModelSettings(vocab_size=300, eos_token_id=0, pad_token_id=1))


def test_a_model_that_cannot_fit_is_refused_before_anything_is_made(tokens_folder, tmp_path):
    settings = config(tmp_path, DataSettings(tokens=str(tokens_folder)))
    with pytest.raises(UserError, match=r"weights, gradients and optimizer take .* GB of memory on a rank"):
        train(dataclasses.replace(settings, model=ModelSettings(preset="olmo-65b", max_sequence_length=16)))
    assert not (tmp_path / "run").exists()
