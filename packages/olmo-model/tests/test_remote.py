"""Token files behind URLs, against an S3 server on loopback."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from object_storage import Endpoint, serve

from olmo_model import remote
from olmo_model.callbacks import remote_copy
from olmo_model.config.commands import WhichDataConfig, WhichStepsConfig
from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import SchedulerSettings
from olmo_model.config.training import CheckpointSettings, TrainConfig
from olmo_model.errors import UserError
from olmo_model.lookup import which_data, which_steps
from olmo_model.official.translate import place_of_files
from olmo_model.pieces import Pieces, Stretch, open_files
from olmo_model.raw_tokens import open_tokens
from olmo_model.tokens import Instances
from olmo_model.train import train

pytest.importorskip("s3fs")
FILES = ("part-00000.npy", "part-00001.npy")
LISTS = ("part-00000.csv.gz", "part-00001.csv.gz")


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with serve() as endpoint:
        yield endpoint


@pytest.fixture
def storage(server, monkeypatch, tokens_folder) -> Iterator[Endpoint]:
    """A bucket with the token files and their lists, and the environment that leads to it."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(remote, "PAUSES_AT_START", (0.01,))
    client = server.client()
    client.create_bucket(Bucket="corpus")
    for name in FILES + LISTS:
        client.put_object(Bucket="corpus", Key=f"tokens/{name}", Body=(tokens_folder / name).read_bytes())
    forget()
    server.asked.clear()
    yield server
    server.cut = server.refused = 0
    for page in client.list_objects_v2(Bucket="corpus").get("Contents", ()):
        client.delete_object(Bucket="corpus", Key=page["Key"])
    client.delete_bucket(Bucket="corpus")
    forget()


def forget() -> None:
    """File systems are made anew, with what the environment says now."""
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()
    remote._system.cache_clear()


def settings(tokens_folder: Path, place: str, save_folder: Path, **more: object) -> TrainConfig:
    data = DataSettings(tokens=place, files=FILES, tokenizer=str(tokens_folder / "tokenizer.json"), **more)
    model = ModelSettings(
        preset="olmo-1m", d_model=32, n_heads=2, n_layers=1, mlp_hidden_size=128, max_sequence_length=16,
        vocab_size=300, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    return TrainConfig(
        save_folder=str(save_folder),
        data=data,
        model=model,
        global_batch_size=4,
        max_duration="100",  # more than an epoch of 180 instances
        scheduler=SchedulerSettings(warmup="0"),
        checkpoint=CheckpointSettings(save_interval=60),
        log_interval=1,
        report_interval=None,
        threads=1,
        device="cpu",
    )


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["train/CrossEntropyLoss"] for row in rows]


@pytest.mark.parametrize("cache", [1 << 28, 1 << 16])
def test_a_run_from_urls_is_the_run_from_files_bit_by_bit(storage, tokens_folder, tmp_path, cache, caplog):
    caplog.set_level(logging.INFO)
    assert train(settings(tokens_folder, str(tokens_folder), tmp_path / "local")) == 0
    assert train(settings(tokens_folder, "s3://corpus/tokens", tmp_path / "far", remote_cache=cache)) == 0
    assert losses(tmp_path / "far") == losses(tmp_path / "local")
    weights = [(tmp_path / name / "step100/model.safetensors").read_bytes() for name in ("far", "local")]
    assert weights[0] == weights[1]
    assert len(storage.reads) < 20  # of 400 instances
    assert re.search(r"of \d+\.\d s the steps waited \d+\.\d\d s for their data", caplog.text)
    assert set(json.loads((tmp_path / "far/manifest.json").read_text())["remote"]) == {
        f"s3://corpus/tokens/{name}" for name in FILES
    }


def test_what_the_model_saw_is_answered_from_urls_too(storage, tokens_folder, tmp_path):
    for place, name in ((str(tokens_folder), "local"), ("s3://corpus/tokens", "far")):
        train(replace(settings(tokens_folder, place, tmp_path / name), max_duration="3"))
    near, far = (which_data(tmp_path / name, WhichDataConfig(step=("1-3",))) for name in ("local", "far"))
    assert far["steps"] == near["steps"]
    document = far["steps"][1]["documents"][0]["id"]
    assert document.startswith("story-")
    answers = [which_steps(tmp_path / name, WhichStepsConfig(doc=document)) for name in ("local", "far")]
    assert answers[0]["documents"] == answers[1]["documents"]


