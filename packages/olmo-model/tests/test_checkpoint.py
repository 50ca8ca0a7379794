from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from olmo_model import checkpoint
from olmo_model.checkpoint import Checkpoints, Progress, outlived
from olmo_model.config.optimization import GuardSettings
from olmo_model.config.training import CheckpointSettings
from olmo_model.errors import UserError
from olmo_model.loss import language_model_loss
from olmo_model.model_folder import load_model
from olmo_model.ranks import ALONE
from olmo_model.restoring import newest_whole_checkpoint, restore
from olmo_model.run_folder import complete_checkpoints, resolve

IDS = torch.randint(0, 300, (2, 32), generator=torch.Generator().manual_seed(1))


def take_step(model, update, step):
    update.clear()
    loss = language_model_loss(model, IDS).total
    loss.backward()
    update.apply(step, loss)
    return loss.item()


def save(run, model, update, tokens_folder, step=2, *, ephemeral=False, **settings):
    progress = Progress(step=step, tokens_seen=64 * step, epoch=0, next_instance=2 * step)
    tokenizer = tokens_folder / "tokenizer.json"
    checkpoints = Checkpoints(run, model, update, ALONE, tokenizer, CheckpointSettings(**settings))
    folder = checkpoints.save(progress, ephemeral=ephemeral)
    checkpoints.wait()
    return folder


@pytest.mark.parametrize("weight_tying", [True, False])
def test_transformers_loads_the_folder_and_computes_the_same(
    make_model, make_update, tokens_folder, tmp_path, weight_tying
):
    model = make_model(weight_tying=weight_tying, clip_qkv=2.0)
    folder = save(tmp_path, model, make_update(model), tokens_folder)
    other, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        torch.testing.assert_close(other(IDS).logits, model(IDS), atol=1e-5, rtol=0)
    assert other.dtype == torch.float32
    assert other.generation_config.eos_token_id == 0


def test_transformers_loads_the_tokenizer(make_model, make_update, tokens_folder, tokenizer, tmp_path):
    model = make_model()
    folder = save(tmp_path, model, make_update(model), tokens_folder)
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    text = "the cat sat, 12 days"
    assert loaded(text)["input_ids"] == tokenizer.encode(text).ids
    assert (loaded.eos_token_id, loaded.pad_token_id, loaded.eos_token) == (0, 1, "<|endoftext|>")


@pytest.mark.parametrize(
    "settings",
    [{}, {"name": "lionw"}, {"name": "muon"}, {"max_grad_norm_ratio": 1.05, "betas": (0.5, 0.5)}],
    ids=["adamw", "lionw", "muon", "ratio"],
)
def test_training_goes_on_bitwise_after_restoring(make_model, make_update, tokens_folder, tmp_path, settings):
    guard = GuardSettings(spike="skip", window=4, sigma=1.0)
    model = make_model()
    update = make_update(model, guard, **settings)
    for step in (1, 2, 3):
        take_step(model, update, step)
    folder = save(tmp_path, model, update, tokens_folder)
    torch.manual_seed(5)
    save(tmp_path, model, update, tokens_folder)
    drawn = torch.rand(3)
    expected = [take_step(model, update, step) for step in (4, 5, 6)]

    other = make_model(seed=9)
    other_update = make_update(other, guard, **settings)
    progress = restore(folder, other, other_update, ALONE)
    assert progress == Progress(step=2, tokens_seen=128, epoch=0, next_instance=4)
    assert torch.equal(torch.rand(3), drawn)
    assert [take_step(other, other_update, step) for step in (4, 5, 6)] == expected
    assert all(map(torch.equal, vars(update.guard_state).values(), vars(other_update.guard_state).values()))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_same_state_gives_same_weights_file(make_model, make_update, tokens_folder, tmp_path):
    model = make_model()
    one = save(tmp_path / "a", model, make_update(model), tokens_folder)
    two = save(tmp_path / "b", model, make_update(model), tokens_folder)
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (one, two)]
    for manifest in manifests:
        del manifest["files"]["train/.metadata"]  # torch writes a number into it that names the saving
    assert manifests[0] == manifests[1]


