"""Extraction from files: text, JSON Lines, HTML; what is kept, dropped, failed."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from dolma_data.extract import extraction
from dolma_data.extract.spread import run_units

PAGE = "<html><head><title>T</title></head><body><article>{}</article></body></html>"
PARAGRAPH = "<p>The quick brown fox jumps over the lazy dog, again and again, until the evening comes.</p>"


@pytest.fixture
def documents(read_jsonl):
    """All rows of an artifact in the order of its manifest."""

    def read(root: Path) -> list[dict]:
        manifest = json.loads((root / "manifest.json").read_bytes())
        return [row for file in manifest["files"] for row in read_jsonl(root / file["path"])]

    return read


def counts(root: Path) -> dict[str, int]:
    return json.loads((root / "manifest.json").read_bytes())["counts"]


def test_text_files_of_a_folder_become_documents_named_after_their_paths(dolma, documents, tmp_path):
    (tmp_path / "notes/sub").mkdir(parents=True)
    (tmp_path / "notes/b.txt").write_text("bee")
    (tmp_path / "notes/a.md.gz").write_bytes(gzip.compress("\ufeffä\0".encode()))
    (tmp_path / "notes/sub/c.txt.zst").write_bytes(zstandard.ZstdCompressor().compress(b"sea"))
    (tmp_path / "notes/blank.txt").write_text(" \n")
    (tmp_path / "notes/picture.png").write_bytes(b"x")
    assert dolma("extract", tmp_path / "notes", "--output", tmp_path / "out") == 0
    file = str(tmp_path / "notes")
    assert documents(tmp_path / "out") == [
        {"id": "a.md.gz", "text": "ä\ufffd", "source": "notes", "metadata": {"file": f"{file}/a.md.gz"}},
        {"id": "b.txt", "text": "bee", "source": "notes", "metadata": {"file": f"{file}/b.txt"}},
        {"id": "sub/c.txt.zst", "text": "sea", "source": "notes", "metadata": {"file": f"{file}/sub/c.txt.zst"}},
    ]
    assert counts(tmp_path / "out") == {"read": 4, "kept": 3, "dropped": 1, "failed": 0}


def test_rows_of_any_shape_become_documents(dolma, documents, tmp_path):
    rows = [
        '{"id": "x", "text": "one", "source": "own", "created": "2020", "metadata": {"k": 1}, "extra": [2]}',
        '{"id": 7, "text": "two", "metadata": "note", "version": 3}',
        "",
        '{"text": "lone \\ud800 surrogate, pair \\ud83d\\ude00"}',
        '{"text": " "}',
    ]
    path = tmp_path / "web.jsonl"
    path.write_text("\ufeff" + "\n".join(rows) + "\n")
    assert dolma("extract", path, "--output", tmp_path / "out") == 0
    place = {"file": str(path)}
    assert documents(tmp_path / "out") == [
        {
            "id": "x",
            "text": "one",
            "source": "own",
            "created": "2020",
            "metadata": {"k": 1, "extra": [2], **place, "line": 1},
        },
        {"id": "7", "text": "two", "source": "web", "metadata": {"metadata": "note", "version": 3, **place, "line": 2}},
        {
            "id": "web.jsonl:4",
            "text": "lone \ufffd surrogate, pair 😀",
            "source": "web",
            "metadata": {**place, "line": 4},
        },
    ]
    assert counts(tmp_path / "out") == {"read": 5, "kept": 3, "dropped": 2, "failed": 0}


def test_text_field_and_source_are_the_users_choice(dolma, documents, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "why?", "answer": "so"}\n')
    options = ("--text-field", "question", "--source", "quiz")
    assert dolma("extract", tmp_path / "a.jsonl", "--output", tmp_path / "out", *options) == 0
    (document,) = documents(tmp_path / "out")
    assert (document["text"], document["source"], document["metadata"]["answer"]) == ("why?", "quiz", "so")


def test_bad_rows_fail_the_command_and_are_listed(dolma, read_jsonl, tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text"\n[]\n{"no": 1}\n{"text": 5}\n{"text": "\xff"}\n{"text": NaN}\n')
    arguments = ("extract", path, "--output", tmp_path / "out")
    assert dolma(*arguments, "--max-failed", 5) == 2
    assert not (tmp_path / "out").exists()
    message = capsys.readouterr().err
    assert "6 records failed" in message
    assert str(tmp_path / "out.quarantine.jsonl") in message
    assert f"{path}, line 2" in message
    listed = read_jsonl(tmp_path / "out.quarantine.jsonl")
    assert [(row["line"], row["reason"].partition(":")[0]) for row in listed] == [
        (2, "not JSON"),
        (3, "not a JSON object"),
        (4, "no text"),
        (5, "text is not a string"),
        (6, "invalid UTF-8"),
        (7, "not JSON"),
    ]
    assert dolma(*arguments, "--max-failed", 6) == 0
    assert read_jsonl(tmp_path / "out/quarantine.jsonl") == listed
    assert counts(tmp_path / "out") == {"read": 7, "kept": 1, "dropped": 0, "failed": 6}


def test_half_a_gzip_file_is_a_failure_with_its_line_and_nothing_before_it_is_lost(dolma, documents, tmp_path, capsys):
    lines = b"".join(json.dumps({"text": f"{i * 7919}"}).encode() + b"\n" for i in range(20000))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines)[:60000])
    assert dolma("extract", path, "--output", tmp_path / "out") == 2
    assert "damaged or cut off" in capsys.readouterr().err
    assert dolma("extract", path, "--output", tmp_path / "out", "--max-failed", 1) == 0
    kept = documents(tmp_path / "out")
    assert [row["text"] for row in kept] == [f"{i * 7919}" for i in range(len(kept))]
    (failure,) = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert failure["line"] == len(kept) + 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "no such file"),
        ("table.csv", b"a,b", "unknown kind"),
        ("empty.txt", b"", "nothing to read"),
        ("latin.txt", b"caf\xe9", "invalid UTF-8 at byte 3"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(dolma, tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert dolma("extract", tmp_path / name, "--output", tmp_path / "out") == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert str(tmp_path / name) in line
    assert not (tmp_path / "out").exists()


def test_an_empty_file_beside_others_is_fine(dolma, documents, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("x")
    (tmp_path / "in/b.txt").write_text("")
    assert dolma("extract", tmp_path / "in", "--output", tmp_path / "out") == 0
    assert [row["id"] for row in documents(tmp_path / "out")] == ["a.txt"]


def test_two_documents_of_one_name_fail_with_both_places(dolma, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "x", "source": "s"}\n')
    (tmp_path / "b.jsonl").write_text(
        '{"id": "2", "text": "x", "source": "s"}\n{"id": "1", "text": "y", "source": "s"}\n'
    )
    arguments = ("extract", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--output", tmp_path / "out")
    assert dolma(*arguments) == 2
    message = capsys.readouterr().err
    assert f"{tmp_path}/a.jsonl, line 1" in message
    assert f"{tmp_path}/b.jsonl, line 2" in message
    assert "--repeated-ids number" in message
    assert not (tmp_path / "out").exists()


def test_repeated_ids_are_numbered_on_demand_in_the_order_of_the_inputs(
    dolma, documents, contents, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("dolma_data.extract.extraction.UNIT_BYTES", 10)  # several units of work
    names = {"a": ["1", "1", "1#2"], "b": ["2", "1"], "c": ["3"], "d": ["1"]}
    for file, ids in names.items():
        rows = [json.dumps({"id": name, "text": f"{file}{row}", "source": "s"}) for row, name in enumerate(ids)]
        (tmp_path / f"{file}.jsonl").write_text("\n".join(rows))
    inputs = [tmp_path / f"{file}.jsonl" for file in names]
    with caplog.at_level("INFO"):
        for processes in (1, 2):
            options = ("--output", tmp_path / f"out{processes}", "--repeated-ids", "number", "--processes", processes)
            assert dolma("extract", *inputs, *options) == 0
    assert "3 documents have an id that stands earlier in their source" in caplog.text
    rows = [(row["id"], row["text"]) for row in documents(tmp_path / "out1")]
    taken = [("1", "a0"), ("1#3", "a1"), ("1#2", "a2"), ("2", "b0"), ("1#4", "b1"), ("3", "c0"), ("1#5", "d0")]
    assert rows == taken
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")


def test_the_same_id_in_two_sources_is_fine(dolma, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text('{"id": "1", "text": "x"}\n')
    assert dolma("extract", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--output", tmp_path / "out") == 0


def test_html_gives_its_main_text_and_a_page_without_one_is_dropped(dolma, documents, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.html").write_text(PAGE.format(PARAGRAPH * 3))
    (tmp_path / "in/b.htm").write_text("<html><body></body></html>")
    assert dolma("extract", tmp_path / "in", "--output", tmp_path / "out") == 0
    (document,) = documents(tmp_path / "out")
    assert document["id"] == "a.html"
    assert document["text"].startswith("The quick brown fox jumps over the lazy dog")
    assert counts(tmp_path / "out") == {"read": 2, "kept": 1, "dropped": 1, "failed": 0}


def test_one_and_two_processes_write_the_same_bytes(dolma, contents, tmp_path, monkeypatch):
    monkeypatch.setattr("dolma_data.extract.extraction.UNIT_BYTES", 10)  # several units of work
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / f"in/{i}.txt").write_text(f"text number {i}")
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        assert dolma("extract", tmp_path / "in", "--output", out, "--processes", processes) == 0
    one = contents(tmp_path / "out1")
    assert len([name for name in one if name.startswith("documents/")]) == 5
    assert one == contents(tmp_path / "out2")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "pages"])
def test_one_input_is_work_for_all_processes(dolma, contents, tmp_path, monkeypatch, name):
    monkeypatch.setattr("dolma_data.extract.spread.PIECE_BYTES", 100)
    path = tmp_path / name
    if name == "pages":
        path.mkdir()
        for i in range(7):
            (path / f"{i}.html").write_text(PAGE.format(PARAGRAPH))
    else:
        rows = [{"text": f"text number {i}"} for i in range(40)] + [{"id": "bad"}]
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    shared = []
    map_ordered = extraction.map_ordered
    monkeypatch.setattr(extraction, "map_ordered", lambda *given: shared.append(given[-1]) or map_ordered(*given))
    for processes in (1, 3):
        out = tmp_path / f"out{processes}"
        assert dolma("extract", path, "--output", out, "--processes", processes, "--max-failed", 1) == 0
    assert shared == [1, 3]
    assert contents(tmp_path / "out1") == contents(tmp_path / "out3")
    found = {"read": 7, "kept": 7} if name == "pages" else {"read": 41, "kept": 40}
    assert {key: value for key, value in counts(tmp_path / "out3").items() if key in found} == found


@pytest.mark.parametrize(
    ("sizes", "processes", "alone"),
    [
        ((9,), 2, [0]),
        ((9,), 1, []),
        ((9, 9), 2, []),
        ((1, 9, 1), 2, [1]),
        ((1,) * 50, 64, []),  # one reader could not feed 64 workers
        ((0, 0), 2, []),
    ],
)
def test_a_unit_is_shared_where_it_is_more_than_a_workers_part(sizes, processes, alone):
    done = list(run_units(_processes_of, range(len(sizes)), sizes, processes))
    assert [k for k, given in enumerate(done) if given == processes > 1] == alone


def _processes_of(unit: int, processes: int) -> int:
    return processes


def test_options_of_the_other_kind_of_input_are_refused(dolma, tmp_path, capsys):
    assert dolma("extract", "python-docs", "--output", tmp_path / "out", "--source", "x") == 2
    assert dolma("extract", tmp_path, "--output", tmp_path / "out", "--include-tests") == 2
    assert dolma("extract", "--output", tmp_path / "out") == 2
    assert "no path is given" in capsys.readouterr().err


def test_another_folder_is_never_replaced(dolma, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").write_text("x")
    assert dolma("extract", tmp_path / "a.txt", "--output", tmp_path / "out") == 2
    assert "not a documents artifact" in capsys.readouterr().err
    assert (tmp_path / "out/precious").exists()


def test_dry_run_prints_the_plan_and_writes_nothing(dolma, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("x")
    assert dolma("extract", tmp_path / "a.txt", "--output", tmp_path / "out", "--dry-run") == 0
    assert "units: 1" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_killed_and_run_again_gives_the_same_bytes(dolma, contents, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(24):  # more than one piece
        (tmp_path / f"in/{i}.html").write_text(PAGE.format(PARAGRAPH * 1500))
    program = "from dolma_data.cli import main; main()"
    command = [sys.executable, "-c", program, "extract", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out.partial/documents/*.partial")):
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert not (tmp_path / "out").exists()
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert dolma("extract", tmp_path / "in", "--output", tmp_path / "other") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "other")
    assert not list(tmp_path.glob("*.partial"))
