"""Fetching against a server on loopback that answers as the hub does."""

from __future__ import annotations

import gzip
import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from catwalk_eval.cli import app
from catwalk_eval.command_line import run
from catwalk_eval.files import digest_file
from catwalk_eval.requests import load_task

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
REVISION = "a" * 40


def table(number: int, count: int) -> bytes:
    rows = [
        {
            "id": f"q{number}{k}",
            "question": f"Why {number}{k}?",
            "choices": {"text": ["a", "ü"], "label": ["A", "B"]},
            "answerKey": "B",
        }
        for k in range(count)
    ]
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


class FakeHub(ThreadingHTTPServer):
    """The files of one data set, and what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files = {
            "ARC-Easy/train/0000.parquet": table(0, 2),
            "ARC-Easy/train/0001.parquet": table(1, 1),
            "ARC-Easy/validation/0000.parquet": table(2, 3),
            "ARC-Easy/test/0000.parquet": table(3, 1),
            "ARC-Challenge/test/0000.parquet": table(4, 1),
        }
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: FakeHub

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        prefix = f"/datasets/allenai/ai2_arc/resolve/{REVISION}/"
        if self.path.startswith("/api/datasets/allenai/ai2_arc/revision/refs%2Fconvert%2Fparquet"):
            siblings = [{"rfilename": name} for name in self.server.files]
            body: dict[str, Any] = {"id": "allenai/ai2_arc", "sha": REVISION, "siblings": siblings}
            self.answer(200, json.dumps(body).encode(), Content_Type="application/json")
        elif self.path.startswith(prefix) and self.path.removeprefix(prefix) in self.server.files:
            content = self.server.files[self.path.removeprefix(prefix)]
            self.answer(200, content, ETag=f'"{hash(content):x}"', X_Repo_Commit=REVISION)
        else:
            self.answer(404, b"{}", X_Error_Code="RepoNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    server = FakeHub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def error(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    return line


def test_fetched_records_lie_where_tasks_look_and_their_origin_is_recorded(hub: FakeHub, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run(app, ["fetch", "arc_easy", "--output", str(data), "--download"]) == 0
    source = data / "arc_easy/source"
    assert [row["id"] for row in lines(source / "train.jsonl.gz")] == ["q00", "q01", "q10"]
    record = json.loads((source / "fetched.json").read_text())
    assert (record["dataset"], record["config"], record["revision"]) == ("allenai/ai2_arc", "ARC-Easy", REVISION)
    assert {split: value["records"] for split, value in record["splits"].items()} == {
        "validation": 3, "test": 1, "train": 3,
    }  # fmt: skip
    assert record["splits"]["test"]["digest"] == digest_file(source / "test.jsonl.gz")
    assert len(record["splits"]["train"]["files"]) == 2
    task = load_task("arc_easy", data, "lm-eval", None)
    assert task.instances[0].continuations == (" a", " ü")
    assert sorted(path.name for path in (data / "arc_easy").iterdir()) == ["provenance", "source"]
    before = (source / "train.jsonl.gz").read_bytes()
    assert run(app, ["fetch", "arc_easy", "--output", str(data), "--download"]) == 0
    assert (source / "train.jsonl.gz").read_bytes() == before


def test_nothing_is_asked_of_the_hub_without_download(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["fetch", "arc_easy", "mmlu_rc", "mmlu_mc", "--output", str(tmp_path / "data")]) == 2
    message = error(capsys)
    assert "add --download to fetch arc_easy from allenai/ai2_arc (ARC-Easy), mmlu from cais/mmlu (all)" in message
    assert hub.asked == []
    assert not (tmp_path / "data").exists()


def test_a_file_that_changed_under_its_revision_is_refused(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fetch", "arc_easy", "--output", str(tmp_path / "data"), "--download"]
    assert run(app, command) == 0
    kept = (tmp_path / "data/arc_easy/source/validation.jsonl.gz").read_bytes()
    hub.files["ARC-Easy/validation/0000.parquet"] = table(9, 3)
    assert run(app, command) == 2
    assert "was recorded for the same revision" in error(capsys)
    assert (tmp_path / "data/arc_easy/source/validation.jsonl.gz").read_bytes() == kept


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("piqa", None, "the data set did not come: .*baber/piqa"),
        ("arc_easy", "ARC-Easy/test/0000.parquet", "no Parquet files of ARC-Easy/test"),
        ("arc_eazy", None, "unknown task 'arc_eazy'.*did you mean arc_easy"),
    ],
)
def test_what_does_not_come_is_one_line(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, spoil: str | None, message: str
) -> None:
    if spoil is not None:
        del hub.files[spoil]
    assert run(app, ["fetch", name, "--output", str(tmp_path / "data"), "--download"]) == 2
    assert re.search(message, error(capsys))
    assert not list((tmp_path / "data").rglob("*.partial"))


def test_a_damaged_file_and_a_hub_out_of_reach_are_one_line(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fetch", "arc_easy", "--output", str(tmp_path / "data"), "--download"]
    hub.files["ARC-Easy/validation/0000.parquet"] = b"no Parquet"
    assert run(app, command) == 2
    assert "the Parquet file does not read" in error(capsys)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run(app, command) == 2
    assert "the data set did not come" in error(capsys)
    assert run(app, ["fetch", "--output", str(tmp_path / "data"), "--download"]) == 2
    assert "no task is named" in error(capsys)
