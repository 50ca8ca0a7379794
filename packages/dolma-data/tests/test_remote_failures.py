"""What a storage can do to a command: each test has an S3 server on loopback fail in one way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from object_storage import SECRET, Bucket, Fault

from dolma_data.locking import held
from dolma_data.remote_commands import lock_of

ROWS = [{"id": f"a{k}", "source": "s", "text": f"Document {k} of them." + " w" * k} for k in range(9)]
TAG = ("--taggers", "char_length_v1", "--experiment", "x")
MAIN = [sys.executable, "-c", "from dolma_data.cli import main; main()"]


@pytest.fixture
def corpus(bucket: Bucket, write_documents: Any, dolma: Any) -> str:
    """The URL of a corpus of three files; the same lies, tagged, in the folder ``corpus``."""
    for name in ("a", "b", "c"):
        local = write_documents(ROWS, f"{name}.jsonl.gz")
    url = bucket.put(local, "corpus")
    assert dolma("tag", "--documents", local, *TAG) == 0
    return url


@pytest.fixture
def expected(corpus: str, contents: Any, tmp_path: Path) -> dict[str, bytes]:
    return dict(contents(tmp_path / "corpus" / "attributes" / "x"))


@pytest.fixture
def one_try(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the library of the storage try once; what it does between tries takes seconds."""
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("one_try")
def test_a_connection_that_drops_in_the_middle_of_an_upload_leaves_nothing_that_can_be_taken_for_whole(
    bucket: Bucket, corpus: str, expected: Any, dolma: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.endpoint.faults.append(Fault("PUT", "/attributes/x/b.jsonl.gz"))
    assert dolma("tag", "--documents", corpus, *TAG) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: the remote storage failed: ")
    assert error.endswith("the same command goes on")
    left = bucket.content(f"{corpus}/attributes/x")
    assert "b.jsonl.gz" not in left
    assert "manifest.json" not in left
    assert "manifest.json.partial" in left
    assert dolma("stat", "--attributes", f"{corpus}/attributes/x", "--report", f"{bucket.url}/report") == 2
    assert f"an upload was interrupted here ({corpus}/attributes/x/)" in capsys.readouterr().err
    bucket.endpoint.faults.clear()
    monkeypatch.setattr("dolma_data.tag.tag", None)  # what was finished before the upload is not made again
    before = len(bucket.endpoint.requests)
    assert dolma("tag", "--documents", corpus, *TAG) == 0
    assert bucket.content(f"{corpus}/attributes/x") == expected
    again = [path for method, path, _ in bucket.endpoint.requests[before:] if method == "PUT"]
    assert not any(path.endswith("manifest.json.partial") for path in again)  # it goes on, it does not begin anew


def test_two_commands_on_one_output_at_once_are_told_who_was_first(
    bucket: Bucket, corpus: str, expected: Any, dolma: Any, capsys: Any
) -> None:
    output = f"{bucket.url}/report"
    with held(lock_of(output), output):
        for options in (("--bins", "2"), ()):  # the same command or another one
            assert dolma("tag", "--documents", corpus, *TAG) == 0
            assert dolma("stat", "--attributes", f"{corpus}/attributes/x", "--report", output, *options) == 2
            error = capsys.readouterr().err.splitlines()[-1]
            assert f"process {os.getpid()} is writing there ({output})" in error
    assert dolma("stat", "--attributes", f"{corpus}/attributes/x", "--report", output) == 0
    assert "index.html" in bucket.content(output)


def test_no_manifest_comes_before_its_parts(bucket: Bucket, corpus: str, dolma: Any) -> None:
    before = len(bucket.written())
    assert dolma("tag", "--documents", corpus, *TAG) == 0
    written = [key.removeprefix("corpus/attributes/x/") for key in bucket.written()[before:]]
    assert written[0] == "manifest.json.partial"
    assert written[-1] == "manifest.json"
    assert sorted(key for key in written[1:-1] if "provenance" not in key) == [f"{x}.jsonl.gz" for x in "abc"]


def test_an_artifact_that_is_replaced_has_no_manifest_meanwhile(bucket: Bucket, corpus: str, dolma: Any) -> None:
    assert dolma("tag", "--documents", corpus, *TAG) == 0
    seen: list[bool] = []

    def look() -> None:
        seen.append("corpus/attributes/x/manifest.json" in bucket.keys("corpus/attributes/x"))

    bucket.endpoint.faults.append(Fault("PUT", "/a.jsonl.gz", 503, "SlowDown", times=1, before=look))
    assert dolma("tag", "--documents", corpus, *TAG, "--seed", "1") == 0
    assert seen == [False]
    assert "manifest.json" in bucket.content(f"{corpus}/attributes/x")


def killed_at(method: str, bucket: Bucket, corpus: str) -> list[str]:
    """Tag in a process that is killed at its request for ``b.jsonl.gz``; returns the command."""
    program = [*MAIN, "tag", "--documents", corpus, *TAG]
    running = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    kill = Fault(method, "/b.jsonl.gz", times=1, before=lambda: os.kill(running.pid, signal.SIGKILL))
    bucket.endpoint.faults.append(kill)
    assert running.wait(timeout=60) == -signal.SIGKILL
    return program


def test_a_process_killed_in_the_middle_of_an_upload_is_followed_by_the_same_command(
    bucket: Bucket, corpus: str, expected: Any
) -> None:
    program = killed_at("PUT", bucket, corpus)
    left = bucket.content(f"{corpus}/attributes/x")
    assert "manifest.json" not in left
    assert "b.jsonl.gz" not in left
    subprocess.run(program, check=True, capture_output=True)
    assert bucket.content(f"{corpus}/attributes/x") == expected
    record = next(key for key in bucket.keys("corpus/attributes/x/provenance"))
    assert json.loads(bucket.read(record))["config"]["documents"] == [corpus]


def test_a_process_killed_while_it_fetches_is_followed_by_the_same_command(
    bucket: Bucket, corpus: str, expected: Any
) -> None:
    program = killed_at("GET", bucket, corpus)
    assert not bucket.keys("corpus/attributes")
    subprocess.run(program, check=True, capture_output=True)
    assert bucket.content(f"{corpus}/attributes/x") == expected


def test_a_process_killed_at_work_is_followed_by_the_same_command_which_keeps_what_was_done(
    bucket: Bucket, corpus: str, tmp_path: Path
) -> None:
    module, killed = tmp_path / "fatal.py", tmp_path / "killed"
    module.write_text(f"""
import os, pathlib, signal
import numpy as np
from dolma_data.batch import whole_documents
from dolma_data.taggers import tagger

seen = []

@tagger("fatal", types=("one",), source="a test")
def fatal(batch):
    seen.append(batch)
    if len(seen) == 3 and not pathlib.Path({str(killed)!r}).exists():
        pathlib.Path({str(killed)!r}).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield whole_documents(batch, "one", np.ones(len(batch)))
""")
    program = [*MAIN, "tag", "--documents", corpus, "--taggers", "fatal", "--tagger-modules", str(module)]
    assert subprocess.run(program, capture_output=True).returncode == -signal.SIGKILL
    before = len(bucket.endpoint.requests)
    again = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "2 of 3 files are finished already" in again.stderr
    fetched = [path for verb, path, _ in bucket.endpoint.requests[before:] if verb == "GET" and path.endswith(".gz")]
    assert fetched == []
    assert sorted(bucket.content(f"{corpus}/attributes/fatal")) == [
        "a.jsonl.gz",
        "b.jsonl.gz",
        "c.jsonl.gz",
        "manifest.json",
    ]


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable")])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_storage_that_asks_for_patience_gets_it(
    bucket: Bucket, corpus: str, expected: Any, dolma: Any, status: int, code: str, method: str
) -> None:
    fault = Fault(method, "/b.jsonl.gz", status, code, times=1)
    bucket.endpoint.faults.append(fault)
    assert dolma("tag", "--documents", corpus, *TAG) == 0
    assert fault.times == 0
    assert bucket.content(f"{corpus}/attributes/x") == expected