def test_only_whole_checkpoints_count_and_the_newest_is_meant(make_model, make_update, tokens_folder, tmp_path):
    model = make_model(n_layers=1)
    for step in (9, 10):
        save(tmp_path, model, make_update(model), tokens_folder, step)
    (tmp_path / "step11.partial").mkdir()
    (tmp_path / "step12").mkdir()
    assert [step for step, _ in complete_checkpoints(tmp_path)] == [9, 10]
    assert resolve(tmp_path) == resolve(tmp_path / "step10") == tmp_path / "step10"
    assert (tmp_path / "latest").read_text() == "step10\n"
    assert outlived(tmp_path, None) == []
    assert outlived(tmp_path, 1) == [tmp_path / "step9"]
    assert outlived(tmp_path, 1, 9) == []
    with pytest.raises(UserError, match="no model here"):
        resolve(tmp_path / "step11.partial")


def test_weights_in_several_files_are_read(make_model, make_update, tokens_folder, tmp_path):
    model = make_model()
    folder = save(tmp_path, model, make_update(model), tokens_folder)
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    places = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: weights[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    loaded = load_model(folder).state_dict()
    assert all(torch.equal(weight, loaded[name]) for name, weight in model.state_dict().items())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="the weights are missing"):
        load_model(folder)


def test_damaged_weights_are_refused(make_model, make_update, tokens_folder, tmp_path):
    model = make_model()
    folder = save(tmp_path, model, make_update(model), tokens_folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged weights"):
        load_model(folder)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_large_models_lie_in_several_files_that_transformers_reads(
    make_model, make_update, tokens_folder, tmp_path, asynchronous
):
    model = make_model(weight_tying=False)
    settings = {"asynchronous": asynchronous, "max_shard_size": 100_000}
    folder = save(tmp_path, model, make_update(model), tokens_folder, **settings)
    files = sorted(file.name for file in folder.glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert all((folder / file).stat().st_size < 110_000 for file in files)
    other = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        torch.testing.assert_close(other(IDS).logits, model(IDS), atol=1e-5, rtol=0)


def test_what_is_written_beside_the_training_is_the_state_at_its_beginning(
    make_model, make_update, tokens_folder, tmp_path
):
    model = make_model()
    update = make_update(model)
    take_step(model, update, 1)
    expected = {name: weight.clone() for name, weight in model.state_dict().items()}
    checkpoints = Checkpoints(tmp_path, model, update, ALONE, tokens_folder / "tokenizer.json", CheckpointSettings())
    folder = checkpoints.save(Progress(step=1, tokens_seen=64, epoch=0, next_instance=2))
    take_step(model, update, 2)
    checkpoints.wait()
    loaded = load_model(folder).state_dict()
    assert all(torch.equal(weight, loaded[name]) for name, weight in expected.items())
    other = make_model(seed=4)
    other_update = make_update(other)
    restore(folder, other, other_update, ALONE)
    take_step(other, other_update, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_ephemeral_checkpoints_last_until_the_next(make_model, make_update, tokens_folder, tmp_path):
    model = make_model(n_layers=1)
    update = make_update(model)

    def steps():
        return [step for step, _ in complete_checkpoints(tmp_path)]

    save(tmp_path, model, update, tokens_folder, 10, keep=2)
    save(tmp_path, model, update, tokens_folder, 12, ephemeral=True, keep=2)
    assert steps() == [10, 12]
    save(tmp_path, model, update, tokens_folder, 14, ephemeral=True, keep=2)
    assert steps() == [10, 14]
    save(tmp_path, model, update, tokens_folder, 20, keep=2)
    assert steps() == [10, 20]
    save(tmp_path, model, update, tokens_folder, 30, keep=2)
    assert steps() == [20, 30]


def truncate(file):
    file.write_bytes(file.read_bytes()[:-9])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


FILES = ("model.safetensors", "config.json", "train/__0_0.distcp", "train/.metadata")
DAMAGES = [(name, do) for name in FILES for do in (truncate, flip, Path.unlink)] + [("manifest.json", truncate)]


@pytest.mark.parametrize(("name", "do"), DAMAGES, ids=[f"{name}-{do.__name__}" for name, do in DAMAGES])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    make_model, make_update, tokens_folder, tmp_path, caplog, name, do
):
    model = make_model(n_layers=1)
    for step in (1, 2):
        save(tmp_path, model, make_update(model), tokens_folder, step)
    do(tmp_path / "step2" / name)
    assert newest_whole_checkpoint(tmp_path, ALONE) == (1, tmp_path / "step1")
    assert (tmp_path / "step2.damaged").is_dir()
    assert (tmp_path / "latest").read_text() == "step1\n"
    assert "a checkpoint is damaged: " in caplog.text
    assert str(tmp_path / "step2" / name) in caplog.text


@pytest.mark.parametrize(
    ("name", "do", "message"),
    [
        ("model.safetensors", truncate, "damaged weights"),
        ("model.safetensors", Path.unlink, "weights are missing"),
        ("config.json", lambda file: file.write_text("{}"), "model_type is None"),
        (
            "config.json",
            lambda file: edit(file, rope_theta=7.0, rope_parameters=None),
            "not that of the run: rope_theta",
        ),
        ("train/.metadata", Path.unlink, "the state of the training is missing or damaged"),
        ("train/.metadata", lambda file: file.write_bytes(b"\x80"), "the state of the training is missing or damaged"),
        ("train/__0_0.distcp", truncate, "the state of the training is missing or damaged"),
        ("train/__0_0.distcp", lambda file: file.write_bytes(b"x" * 99_999), "the state of the training is missing"),
    ],
)
def test_what_cannot_be_restored_is_one_line(make_model, make_update, tokens_folder, tmp_path, name, do, message):
    model = make_model(n_layers=1)
    update = make_update(model)
    folder = save(tmp_path, model, update, tokens_folder)
    do(folder / name)
    with pytest.raises(UserError, match=message):
        restore(folder, model, update, ALONE)


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_run_of_damaged_checkpoints_is_not_begun_again(make_model, make_update, tokens_folder, tmp_path):
    model = make_model(n_layers=1)
    folder = save(tmp_path, model, make_update(model), tokens_folder)
    flip(folder / "model.safetensors")
    with pytest.raises(UserError, match="no checkpoint of the run is whole"):
        newest_whole_checkpoint(tmp_path, ALONE)
    assert newest_whole_checkpoint(tmp_path / "empty", ALONE) is None


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_full_disk_leaves_the_checkpoint_before_and_nothing_half_written(
    make_model, make_update, tokens_folder, tmp_path, monkeypatch, asynchronous
):
    from olmo_model.safetensors_file import SafetensorsFile

    model = make_model(n_layers=1)
    update = make_update(model)
    save(tmp_path, model, update, tokens_folder, 1)

    def full(self, name, weight):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SafetensorsFile, "write", full)
    with pytest.raises(UserError, match=r"the checkpoint cannot be written: .*No space left on device.*step2.partial"):
        save(tmp_path, model, update, tokens_folder, 2, asynchronous=asynchronous)
    assert newest_whole_checkpoint(tmp_path, ALONE) == (1, tmp_path / "step1")
    assert not list(tmp_path.glob("*.partial"))


def test_what_a_first_checkpoint_left_half_written_is_removed(tmp_path):
    (tmp_path / "step4.partial").mkdir()
    assert newest_whole_checkpoint(tmp_path, ALONE, tidy=False) is None
    assert (tmp_path / "step4.partial").is_dir()
    assert newest_whole_checkpoint(tmp_path, ALONE) is None
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_manifest_is_a_damaged_checkpoint(make_model, make_update, tokens_folder, tmp_path, caplog):
    model = make_model(n_layers=1)
    for step in (1, 2):
        save(tmp_path, model, make_update(model), tokens_folder, step)
    (tmp_path / "step2" / "manifest.json").unlink()
    (tmp_path / "step30").mkdir()
    assert newest_whole_checkpoint(tmp_path, ALONE, tidy=False) == (1, tmp_path / "step1")
    assert f"a checkpoint is damaged: {tmp_path}/step2/manifest.json is missing; it is passed over" in caplog.text
    assert newest_whole_checkpoint(tmp_path, ALONE) == (1, tmp_path / "step1")
    for step in (2, 30):
        expected = f"{tmp_path}/step{step}/manifest.json is missing; it is now {tmp_path}/step{step}.damaged"
        assert expected in caplog.text
    assert (tmp_path / "step2.damaged" / "model.safetensors").is_file()
    (tmp_path / "step1" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"no checkpoint of the run is whole.*step1/manifest.json is missing"):
        newest_whole_checkpoint(tmp_path, ALONE)


def test_an_old_checkpoint_that_cannot_be_removed_is_a_warning(
    make_model, make_update, tokens_folder, tmp_path, caplog
):
    model = make_model(n_layers=1)
    update = make_update(model)
    (tmp_path / "step1.removed.partial").write_text("in the way")
    for step in (1, 2):
        save(tmp_path, model, update, tokens_folder, step, keep=1)
    assert "an old checkpoint cannot be removed: " in caplog.text
    assert f"{tmp_path}/step1" in caplog.text
    assert [step for step, _ in complete_checkpoints(tmp_path)] == [1, 2]
    (tmp_path / "step1.removed.partial").unlink()
    (tmp_path / "step1" / "manifest.json").write_text("[]")  # what nobody can read is nobody's to remove
    save(tmp_path, model, update, tokens_folder, 3, keep=1)
    assert [step for step, _ in complete_checkpoints(tmp_path)] == [1, 3]


def test_everything_is_on_the_disk_before_a_checkpoint_has_its_name(
    make_model, make_update, tokens_folder, tmp_path, monkeypatch
):
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        fsync(descriptor)
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    def renamed(source, target):
        replace(source, target)
        done.append((Path(source), Path(target)))

    model = make_model(n_layers=1)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    folder = save(tmp_path, model, make_update(model), tokens_folder, 1)
    partial = tmp_path / "step1.partial"
    named = done.index((partial, folder))
    files = {partial / path.relative_to(folder) for path in folder.rglob("*")}
    own = {path.with_name(path.name + ".partial") for path in files if path.suffix == ".json"}  # written atomically
    assert {path for path in files if path not in done[:named]} <= {path for path in files if path.suffix == ".json"}
    assert all(path in done[:named] or path.with_name(path.name + ".partial") in done[:named] for path in files)
    assert partial in done[:named]
    assert partial / "train" in done[:named]
    assert tmp_path in done[named:]
    assert own


@pytest.mark.parametrize("window", [2, 4, 9])
def test_the_window_of_the_guard_may_change_between(make_model, make_update, tokens_folder, tmp_path, window):
    model = make_model(n_layers=1)
    update = make_update(model, GuardSettings(spike="skip", window=4, sigma=100.0))
    losses = [take_step(model, update, step) for step in range(1, 7)]
    folder = save(tmp_path, model, update, tokens_folder, 6)
    other = make_model(n_layers=1, seed=3)
    other_update = make_update(other, GuardSettings(spike="skip", window=window, sigma=100.0))
    restore(folder, other, other_update, ALONE)
    state = other_update.guard_state
    kept = min(4, window)
    assert sorted(state.losses.tolist()) == sorted(losses[-kept:] + [0.0] * (window - kept))
    assert int(state.seen) == (6 if window == 4 else kept)
    assert take_step(other, other_update, 7) == take_step(model, update, 7)


def test_a_checkpoint_of_another_kind_of_device_is_not_damaged(
    make_model, make_update, tokens_folder, tmp_path, monkeypatch, caplog
):
    model = make_model(n_layers=1)
    update = make_update(model)
    plain = save(tmp_path, model, update, tokens_folder, 1)
    cuda = dataclasses.replace(ALONE, device=torch.device("cuda"))
    restore(plain, make_model(n_layers=1), make_update(make_model(n_layers=1)), cuda)
    assert "the checkpoint was not written on CUDA" in caplog.text

    def of_cuda(device):
        return {"cpu": torch.get_rng_state(), "cuda": torch.arange(16, dtype=torch.uint8)}

    monkeypatch.setattr(checkpoint, "random_state", of_cuda)
    torch.manual_seed(8)
    folder = save(tmp_path, model, update, tokens_folder, 2)
    drawn = torch.rand(3)
    assert restore(folder, make_model(n_layers=1), make_update(make_model(n_layers=1)), ALONE).step == 2
    assert torch.equal(torch.rand(3), drawn)
