"""A mix that is killed goes on where it was, and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma_data.errors import UserError
from dolma_data.mix.finished import Scratch

FILES = 6
PROGRAM = [sys.executable, "-c", "from dolma_data.cli import main; main()"]  # what the console script runs
# a rule that takes its time, so that there is time to kill
SLOW = '[range(700)] | map(tostring) | join(",") | length == 0'


@pytest.fixture
def config(write_documents, tmp_path) -> Path:
    """Six files that make six output files, with spans to replace and documents to drop."""
    for number in range(FILES):
        rows = [
            {"id": f"{number}-{k}", "text": f"document {k} of {number}, ünchanged", "source": "ab"[k % 2]}
            for k in range(20)
        ]
        name = f"{number}.jsonl"
        write_documents(rows, name)
        path = tmp_path / "corpus/attributes/t" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"id": row["id"], "attributes": {"k": [[0, 8, k / 20]]}}) for k, row in enumerate(rows)]
        path.write_text("\n".join(lines) + "\n")
    stream = {
        "name": "m",
        "documents": [str(tmp_path / "corpus/documents/*")],
        "attributes": ["t"],
        "output": {"path": str(tmp_path / "out"), "max_size_in_bytes": 1},
        "filter": {"exclude": [SLOW, '.id | endswith("7")'], "syntax": "jq"},
        "span_replacement": [{"span": ".attributes.k", "syntax": "jq", "min_score": 0.5, "replacement": "{}!"}],
    }
    path = tmp_path / "mix.yaml"
    path.write_text(yaml.safe_dump({"streams": [stream]}))
    return path


def run_killed(command: list[str], scratch: Path, records: int, folder: Path) -> tuple[int, str]:
    """Run until ``records`` units are recorded, kill the whole group then; returns the status and what was logged."""
    with open(folder / "log", "w+", encoding="utf-8") as log:
        running = subprocess.Popen(command, start_new_session=True, stderr=log)
        while running.poll() is None and (not scratch.is_dir() or len(recorded(scratch)) < records):
            time.sleep(0.001)
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        status = running.wait()
        log.seek(0)
        return status, log.read()


def recorded(scratch: Path) -> list[str]:
    return sorted(path.name for path in scratch.glob("*.*.json"))


def finished_before(log: str) -> int:
    """How many units the log says were there already."""
    found = re.search(rf"(\d+) of {FILES} files are finished already", log)
    return int(found[1]) if found else 0


def made_now(log: str) -> int:
    """How many files the log says are to be made."""
    found = re.search(r"mix: (\d+) files, ", log)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(
    "options",
    [
        ["--processes", "2"],
        ["--shuffle", "--processes", "2"],
        ["--no-shuffle"],
        ["--compat", "dolma"],
    ],
    ids=" ".join,
)
def test_killed_at_several_moments_it_ends_with_the_same_bytes(options, config, contents, tmp_path):
    command = [*PROGRAM, "mix", "-c", str(config), *options]
    subprocess.run(command, check=True, capture_output=True)
    outputs = [name for name in ("out", "out.mix") if (tmp_path / name).is_dir()]
    expected = {name: contents(tmp_path / name) for name in outputs}
    for name in outputs:
        shutil.rmtree(tmp_path / name)
    scratch = tmp_path / "out.progress.partial"
    kept = 0  # units that were finished when the run before was killed
    for records in (0, 1, 4):
        status, log = run_killed(command, scratch, records, tmp_path)
        assert status == -signal.SIGKILL
        if records:
            assert finished_before(log) == kept
            assert made_now(log) == FILES - kept
        kind = ".lines.json" if "--shuffle" in options else ".file.json"
        kept = sum(name.endswith(kind) for name in recorded(scratch))
        assert kept >= records
        visible = [path for path in tmp_path.iterdir() if path.name.startswith("out") and path.suffix != ".partial"]
        assert visible == []  # neither the output nor a part of it
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert finished_before(result.stderr) == kept
    assert made_now(result.stderr) == FILES - kept
    assert {name: contents(tmp_path / name) for name in outputs} == expected
    assert [path.name for path in tmp_path.rglob("*.partial")] == []


def test_a_shuffle_that_ends_between_two_output_files_keeps_the_first(config, dolma, contents, tmp_path, monkeypatch):
    assert dolma("mix", "-c", config, "--shuffle") == 0
    expected = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    record, made = Scratch.record, []

    def counted(scratch: Any, number: int, kind: str, finished: Any) -> Any:
        made.append((number, kind))
        if made[-1] == (2, "file"):
            raise UserError("ended here")
        return record(scratch, number, kind, finished)

    monkeypatch.setattr(Scratch, "record", counted)
    assert dolma("mix", "-c", config, "--shuffle") == 2
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(Scratch, "record", lambda *of: made.append(of[1:3]) or record(*of))
    made.clear()
    assert dolma("mix", "-c", config, "--shuffle") == 0
    assert made == [(number, "file") for number in range(2, FILES)]
    assert contents(tmp_path / "out") == expected


class TestWhatIsTakenOver:
    @pytest.fixture
    def interrupted(self, config, dolma, monkeypatch, caplog) -> Path:
        """A run that ended after three of six files."""
        caplog.set_level("INFO")
        record = Scratch.record

        def ended(scratch: Any, number: int, kind: str, finished: Any) -> Any:
            if number == 3:
                raise UserError("ended here")
            return record(scratch, number, kind, finished)

        monkeypatch.setattr(Scratch, "record", ended)
        assert dolma("mix", "-c", config) == 2
        monkeypatch.setattr(Scratch, "record", record)
        return config

    def test_a_file_whose_input_has_changed_is_made_anew(self, interrupted, dolma, read_jsonl, tmp_path, caplog):
        path = tmp_path / "corpus/documents/1.jsonl"
        path.write_text(path.read_text().replace("document 0 of", "changed 0 of"))
        caplog.clear()
        assert dolma("mix", "-c", interrupted) == 0
        assert "documents/m-0001.jsonl.gz is made anew: its inputs have changed" in caplog.text
        assert f"2 of {FILES} files are finished already" in caplog.text
        assert read_jsonl(tmp_path / "out/documents/m-0001.jsonl.gz")[0]["text"] == "changed 0 of 1, ünchanged"

    def test_a_file_that_is_not_as_it_was_left_is_made_anew(self, interrupted, dolma, read_jsonl, tmp_path, caplog):
        (tmp_path / "out.progress.partial/1.file").write_bytes(b"")
        caplog.clear()
        assert dolma("mix", "-c", interrupted) == 0
        assert f"2 of {FILES} files are finished already" in caplog.text
        assert len(read_jsonl(tmp_path / "out/documents/m-0001.jsonl.gz")) == 18

    def test_other_settings_begin_anew_and_say_so(self, interrupted, dolma, tmp_path, caplog):
        interrupted.write_text(interrupted.read_text().replace('"7"', '"8"'))
        caplog.clear()
        assert dolma("mix", "-c", interrupted) == 0
        assert "out.progress.partial: the settings or inputs are others than those of the run" in caplog.text
        assert "finished already" not in caplog.text
        assert not (tmp_path / "out.progress.partial").exists()

    def test_another_number_of_processes_takes_all_over(self, interrupted, dolma, caplog):
        caplog.clear()
        assert dolma("mix", "-c", interrupted, "--processes", 2, "--max-failed", 1) == 0
        assert f"3 of {FILES} files are finished already" in caplog.text

    def test_compat_does_not_take_a_file_of_others_for_its_own(self, config, dolma, tmp_path, caplog):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/m-0001.jsonl.gz").write_bytes(b"made before")
        assert dolma("mix", "-c", config, "--compat", "dolma") == 0
        assert "1 files in" in caplog.text
        assert (tmp_path / "out/m-0001.jsonl.gz").read_bytes() == b"made before"
        assert json.loads((tmp_path / "out.mix/funnel.json").read_bytes())["read"] == {"a": 50, "b": 50}

    def test_compat_counts_what_it_had_put_in_its_place(self, config, dolma, contents, tmp_path, monkeypatch):
        assert dolma("mix", "-c", config, "--compat", "dolma") == 0
        expected = contents(tmp_path / "out"), contents(tmp_path / "out.mix")
        for name in ("out", "out.mix"):
            shutil.rmtree(tmp_path / name)
        place = Scratch.place

        def ended(scratch: Any, number: int, target: Path) -> None:
            if number == 3:
                raise UserError("ended here")
            place(scratch, number, target)

        monkeypatch.setattr(Scratch, "place", ended)
        assert dolma("mix", "-c", config, "--compat", "dolma") == 2
        assert len(contents(tmp_path / "out")) == 3
        monkeypatch.setattr(Scratch, "place", place)
        assert dolma("mix", "-c", config, "--compat", "dolma") == 0
        assert (contents(tmp_path / "out"), contents(tmp_path / "out.mix")) == expected
