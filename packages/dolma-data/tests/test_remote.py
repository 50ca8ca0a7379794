from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto.server import ThreadedMotoServer

from dolma_data import remote

ROWS = [
    {"id": f"a{k}", "source": "s", "text": f"Document {k} of them.\nMail jo{k}@example.org" + " w" * k}
    for k in range(9)
]
TAG = ("--taggers", "char_length_v1", "pii_regex_with_counts_fast_v2", "--experiment", "x")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket of an S3 server on loopback; its file system, with ``url`` for the name."""
    import s3fs
    from fsspec import config

    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
        "TMPDIR": str(tmp_path / "temporary"),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setitem(config.conf, "s3", {"endpoint_url": endpoint})
    system = s3fs.S3FileSystem()
    name = f"bucket{abs(hash(request.node.name))}"
    system.mkdir(name)
    return system, name


def put(bucket: Any, folder: Path, name: str) -> str:
    system, prefix = bucket
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        system.put_file(str(path), f"{prefix}/{name}/{path.relative_to(folder).as_posix()}")
    return f"s3://{prefix}/{name}"


def content(bucket: Any, url: str) -> dict[str, bytes]:
    system, root = bucket[0], url.removeprefix("s3://")
    system.invalidate_cache()
    names = [path.removeprefix(root + "/") for path in system.find(root)]
    return {name: system.cat_file(f"{root}/{name}") for name in names if "provenance/" not in name}


def test_every_step_reads_and_writes_urls_and_gives_the_same_as_local_files(
    bucket: Any, write_documents: Any, dolma: Any, contents: Any, tmp_path: Path
) -> None:
    text = tmp_path / "raw" / "b.txt"
    text.parent.mkdir()
    text.write_text("One file of text.\n" * 9)
    assert dolma("extract", text.parent, "--output", tmp_path / "extracted") == 0
    local = write_documents([*ROWS, ROWS[0] | {"id": "again"}], "deep/a.jsonl.gz")
    corpus = put(bucket, local, "corpus")
    raw = put(bucket, text.parent, "raw")
    base = corpus.removesuffix("/corpus")

    assert dolma("extract", raw, "--output", f"{base}/extracted") == 0
    found, expected = content(bucket, f"{base}/extracted"), contents(tmp_path / "extracted")
    assert found.keys() == expected.keys()
    name = "documents/part-0000-00.jsonl.gz"
    assert gzip.decompress(found[name]).decode() == gzip.decompress(expected[name]).decode().replace(
        str(text), f"{raw}/b.txt"
    )

    for root in (str(local), corpus):
        assert dolma("tag", "--documents", root, *TAG, "--processes", "2") == 0
        exact = (
            "--dedupe.documents.attribute_name",
            "dup",
            "--dedupe.documents.key",
            "$.text",
            "--dedupe.name",
            "exact",
        )
        assert dolma("dedupe", "--documents", root, *exact) == 0
    assert content(bucket, corpus) == contents(local)

    streams = {
        "name": "kept",
        "documents": ["ROOT/documents/**/*.gz"],
        "attributes": ["x", "exact"],
        "filter": {"exclude": ["$.attributes[?(@.dup && @.dup[0])]"]},
        "span_replacement": [
            {
                "span": "$.attributes.x__pii_regex_with_counts_fast_v2__EMAIL_ADDRESS",
                "replacement": "M",
                "min_score": 0.5,
            }
        ],
    }
    for root, output in ((str(local), str(tmp_path / "mixed")), (corpus, f"{base}/mixed")):
        settings = streams | {"documents": [f"{root}/documents/**/*.gz"], "output": {"path": output}}
        file = tmp_path / "mix.json"
        file.write_text(json.dumps({"streams": [settings]}))
        assert dolma("mix", "-c", file) == 0
    mixed, expected = content(bucket, f"{base}/mixed"), contents(tmp_path / "mixed")
    assert mixed.keys() == expected.keys()
    assert {name: data for name, data in mixed.items() if name.endswith(".gz")} == {
        name: data for name, data in expected.items() if name.endswith(".gz")
    }

    assert dolma("stat", "--attributes", f"{corpus}/attributes/x", "--report", f"{base}/report") == 0
    assert content(bucket, f"{base}/report")
    assert not list((tmp_path / "temporary/dolma-data-remote").iterdir())


def test_tokenizers_and_tokens_take_urls(
    bucket: Any, write_documents: Any, dolma: Any, tmp_path: Path, contents: Any
) -> None:
    local = write_documents(ROWS)
    corpus = put(bucket, local, "corpus")
    base = corpus.removesuffix("/corpus")
    for root, to in ((str(local), str(tmp_path)), (corpus, base)):
        assert dolma("train-tokenizer", "--documents", root, "--output", f"{to}/tokenizer", "--vocab-size", "287") == 0
        options = ("--tokenizer.name_or_path", f"{to}/tokenizer/tokenizer.json", "--dtype", "uint16")
        assert dolma("tokens", "--documents", root, "--destination", f"{to}/tokens", *options) == 0
    assert content(bucket, f"{base}/tokens") == contents(tmp_path / "tokens")


def test_decontamination_takes_urls(
    bucket: Any, write_documents: Any, dolma: Any, tmp_path: Path, contents: Any
) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    local = write_documents([*ROWS, {"id": "leak", "source": "s", "text": text}])
    texts = tmp_path / "set" / "texts.jsonl"
    texts.parent.mkdir()
    texts.write_text(json.dumps({"id": "u", "text": text}) + "\n")
    corpus, evaluation = put(bucket, local, "corpus"), put(bucket, texts.parent, "set")
    reports = (tmp_path / "report", corpus.removesuffix("corpus") + "report")
    for root, file, report in ((local, texts, reports[0]), (corpus, f"{evaluation}/texts.jsonl", reports[1])):
        assert dolma("decontaminate", "--documents", root, "--texts", file, "--report", report) == 0
    found, expected = (
        content(bucket, f"{corpus}/attributes/decontamination"),
        contents(local / "attributes" / "decontamination"),
    )
    assert found["a.jsonl.gz"] == expected["a.jsonl.gz"]
    assert b"1.0" in gzip.decompress(found["a.jsonl.gz"])
    assert content(bucket, str(reports[1])).keys() == contents(tmp_path / "report").keys()


def test_an_interrupted_upload_leaves_no_manifest_is_refused_and_ended_by_the_same_command(
    bucket: Any, write_documents: Any, dolma: Any, contents: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    local = write_documents(ROWS)
    assert dolma("tag", "--documents", local, *TAG) == 0
    corpus = put(bucket, local / "documents", "corpus/documents").removesuffix("/documents")
    calls = []

    def cut(sources: list[str], targets: list[str], **options: Any) -> None:
        calls.append(targets)
        bucket[0].put_file(sources[0], targets[0])
        raise ConnectionResetError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(bucket[0], "put", cut)
        assert dolma("tag", "--documents", corpus, *TAG) == 2
    assert "the remote storage failed: ConnectionResetError: cut" in capsys.readouterr().err
    assert calls
    left = content(bucket, f"{corpus}/attributes/x")
    assert sorted(left) == ["a.jsonl.gz", "manifest.json.partial"]
    assert dolma("stat", "--attributes", f"{corpus}/attributes/x", "--report", f"{corpus}-report") == 2
    assert "an upload was interrupted here" in capsys.readouterr().err
    monkeypatch.setattr("dolma_data.tag.tag", None)  # what was finished before the upload is not made again
    assert dolma("tag", "--documents", corpus, *TAG) == 0
    assert content(bucket, f"{corpus}/attributes/x") == contents(local / "attributes/x")


def test_a_killed_upload_is_ended_by_the_same_command(bucket: Any, write_documents: Any, tmp_path: Path) -> None:
    for k in range(60):
        local = write_documents(ROWS[:2], f"{k:02}.jsonl.gz")
    corpus = put(bucket, local, "corpus")
    program = [sys.executable, "-c", "from dolma_data.cli import main; main()", "tag", "--documents", corpus]
    program += ["--taggers", "char_length_v1"]
    running = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    system, name = bucket
    folder = f"{name}/corpus/attributes/char_length_v1"
    deadline = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < deadline:
        system.invalidate_cache()
        if system.exists(f"{folder}/manifest.json.partial"):
            running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert "manifest.json" not in content(bucket, f"s3://{folder}")
    subprocess.run(program, check=True, capture_output=True)
    found = content(bucket, f"s3://{folder}")
    assert len(found) == 61
    assert json.loads(found["manifest.json"])["counts"]["kept"] == 120
    record = next(path for path in system.find(folder) if "provenance/" in path)
    assert json.loads(system.cat_file(record))["config"]["documents"] == [corpus]


def test_failed_rows_are_listed_at_the_url(bucket: Any, write_documents: Any, dolma: Any, capsys: Any) -> None:
    corpus = put(bucket, write_documents([*ROWS, b"broken"]), "corpus")
    assert dolma("tag", "--documents", corpus, *TAG) == 2
    assert f"all listed in {corpus}/attributes/x.quarantine.jsonl" in capsys.readouterr().err
    listed = content(bucket, f"{corpus}/attributes")
    assert json.loads(listed["x.quarantine.jsonl"])["file"] == f"{corpus}/documents/a.jsonl.gz"
    assert dolma("tag", "--documents", corpus, *TAG, "--max-failed", "1") == 0
    assert sorted(content(bucket, f"{corpus}/attributes")) == ["x/a.jsonl.gz", "x/manifest.json"]


def test_an_output_of_something_else_is_not_replaced(
    bucket: Any, write_documents: Any, dolma: Any, capsys: Any
) -> None:
    corpus = put(bucket, write_documents(ROWS), "corpus")
    system, name = bucket
    system.pipe_file(f"{name}/corpus/attributes/x/mine.txt", b"precious")
    assert dolma("tag", "--documents", corpus, *TAG) == 2
    assert f"no artifact, so it is not replaced ({corpus}/attributes/x)" in capsys.readouterr().err
    assert content(bucket, f"{corpus}/attributes/x") == {"mine.txt": b"precious"}


def test_a_dry_run_names_urls_and_writes_nothing(bucket: Any, write_documents: Any, dolma: Any, capsys: Any) -> None:
    corpus = put(bucket, write_documents(ROWS), "corpus")
    assert dolma("tag", "--documents", corpus, *TAG, "--dry-run") == 0
    plan = yaml.safe_load(capsys.readouterr().out)
    assert plan["documents"] == [corpus]
    assert plan["missing"] == [f"{corpus} {remote.REMOTE}"]  # to look would mean to fetch
    assert sorted(content(bucket, corpus)) == ["documents/a.jsonl.gz"]


def test_attributes_go_to_a_destination_given_by_a_url(bucket: Any, write_documents: Any, dolma: Any) -> None:
    corpus = put(bucket, write_documents(ROWS), "corpus")
    other = corpus.replace("/corpus", "/other/attributes/mine")
    assert dolma("tag", "--documents", f"{corpus}/documents/*.gz", "--destination", other, *TAG) == 0
    assert "a.jsonl.gz" in content(bucket, other)
    assert sorted(content(bucket, corpus)) == ["documents/a.jsonl.gz"]


def test_what_is_missing_is_named_by_its_url(bucket: Any, dolma: Any, capsys: Any) -> None:
    url = f"s3://{bucket[1]}/nothing"
    assert dolma("tag", "--documents", url, *TAG) == 2
    assert f"no such file or folder ({url})" in capsys.readouterr().err


def test_a_scheme_that_nothing_is_installed_for_names_the_extra(dolma: Any, capsys: Any) -> None:
    assert dolma("tag", "--documents", "nosuch://bucket/corpus", *TAG) == 2
    assert "pip install 'dolma-data[remote]'" in capsys.readouterr().err


def test_a_storage_that_does_not_answer_ends_in_one_line(
    bucket: Any, dolma: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import EndpointConnectionError

    def fail(path: str) -> bool:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    monkeypatch.setattr(bucket[0], "isfile", fail)
    assert dolma("tag", "--documents", f"s3://{bucket[1]}/a.jsonl", *TAG) == 2
    assert "the remote storage failed: EndpointConnectionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("s3://bucket/a/b", ("s3", "bucket/a/b")),
        (Path("s3://bucket/a"), ("s3", "bucket/a")),
        ("gs://bucket/a/", ("gs", "bucket/a")),
        ("/tmp/s3:/a", None),
        ("c:/windows", None),
        ("$.text", None),
        (3, None),
    ],
)
def test_urls_are_told_from_paths(value: object, parts: tuple[str, str] | None) -> None:
    assert remote.split_url(value) == parts