def test_without_a_list_documents_are_what_lies_between_their_ends(storage, tokens_folder, tmp_path):
    for name in LISTS:
        storage.client().delete_object(Bucket="corpus", Key=f"tokens/{name}")
    config = settings(tokens_folder, "s3://corpus/tokens", tmp_path / "far")
    tokens = open_tokens(config.data, config.model)
    ids = np.fromfile(tokens_folder / FILES[0], dtype="<u2")
    assert tokens.overlapping(0, [(0, 1)])[0][0].end == int(np.argmax(ids == 0)) + 1


def test_only_ranges_are_read_and_no_more_is_kept_than_allowed(storage, tokens_folder, tmp_path):
    client = storage.client()
    ids = np.arange(1 << 20, dtype="<u2") % 300
    client.put_object(Bucket="corpus", Key="large.npy", Body=ids.tobytes())
    files = open_files(["s3://corpus/large.npy"], "<u2")
    pieces = Pieces(files, 1024, cache_bytes=1 << 14)
    places = [(0, number * 1024) for number in (1000, 3, 4, 3, 500)]
    found = pieces.read(places)
    pieces.close()
    for (_, start), piece in zip(places, found, strict=True):
        np.testing.assert_array_equal(piece, ids[start : start + 1024])
    assert sorted(size for path, size in storage.reads if "large" in path) == [2048, 2048, 4096]
    assert pieces._size <= 1 << 14
    methods = [method for method, path, _ in storage.asked if "large" in path]
    assert methods.count("HEAD") == 1
    assert methods.count("GET") == 3


def test_neighbours_and_small_gaps_are_one_request(storage, tokens_folder):
    client = storage.client()
    client.put_object(Bucket="corpus", Key="large.npy", Body=bytes(40 << 20))
    pieces = Pieces(open_files(["s3://corpus/large.npy"], "<u2"), 512, cache_bytes=1 << 20)
    assert pieces.stretches([(0, 0), (0, 1), (0, 60), (0, 200)]) == [
        Stretch(0, 0, 61 * 1024, (0, 1, 60)),
        Stretch(0, 200 * 1024, 201 * 1024, (200,)),
    ]
    assert max(each.end - each.start for each in pieces.stretches([(0, n) for n in range(40 << 10)])) <= 8 << 20


def test_what_fits_the_cache_is_asked_for_once(storage, tokens_folder, tmp_path):
    config = settings(tokens_folder, "s3://corpus/tokens", tmp_path / "far")
    instances = Instances(open_tokens(config.data, config.model), 16)
    storage.asked.clear()
    for _ in range(3):
        instances.batch(np.arange(len(instances), dtype=np.uint32))
    instances.pieces.close()
    assert len(storage.reads) == len(FILES)


@pytest.mark.parametrize("fault", ["cut", "refused"])
def test_an_interrupted_read_is_made_again(storage, tokens_folder, fault, caplog):
    file = open_files([f"s3://corpus/tokens/{FILES[0]}"], "<u2")[0]
    setattr(storage, fault, 2)
    np.testing.assert_array_equal(file.read(5, 50), np.fromfile(tokens_folder / FILES[0], dtype="<u2")[5:50])


def test_a_read_that_fails_for_good_is_one_line(storage, tokens_folder):
    file = open_files([f"s3://corpus/tokens/{FILES[0]}"], "<u2")[0]
    storage.refused, storage.status = 1000, 400
    with pytest.raises(UserError, match="the storage failed: ") as found:
        file.read(5, 50)
    assert "\n" not in str(found.value)
    assert "part-00000.npy" in str(found.value)


@pytest.mark.parametrize("url", ["s3://corpus/tokens/absent.npy", "s3://no-such-bucket/a.npy"])
def test_a_missing_object_is_one_line(storage, url):
    with pytest.raises(UserError, match="there is no such object"):
        open_files([url], "<u2")