def test_a_download_that_is_cut_is_not_taken_for_whole(bucket: Bucket, corpus: str, expected: Any, dolma: Any) -> None:
    fault = Fault("GET", "/b.jsonl.gz", times=1)
    bucket.endpoint.faults.append(fault)
    assert dolma("tag", "--documents", corpus, *TAG) == 0
    assert fault.times == 0
    assert bucket.content(f"{corpus}/attributes/x") == expected


@pytest.mark.parametrize(
    ("method", "key"), [("GET", "/b.jsonl.gz"), ("PUT", "/attributes/x/b.jsonl.gz"), ("PUT", "/manifest.json.partial")]
)
def test_what_is_not_permitted_is_said_in_one_line(
    bucket: Bucket, corpus: str, dolma: Any, capsys: Any, method: str, key: str
) -> None:
    bucket.endpoint.faults.append(Fault(method, key, 403, "AccessDenied"))
    assert dolma("tag", "--documents", corpus, *TAG) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: the remote storage failed: PermissionError: ")
    assert error.endswith("; check the credentials and what they allow")
    assert f"{corpus}" in error


def test_a_bucket_that_is_missing_is_said_before_any_work(
    bucket: Bucket, corpus: str, dolma: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dolma_data.tokens.tokenizer.train_tokenizer", None)
    assert dolma("train-tokenizer", "--documents", corpus, "--vocab-size", "270", "--output", "s3://none-such/t") == 2
    assert "there is no such bucket (s3://none-such); make it first" in capsys.readouterr().err
    assert dolma("tag", "--documents", "s3://none-such/corpus", *TAG) == 2
    assert "no such file or folder (s3://none-such/corpus)" in capsys.readouterr().err


def test_an_object_that_changes_while_it_is_read_is_read_again(
    bucket: Bucket, corpus: str, expected: Any, dolma: Any, tmp_path: Path
) -> None:
    whole = (tmp_path / "corpus/documents/b.jsonl.gz").read_bytes()
    bucket.write("corpus/documents/b.jsonl.gz", whole[:-40])

    def complete() -> None:
        deadline = time.monotonic() + 10
        read = f"/{bucket.name}/corpus/documents/b.jsonl.gz"
        while time.monotonic() < deadline and ("GET", read, 200) not in bucket.endpoint.requests:
            time.sleep(0.01)
        bucket.write("corpus/documents/b.jsonl.gz", whole)

    bucket.endpoint.faults.append(Fault("GET", "/documents/c.jsonl.gz", times=1, before=complete, passes=True))
    assert dolma("tag", "--documents", corpus, *TAG) == 0
    assert bucket.content(f"{corpus}/attributes/x") == expected


def test_an_object_that_never_rests_ends_in_one_line(bucket: Bucket, corpus: str, dolma: Any, capsys: Any) -> None:
    versions = iter(range(100))

    def change() -> None:
        bucket.write("corpus/documents/b.jsonl.gz", b"%d" % next(versions))

    bucket.endpoint.faults.append(Fault("GET", "/documents/b.jsonl.gz", before=change, passes=True))
    assert dolma("tag", "--documents", corpus, *TAG) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"the file changes while it is read ({corpus}/documents/b.jsonl.gz); wait until it is whole" in error


def test_no_room_for_the_input_is_said_before_it_is_fetched(
    bucket: Bucket, corpus: str, dolma: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10, 0, 10))
    before = len(bucket.endpoint.requests)
    assert dolma("tag", "--documents", corpus, *TAG) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "3 files of s3:// take 0.0 GB, and 0.0 GB are free" in error
    assert f"({tmp_path / 'temporary'}); set TMPDIR to a folder with room" in error
    assert not any(path.endswith(".gz") and verb == "GET" for verb, path, _ in bucket.endpoint.requests[before:])


