"""Two commands that would write to one output at once: one works, the other is told so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dolma_data import locking
from dolma_data.documents import find_documents
from dolma_data.errors import UserError
from dolma_data.locking import locked

TAG = ("--taggers", "char_length_v1", "--experiment")
BLOOM = ("--bloom_filter.estimated_doc_count", "100", "--bloom_filter.desired_false_positive_rate", "0.01")
HOLD = """
import os, sys, time
from dolma_data.locking import locked
with locked(sys.argv[1]):
    if os.fork():
        print("held", flush=True)
        time.sleep(60)
    time.sleep(float(sys.argv[2]))
    os._exit(0)
"""


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "SECONDS_OF_ENDING", 0.1)


@pytest.fixture
def corpus(write_documents: Any) -> Path:
    rows = [{"id": str(k), "text": f"text {k}\nline\n", "source": "s", "metadata": {}} for k in range(4)]
    root: Path = write_documents(rows)
    return root


@contextmanager
def holding(output: Path, seconds_of_worker: float) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of ``output``, and a worker of it that lives on for a while."""
    program = [sys.executable, "-c", HOLD, str(output), str(seconds_of_worker)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def commands(corpus: Path, out: Path) -> dict[str, list[object]]:
    """Commands by name, each of which writes to ``out``."""
    streams = [
        {
            "name": "s",
            "documents": [str(corpus / "documents" / "*")],
            "output": {"path": str(out)},
            "filter": {"include": ["$.id"]},
        }
    ]
    mixture = corpus.parent / "mix.json"
    mixture.write_text(json.dumps({"streams": streams}))
    shutil.copytree(corpus, out, dirs_exist_ok=True)
    return {
        "extract": ["extract", corpus / "documents", "--output", out],
        "mix": ["mix", "-c", mixture],
        "mix as dolma": ["mix", "-c", mixture, "--compat", "dolma"],
        "analyze": ["analyze", "--documents", corpus, "--output", out],
        "train-tokenizer": ["train-tokenizer", "--documents", corpus, "--output", out, "--vocab-size", "258"],
        "run": ["run", "gopher-like", "--documents", corpus, "--output", out],
    }


@pytest.mark.parametrize("name", ["extract", "mix", "mix as dolma", "analyze", "train-tokenizer", "run"])
def test_a_second_command_on_one_output_is_refused_in_a_line(
    name: str, corpus: Path, contents: Any, dolma: Any, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    command = commands(corpus, out)[name]
    before = contents(tmp_path)
    with locked(out):
        assert dolma(*command) == 2
        left = contents(tmp_path)
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"process {os.getpid()} is writing there ({out}); wait until it has ended, or give another output" in error
    assert left.pop("out.lock.partial") == str(os.getpid()).encode()
    assert left == before


def test_attributes_of_one_name_are_written_by_one_command(corpus: Path, dolma: Any, capsys: Any) -> None:
    with locked(corpus / "attributes/x"):
        assert dolma("tag", "--documents", corpus, *TAG, "x") == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"process {os.getpid()} is writing there ({corpus}/attributes/x)" in error
        assert dolma("tag", "--documents", corpus, *TAG, "y") == 0  # beside it
        assert dolma("dedupe", "--documents", corpus, "--dedupe.paragraphs.attribute_name", "dup") == 0
    assert dolma("tag", "--documents", corpus, *TAG, "x") == 0
    assert sorted(path.name for path in (corpus / "attributes").iterdir()) == ["dup", "x", "y"]


def test_several_experiments_are_tagged_at_the_same_time(corpus: Path, contents: Any) -> None:
    program = [sys.executable, "-c", "from dolma_data.cli import main; main()", "tag", "--documents", str(corpus)]
    running = [subprocess.Popen([*program, *TAG, name], stderr=subprocess.DEVNULL) for name in ("x", "y", "z")]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    assert sorted(contents(corpus / "attributes")) == [
        f"{name}/{file}" for name in "xyz" for file in ("a.jsonl.gz", "manifest.json")
    ]


def test_a_filter_is_written_by_one_command(corpus: Path, dolma: Any, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "filter.bin"
    command = ["dedupe", "--documents", corpus, "--dedupe.paragraphs.attribute_name", "dup", *BLOOM]
    command += ["--bloom_filter.file", file, "--bloom_filter.no-read_only"]
    with locked(file):
        assert dolma(*command) == 2
        assert f"is writing there ({file})" in capsys.readouterr().err.splitlines()[-1]
    assert dolma(*command) == 0
    assert file.is_file()


def test_a_lock_ends_with_the_processes_that_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with holding(out, 60) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(UserError, match=f"process {process.pid} is writing there"), locked(out):
            pass  # its worker lives
    with locked(out):
        assert (tmp_path / "out.lock.partial").read_text() == str(os.getpid())
    monkeypatch.setattr(locking, "SECONDS_OF_ENDING", 60.0)
    with holding(out, 0.3) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with locked(out):  # after the worker
            assert (tmp_path / "out.lock.partial").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_whatever_a_lock_is_called_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    with locked(tmp_path / "out"):
        for other in (tmp_path / "link", f"{tmp_path}/out/", tmp_path / "out/../out"):
            with pytest.raises(UserError, match="is writing there"), locked(other):
                pass
        with locked(tmp_path / "other"):
            pass


def test_of_many_at_once_one_at_a_time_holds_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "SECONDS_OF_ENDING", 60.0)
    inside: list[int] = []
    seen: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with locked(tmp_path / "out"):
                inside.append(number)
                time.sleep(0.0005)
                seen.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 80
    assert list(tmp_path.iterdir()) == []


def test_nobody_takes_a_lock_for_content(corpus: Path, dolma: Any) -> None:
    assert dolma("tag", "--documents", corpus, *TAG, "x") == 0
    files = [file.path for file in find_documents([str(corpus)])]
    with (
        locked(corpus),
        locked(corpus / "attributes/x"),
        locked(corpus / "attributes/y"),
        locked(corpus / "documents/b.jsonl"),
    ):
        assert [file.path for file in find_documents([str(corpus)])] == files
        assert [file.path for file in find_documents([f"{corpus}/documents/*"])] == files
        assert dolma("stat", "--attributes", corpus / "attributes") == 0
        assert dolma("extract", corpus / "documents", "--output", corpus.parent / "again") == 0
        assert dolma("why", "1", "--documents", corpus) == 0