def test_missing_credentials_are_one_line(storage, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    forget()
    with pytest.raises(UserError, match=r"the storage refuses it: .*redentials"):
        open_files([f"s3://corpus/tokens/{FILES[0]}"], "<u2")


def test_a_scheme_that_nothing_opens_is_one_line():
    with pytest.raises(UserError, match="nothing is installed that opens odd://"):
        open_files(["odd://corpus/a.npy"], "<u2")


def test_an_object_that_was_replaced_while_it_is_read_is_refused(storage, tokens_folder):
    file = open_files([f"s3://corpus/tokens/{FILES[0]}"], "<u2")[0]
    content = (tokens_folder / FILES[0]).read_bytes()
    storage.client().put_object(Bucket="corpus", Key=f"tokens/{FILES[0]}", Body=content[2:] + content[:2])
    with pytest.raises(UserError, match="replaced while it was being read"):
        file.read(0, 10)


def test_an_object_that_changed_between_runs_is_refused(storage, tokens_folder, tmp_path):
    large = np.tile(np.fromfile(tokens_folder / FILES[0], dtype="<u2"), 60)  # its middle is in no fingerprint
    client = storage.client()
    client.put_object(Bucket="corpus", Key=f"tokens/{FILES[0]}", Body=large.tobytes())
    config = replace(settings(tokens_folder, "s3://corpus/tokens", tmp_path / "far"), max_duration="3")
    config = replace(config, scheduler=SchedulerSettings(warmup="0", t_max="9"))
    assert train(config) == 0
    before = (tmp_path / "far/manifest.json").read_bytes()
    large[len(large) // 2] = 7
    client.put_object(Bucket="corpus", Key=f"tokens/{FILES[0]}", Body=large.tobytes())
    forget()
    with pytest.raises(UserError, match="the object is not the one that the run was begun with"):
        train(replace(config, max_duration="5"))
    assert (tmp_path / "far/manifest.json").read_bytes() == before


def test_label_masks_come_from_urls_too(storage, tokens_folder, tmp_path):
    for name in FILES:
        ids = np.fromfile(tokens_folder / name, dtype="<u2")
        mask = (ids % 3 != 0).astype(np.uint8).tobytes()
        storage.client().put_object(Bucket="corpus", Key=f"masks/{name}", Body=mask)
        (tmp_path / name).write_bytes(mask)
    found = []
    for place, masks in ((str(tokens_folder), str(tmp_path)), ("s3://corpus/tokens", "s3://corpus/masks")):
        config = settings(
            tokens_folder, place, tmp_path / f"run-{len(found)}", label_masks=tuple(f"{masks}/{name}" for name in FILES)
        )
        train(replace(config, max_duration="5"))
        found.append(losses(tmp_path / f"run-{len(found)}"))
    assert found[0] == found[1]


def test_a_tokens_artifact_behind_a_url_is_refused():
    with pytest.raises(UserError, match="has to lie on this machine"):
        open_tokens(DataSettings(tokens="s3://corpus/tokens"), ModelSettings(preset="olmo-1m"))


def test_official_paths_may_be_urls():
    assert place_of_files(["s3://b/x/1.npy", "s3://b/x/y/2.npy"]) == ("s3://b/x", ["1.npy", "y/2.npy"])
    assert place_of_files(["s3://b/x1/1.npy", "s3://b/x2/2.npy"]) == ("s3://b", ["x1/1.npy", "x2/2.npy"])
    assert place_of_files(["s3://a/1.npy", "s3://b/2.npy"]) == (".", ["s3://a/1.npy", "s3://b/2.npy"])
    assert place_of_files(["s3://a/1.npy", "/d/2.npy"]) == (".", ["s3://a/1.npy", "/d/2.npy"])


def test_more_files_than_a_process_may_open_are_read(write_tokens, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(600):
        np.full(32, number % 250 + 2, dtype="<u2").tofile(tmp_path / f"{number:03}.npy")
    resource.setrlimit(resource.RLIMIT_NOFILE, (450, before[1]))
    try:
        pieces = Pieces(open_files([str(path) for path in sorted(tmp_path.glob("*.npy"))], "<u2"), 16)
        found = pieces.read([(number, 16) for number in range(600)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [int(piece[3]) for piece in found] == [number % 250 + 2 for number in range(600)]


def copied(client) -> dict[str, bytes]:
    """Every object of the copy of the run."""
    found = client.list_objects_v2(Bucket="corpus", Prefix="runs/one/").get("Contents", ())
    keys = [each["Key"] for each in found]
    return {key.removeprefix("runs/one/"): client.get_object(Bucket="corpus", Key=key)["Body"].read() for key in keys}


def with_copy(tokens_folder: Path, save_folder: Path, **more: object) -> TrainConfig:
    config = settings(tokens_folder, str(tokens_folder), save_folder, **more)
    kept = CheckpointSettings(save_interval=2, keep=1, permanent_interval=3, ephemeral_interval=5)
    return replace(
        config, remote_save_folder="s3://corpus/runs/one", checkpoint=kept, max_duration="7", log_interval=1,
        scheduler=SchedulerSettings(warmup="0", t_max="7"),
    )  # fmt: skip


def test_checkpoints_are_copied_as_they_come(storage, tokens_folder, tmp_path):
    config = with_copy(tokens_folder, tmp_path / "one")
    assert train(replace(config, stop_at=5)) == 0
    assert sorted(path.name for path in (tmp_path / "one").glob("step*")) == ["step3", "step5"]
    there = copied(storage.client())
    steps = {name.split("/")[0] for name in there if name.startswith("step")}
    assert steps >= {"step3", "step5"}
    for folder in (tmp_path / "one/step3", tmp_path / "one/step5"):
        for file in (path for path in folder.rglob("*") if path.is_file()):
            assert there[file.relative_to(tmp_path / "one").as_posix()] == file.read_bytes()
    for name in ("manifest.json", "config.yaml", "metrics.jsonl", "data_order.jsonl"):
        assert there[name] == (tmp_path / "one" / name).read_bytes()
    # what is fetched from there goes on like the run's own folder
    for name, content in there.items():
        (tmp_path / "fetched" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(content)
    assert train(replace(config, save_folder=str(tmp_path / "fetched"), run_name="one")) == 0
    assert "step7/manifest.json" in copied(storage.client())


def test_a_copy_that_fails_is_made_again(storage, tokens_folder, tmp_path, caplog, monkeypatch):
    config = with_copy(tokens_folder, tmp_path / "one")
    put, lost = remote_copy.put, []

    def failing(file: Path, url: str) -> None:
        if len(lost) < 2:
            lost.append(url)
            raise UserError("the storage failed", where=url)
        put(file, url)

    monkeypatch.setattr(remote_copy, "put", failing)
    assert train(config) == 0
    assert "a checkpoint is not copied yet: the storage failed" in caplog.text
    assert "step7/manifest.json" in copied(storage.client())
    storage.client().delete_object(Bucket="corpus", Key="runs/one/step7/manifest.json")
    assert train(config) == 0  # nothing to train, and the copy made whole
    assert "step7/manifest.json" in copied(storage.client())


def test_another_run_s_copy_is_left_alone(storage, tokens_folder, tmp_path):
    config = with_copy(tokens_folder, tmp_path / "one")
    assert train(config) == 0
    before = copied(storage.client())
    with pytest.raises(UserError, match=r"config\.yaml there is that of another run"):
        train(replace(config, save_folder=str(tmp_path / "other"), seed=5))
    assert not (tmp_path / "other").exists()
    with pytest.raises(UserError, match="is that of another run"):
        train(replace(config, seed=5), overwrite=True)
    assert (tmp_path / "one/step7").is_dir()
    assert copied(storage.client()) == before
    with pytest.raises(UserError, match=r"no such object|storage failed"):
        train(replace(config, save_folder=str(tmp_path / "new"), remote_save_folder="s3://nowhere/run"))
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="remote_save_folder is 'runs/one', no URL"):
        replace(config, remote_save_folder="runs/one")