def test_secrets_are_neither_printed_nor_kept(
    bucket: Bucket, corpus: str, dolma: Any, capsys: Any, caplog: Any
) -> None:
    caplog.set_level("INFO", logger="dolma_data")
    assert dolma("tag", "--documents", corpus, *TAG) == 0
    bucket.endpoint.faults.append(Fault("GET", "/b.jsonl.gz", 403, "InvalidAccessKeyId"))
    assert dolma("tag", "--documents", corpus, *TAG, "--seed", "3") == 2
    with_password = f"http://somebody:{SECRET}@127.0.0.1:{bucket.endpoint.port}/x.jsonl"
    for address in (with_password, f"s3://somebody:{SECRET}@{bucket.name}/x.jsonl"):
        assert dolma("tag", "--documents", address, *TAG) == 2
        assert "an address must hold no password" in capsys.readouterr().err.splitlines()[-1]
    signed = f"{bucket.endpoint.url}/{bucket.name}/corpus/documents/a.jsonl.gz?X-Amz-Signature={SECRET}"
    assert dolma("tag", "--documents", signed, "--destination", f"{bucket.url}/signed", *TAG) == 0
    assert dolma("tag", "--documents", signed.replace("a.jsonl", "none.jsonl"), "--destination", "x", *TAG) == 2
    printed = capsys.readouterr()
    own = [record.getMessage() for record in caplog.records if record.name.startswith("dolma_data")]
    assert SECRET not in printed.out + printed.err + "".join(own)
    for key in bucket.keys(""):
        assert SECRET.encode() not in bucket.read(key), key
    (record,) = [json.loads(bucket.read(key)) for key in bucket.keys("signed/provenance")]
    assert record["config"]["documents"] == [signed.partition("?")[0]]


@pytest.mark.usefixtures("one_try")
def test_a_bloom_filter_is_uploaded_after_what_it_marked_and_never_read_half_done(
    bucket: Bucket, corpus: str, dolma: Any
) -> None:
    rule = ("--dedupe.documents.attribute-name", "dup", "--bloom-filter.file", f"{bucket.url}/filters/seen")
    rule = (*rule, "--bloom-filter.estimated-doc-count", "100", "--bloom-filter.desired-false-positive-rate", "0.001")
    bucket.endpoint.faults.append(Fault("PUT", "/filters/seen"))
    assert dolma("dedupe", "--documents", corpus, *rule) == 2
    assert "corpus/attributes/dup/manifest.json" in bucket.keys("corpus")
    assert not bucket.keys("filters")
    first = bucket.content(f"{corpus}/attributes/dup")
    bucket.endpoint.faults.clear()
    assert dolma("dedupe", "--documents", corpus, *rule) == 0
    assert bucket.keys("filters") == ["filters/seen"]
    assert bucket.content(f"{corpus}/attributes/dup") == first
    assert SECRET.encode() not in bucket.read("filters/seen")
    assert f"{corpus}/documents/a.jsonl.gz".encode() in bucket.read("filters/seen")
    before = bucket.content(bucket.url)
    assert dolma("dedupe", "--documents", corpus, *rule) == 0  # finished, so nothing is done
    assert bucket.content(bucket.url) == before
    other = (*rule, "--dedupe.min-words", "1")
    assert dolma("dedupe", "--documents", corpus, *other) == 2
    assert bucket.content(bucket.url) == before
