from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dolma_data.annotate import CHUNK_BYTES, Chunk, read_chunks, read_units
from dolma_data.cli import execute
from dolma_data.documents import find_documents
from dolma_data.files import digest
from dolma_data.reading import SMALL_FILE_BYTES, split_lines

TAGGERS = ("c4_v2", "pii_regex_with_counts_fast_v2", "ft_lang_id_en_doc_v2")
OWN_TAGGER = '''
"""Counts of one word."""
import os, time
from dolma_data.batch import whole_documents
from dolma_data.taggers import tagger


@tagger("shouting", types=("capitals",), source="own rule")
def shouting(batch):
    time.sleep(float(os.environ.get("TEST_DELAY", "0")))
    yield whole_documents(batch, "capitals", [sum(map(str.isupper, text)) for text in batch.texts])
'''

SPREAD = '''
"""A span for every line."""
from dolma_data.batch import listed_spans
from dolma_data.taggers import tagger


@tagger("spread", types=("line",), source="own rule")
def spread(batch):
    yield listed_spans("line", [(k, 0, 1, 1.0) for k, text in enumerate(batch.texts) for _ in text.splitlines()])
'''


def documents(prefix: str, count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"{prefix}{k}", "source": "s", "text": f"Text {k} of it.\nmail jo{k}@example.org" + " word" * (k % 7)}
        for k in range(count)
    ]


def tag(root: Path, *options: str) -> int:
    return execute(["tag", "--documents", str(root), *options])


def test_rows_stand_beside_their_documents_with_keys_of_experiment_tagger_and_type(
    write_documents: Any, read_jsonl: Any
) -> None:
    root = write_documents(documents("a", 3), "deep/er/a.jsonl.gz")
    assert tag(root, "--taggers", "char_length_v1", "bytes_length_v1", "--experiment", "exp-1") == 0
    folder = root / "attributes" / "exp-1"
    assert read_jsonl(folder / "deep/er/a.jsonl.gz") == [
        {
            "id": f"a{k}",
            "attributes": {
                "exp_1__char_length_v1__length": [[0, size, float(size)]],
                "exp_1__bytes_length_v1__bytes": [[0, size, float(size)]],
            },
            "source": "s",
        }
        for k, size in ((0, 34), (1, 39), (2, 44))
    ]
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["files"] == [{"path": "deep/er/a.jsonl.gz", "rows": 3, "quarantined": 0}]
    assert manifest["counts"] == {"read": 3, "kept": 3, "dropped": 0, "failed": 0}
    assert [entry["keys"] for entry in manifest["taggers"]] == [
        ["exp_1__char_length_v1__length"],
        ["exp_1__bytes_length_v1__bytes"],
    ]
    assert [path.name for path in (root / "attributes").iterdir()] == ["exp-1"]


def test_without_an_experiment_each_tagger_has_its_folder(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents(documents("a", 1))
    assert tag(root, "--taggers", "char_length_v1", "bytes_length_v1") == 0
    (row,) = read_jsonl(root / "attributes/bytes_length_v1/a.jsonl.gz")
    assert row["attributes"] == {"bytes_length_v1__bytes_length_v1__bytes": [[0, 34, 34.0]]}
    assert (root / "attributes/char_length_v1/manifest.json").is_file()


def test_the_model_digest_and_the_keys_that_occur_are_kept(write_documents: Any) -> None:
    root = write_documents(documents("a", 2))
    assert tag(root, "--taggers", "ft_lang_id_1e2") == 0
    (entry,) = json.loads((root / "attributes/ft_lang_id_1e2/manifest.json").read_bytes())["taggers"]
    assert entry["digest"].startswith("sha256:")
    assert "ft_lang_id_1e2__ft_lang_id_1e2__en" in entry["keys"]
    assert "*" not in "".join(entry["keys"])


def test_a_missing_list_is_told_once_and_the_digest_of_a_given_one_is_kept(
    write_documents: Any, read_jsonl: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_documents([{"id": "0", "source": "s", "text": "What a darn thing."}], "a.jsonl.gz")
    root = write_documents([{"id": "1", "source": "s", "text": "darn"}], "b.jsonl.gz")
    folder = root / "attributes/c4_v2"
    assert tag(root, "--taggers", "c4_v2") == 0
    assert caplog.text.count("c4_v2 leaves out has_naughty_word") == 1
    (entry,) = json.loads((folder / "manifest.json").read_bytes())["taggers"]
    assert entry["digest"] is None
    assert "c4_v2__c4_v2__has_naughty_word" not in entry["keys"]
    caplog.clear()
    words = tmp_path / "my_words.txt"
    words.write_bytes(b"darn\n")
    assert tag(root, "--taggers", "c4_v2", "--resources.c4_v2", str(words)) == 0
    assert "leaves out" not in caplog.text
    (entry,) = json.loads((folder / "manifest.json").read_bytes())["taggers"]
    assert entry["digest"] == f"sha256:{hashlib.sha256(words.read_bytes()).hexdigest()}"
    (row,) = read_jsonl(folder / "a.jsonl.gz")
    assert row["attributes"]["c4_v2__c4_v2__has_naughty_word"] == [[0, 18, 1.0]]


def test_random_numbers_are_the_same_in_every_run_with_the_same_seed(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents([{"id": "a", "source": "s", "text": "x"}])

    def number(*options: str) -> float:
        assert tag(root, "--taggers", "random_number_v1", *options) == 0
        (row,) = read_jsonl(root / "attributes/random_number_v1/a.jsonl.gz")
        ((_, _, score),) = row["attributes"]["random_number_v1__random_number_v1__random"]
        return score

    assert [number(), number("--seed", "0"), number("--seed", "7")] == [0.77516, 0.77516, 0.82458]


def test_any_number_of_processes_gives_the_same_bytes(write_documents: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 1000)
    root = write_documents([*documents("a", 40), b"broken", *documents("b", 3)])
    write_documents([], "b.jsonl.gz")
    write_documents(documents("c", 5), "c/c.jsonl")
    digests = []
    for processes, small in (("1", SMALL_FILE_BYTES), ("2", SMALL_FILE_BYTES), ("1", 0), ("2", 100)):
        monkeypatch.setattr("dolma_data.annotate.SMALL_FILE_BYTES", small)
        options = ("--experiment", "x", "--processes", processes, "--max-failed", "1")
        assert tag(root, "--taggers", *TAGGERS, *options) == 0
        digests.append(digest(root / "attributes" / "x"))
    assert len(set(digests)) == 1


def test_the_last_files_are_no_units_of_one_worker(write_documents: Any) -> None:
    for name in "abcde":
        root = write_documents(documents(name, 10), f"{name}.jsonl")
    units = list(read_units(list(enumerate(find_documents([root]))), max_failed=0))
    assert [type(unit).__name__ for unit in units] == ["SmallFile", "SmallFile", "SmallFile", "Chunk", "Chunk"]
    assert [unit.last for unit in units if isinstance(unit, Chunk)] == [True, True]


def test_chunks_hold_every_line_once(write_documents: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = documents("a", 50)
    root = write_documents([*rows[:20], b"", *rows[20:]])
    files = list(enumerate(find_documents([root])))
    for size in (1, 300, CHUNK_BYTES):
        monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", size)
        chunks = list(read_chunks(files))
        lines = [split_lines(chunk.block.data) for chunk in chunks]
        assert [json.loads(line)["id"] for some in lines for line in some if line] == [row["id"] for row in rows]
        assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        numbers = [chunk.first_line + k for chunk, some in zip(chunks, lines, strict=True) for k in range(len(some))]
        assert numbers == list(range(1, 52))


def test_an_unreadable_line_is_counted_and_keeps_its_place(
    write_documents: Any, read_jsonl: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = documents("a", 2)
    root = write_documents([rows[0], {"id": 7, "text": "x", "source": "s"}, rows[1]])
    assert tag(root, "--taggers", "char_length_v1") == 2
    error = capsys.readouterr().err
    quarantine = root / "attributes" / "char_length_v1.quarantine.jsonl"
    assert "1 records failed" in error
    assert str(quarantine) in error
    assert read_jsonl(quarantine) == [
        {"file": str(root / "documents/a.jsonl.gz"), "line": 2, "reason": "id is not a string"}
    ]
    assert not (root / "attributes/char_length_v1").exists()
    assert tag(root, "--taggers", "char_length_v1", "--max-failed", "1") == 0
    found = read_jsonl(root / "attributes/char_length_v1/a.jsonl.gz")
    assert found[1] == {"id": None, "attributes": {}, "source": None, "quarantined": "id is not a string"}
    assert [row["id"] for row in found] == ["a0", None, "a1"]
    manifest = json.loads((root / "attributes/char_length_v1/manifest.json").read_bytes())
    assert manifest["files"][0] == {"path": "a.jsonl.gz", "rows": 3, "quarantined": 1}
    assert manifest["counts"] == {"read": 3, "kept": 2, "dropped": 0, "failed": 1}


def test_a_damaged_file_ends_in_a_tombstone(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents(documents("a", 500))
    path = root / "documents/a.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-200])
    assert tag(root, "--taggers", "char_length_v1", "--max-failed", "2") == 0
    found = read_jsonl(root / "attributes/char_length_v1/a.jsonl.gz")
    assert "damaged or cut off" in found[-1]["quarantined"]
    assert [row["id"] for row in found[:-1] if row["id"]] == [f"a{k}" for k in range(len(found[:-1]))][: len(found) - 1]


def test_a_decompression_bomb_is_one_tombstone_and_never_held(
    write_documents: Any, read_jsonl: Any, tmp_path: Path
) -> None:
    root = write_documents(documents("a", 2))
    path = root / "documents/a.jsonl.gz"
    run_of_one_character = gzip.compress(b"a" * (64 << 20), 1)
    bomb = gzip.compress(b'{"id":"b","source":"s","text":"') + 16 * run_of_one_character + gzip.compress(b'"}\n')
    path.write_bytes(path.read_bytes() + bomb + path.read_bytes())
    # not getrusage: its peak begins at the size of the process that started this one
    program = "from dolma_data.cli import execute; status = execute(); "
    program += "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]); raise SystemExit(status)"
    arguments = ["tag", "--documents", str(root), "--taggers", "char_length_v1", "--max-failed", "1"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 700 << 10  # KiB; the line is 1 GiB
    found = read_jsonl(root / "attributes/char_length_v1/a.jsonl.gz")
    assert [row["id"] for row in found] == ["a0", "a1", None, "a0", "a1"]
    assert found[2]["quarantined"] == "a line of more than 128 MiB"


def test_a_tagger_of_ones_own_takes_a_few_lines(write_documents: Any, read_jsonl: Any, tmp_path: Path) -> None:
    root = write_documents([{"id": "1", "text": "A loud TEXT", "source": "s"}])
    module = tmp_path / "mine.py"
    module.write_text(OWN_TAGGER.replace('"shouting"', '"own_rule"'))
    assert tag(root, "--taggers", "own_rule", "--tagger-modules", str(module)) == 0
    (row,) = read_jsonl(root / "attributes/own_rule/a.jsonl.gz")
    assert row["attributes"] == {"own_rule__own_rule__capitals": [[0, 11, 5.0]]}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("[whole_documents(batch, 'other', 1)]", "not among its declared types"),
        ("[listed_spans('t', [(0, 0, 99, 1.0)])]", "does not lie inside its text"),
        ("[listed_spans('t', [(9, 0, 1, 1.0)])]", "not in the batch"),
        ("[whole_documents(batch, 't', float('nan'))]", "not finite"),
        ("['t']", "not Spans"),
        ("None", "gives NoneType, not spans"),
        ("whole_documents(batch, 't', 1)", "gives Spans, not spans of one type after the other"),
        ("[whole_documents(batch, 't', [1.0] * (len(batch) + 1))]", "columns of different length"),
    ],
)
def test_wrong_spans_of_a_tagger_are_refused(
    write_documents: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, what: str
) -> None:
    root = write_documents(documents("a", 1))
    name = f"wrong_{abs(hash(body))}"
    (tmp_path / "wrong.py").write_text(
        "from dolma_data.batch import listed_spans, whole_documents\nfrom dolma_data.taggers import tagger\n"
        f"@tagger({name!r}, types=('t',), source='none')\ndef wrong(batch):\n    return {body}\n"
    )
    assert tag(root, "--taggers", name, "--tagger-modules", str(tmp_path / "wrong.py")) == 2
    assert what in capsys.readouterr().err
    assert not (root / "attributes" / name).exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--taggers", "gopher_v3"), "did you mean gopher_v2?"),
        (("--taggers", "char_length_v1", "--resources.c4_v2", "x"), "c4_v2 is not among the taggers"),
        (("--taggers", "char_length_v1", "--resources.char_length_v1", "x"), "char_length_v1 reads no file"),
        (("--taggers", "c4_v2", "--resources.c4_v2", "x"), "resources.c4_v2: no such file"),
        (("--taggers", "c4_v2", "--resources.c4_v2", "x", "--resources.c4_v2", "y"), "c4_v2 reads one"),
        (("--taggers", "c4_v2", "--resources.c4_v2", "x", "y"), "c4_v2 reads one"),
        (("--taggers", "char_length_v1", "--profile.lines", "3"), "profile.enable is not set"),
        (("--taggers", "char_length_v1", "--profile.enable", "--profile.sort-key", "x"), "profile.sort_key"),
        (("--taggers", "char_length_v1", "--experiment", "a/b"), "cannot be"),
        (("--taggers", "char_length_v1", "--processes", "0"), "processes is 0"),
        (("--taggers", "char_length_v1", "--tagger-modules", "none.py"), "no such file of taggers"),
    ],
)
def test_mistakes_are_told_before_any_work(
    write_documents: Any, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], what: str
) -> None:
    root = write_documents(documents("a", 1))
    assert tag(root, *options) == 2
    assert what in capsys.readouterr().err
    assert not list(root.rglob("manifest.json"))


def test_a_folder_of_something_else_is_not_replaced(write_documents: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_documents(documents("a", 1))
    mine = root / "attributes" / "char_length_v1" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    assert tag(root, "--taggers", "char_length_v1") == 2
    assert "is not an attributes artifact" in capsys.readouterr().err
    assert mine.read_text() == "precious"


def test_dry_run_prints_the_plan_and_writes_nothing(write_documents: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_documents(documents("a", 1))
    assert tag(root, "--taggers", "char_length_v1", "--dry-run") == 0
    assert "char_length_v1" in capsys.readouterr().out
    assert not (root / "attributes").exists()


def test_killed_and_run_again_gives_the_same_bytes_and_keeps_finished_files(
    write_documents: Any, tmp_path: Path
) -> None:
    for name in "abcde":
        root = write_documents(documents(name, 5), f"{name}.jsonl.gz")
    module = tmp_path / "slow.py"
    module.write_text(OWN_TAGGER)
    program = [sys.executable, "-c", "from dolma_data.cli import main; main()", "tag", "--documents", str(root)]
    program += ["--taggers", "shouting", "char_length_v1", "--experiment", "x", "--tagger-modules", str(module)]
    slow = subprocess.Popen(program, env=os.environ | {"TEST_DELAY": "0.5"}, stderr=subprocess.DEVNULL)
    journal = root / "attributes/x.progress.partial/finished.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    assert not (root / "attributes/x").exists()
    finished = sorted((root / "attributes/x.progress.partial/content").glob("*.gz"))
    assert 2 <= len(finished) < 5
    before = {path.name: path.stat().st_mtime_ns for path in finished}
    again = subprocess.run(program, check=True, capture_output=True, text=True)
    assert "of 5 files are finished already" in again.stderr
    kept = {name: (root / "attributes/x" / name).stat().st_mtime_ns for name in before}
    assert kept == before
    assert sorted(path.name for path in (root / "attributes").iterdir()) == ["x"]
    resumed = digest(root / "attributes/x")
    subprocess.run(program, check=True, capture_output=True)
    assert digest(root / "attributes/x") == resumed


def test_finished_files_of_changed_documents_are_made_again(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents(documents("a", 2), "a.jsonl.gz")
    write_documents([*documents("b", 2), b"broken"], "b.jsonl.gz")
    assert tag(root, "--taggers", "char_length_v1") == 2  # a is finished, b has failed rows
    write_documents(documents("c", 3), "a.jsonl.gz")
    write_documents(documents("b", 2), "b.jsonl.gz")
    assert tag(root, "--taggers", "char_length_v1") == 0
    assert [row["id"] for row in read_jsonl(root / "attributes/char_length_v1/a.jsonl.gz")] == ["c0", "c1", "c2"]


def test_list_names_every_tagger_with_types_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["list"]) == 0
    output = capsys.readouterr().out
    assert "char_length_v1\n    Code points of the text.\n    types: length\n    source: code points\n" in output
    assert "has_naughty_word: a list of words and phrases, one a line, --resources.c4_v2 FILE" in output
    assert "Rae et al. 2021" in output


def test_a_profile_reports_where_the_time_goes_and_a_trial_writes_nothing(
    write_documents: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_documents(documents("a", 3))
    assert tag(root, "--taggers", "char_length_v1", "--profile.enable", "--profile.steps", "2") == 0
    assert "function calls" in capsys.readouterr().out
    assert not (root / "attributes").exists()
    report = tmp_path / "report.txt"
    options = ("--profile.enable", "--profile.sort-key", "cumtime", "--profile.output", str(report))
    assert tag(root, "--taggers", "char_length_v1", *options) == 0
    assert "Ordered by: cumulative time" in report.read_text()
    assert (root / "attributes/char_length_v1/a.jsonl.gz").is_file()


def test_taggers_come_from_modules_that_can_be_imported_and_from_files(
    write_documents: Any, read_jsonl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = OWN_TAGGER.replace("shouting", "shouting_by_name")
    (tmp_path / "own_module_of_taggers.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    root = write_documents([{"id": "a", "source": "s", "text": "ABc"}])
    assert tag(root, "--taggers", "shouting_by_name", "--tagger-modules", "own_module_of_taggers") == 0
    (row,) = read_jsonl(root / "attributes/shouting_by_name/a.jsonl.gz")
    assert row["attributes"] == {"shouting_by_name__shouting_by_name__capitals": [[0, 3, 2.0]]}
    assert tag(root, "--taggers", "shouting_by_name", "--tagger-modules", "no_such_module_of_taggers") == 2


def test_attributes_go_to_the_destinations_of_their_documents(
    write_documents: Any, read_jsonl: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = [write_documents(documents(name, 2), f"deep/{name}.jsonl.gz", name) for name in "ab"]
    taggers = ("--taggers", "char_length_v1", "doc_count_v1")
    places = [str(tmp_path / "out" / name) for name in "ab"]
    line = ["tag", "--documents", *map(str, roots), "--destination", *places, *taggers]
    assert execute(line) == 0
    (row, _) = read_jsonl(tmp_path / "out/b/deep/b.jsonl.gz")
    assert sorted(row["attributes"]) == ["char_length_v1__char_length_v1__length", "doc_count_v1__doc_count_v1__docs"]
    assert json.loads((tmp_path / "out/a/manifest.json").read_bytes())["files"][0]["path"] == "deep/a.jsonl.gz"
    assert not any((root / "attributes").exists() for root in roots)
    assert execute([*line, "--experiment", "e"]) == 0
    (row, _) = read_jsonl(tmp_path / "out/a/deep/a.jsonl.gz")
    assert sorted(row["attributes"]) == ["e__char_length_v1__length", "e__doc_count_v1__docs"]
    assert execute(["tag", "--documents", *map(str, roots), "--destination", places[0], *taggers]) == 2
    assert "1 destinations for 2 documents" in capsys.readouterr().err
    twin = write_documents(documents("c", 1), "deep/a.jsonl.gz", "c")
    two = ["--documents", str(roots[0]), str(twin), "--destination", places[0], places[0]]
    assert execute(["tag", *two, *taggers]) == 2
    assert "would be one file" in capsys.readouterr().err


def test_the_tagger_of_the_readme_works_and_is_short(
    write_documents: Any, read_jsonl: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    source = readme.partition("```python\n# shouting.py\n")[2].partition("```")[0]
    assert 0 < len(source.strip().splitlines()) <= 20
    (tmp_path / "shouting.py").write_text(source)
    root = write_documents([{"id": "a", "source": "s", "text": "ABcd"}, {"id": "b", "source": "s", "text": ""}])
    modules = ("--tagger-modules", str(tmp_path / "shouting.py"))
    assert tag(root, "--taggers", "shouting_v1", *modules) == 0
    rows = read_jsonl(root / "attributes/shouting_v1/a.jsonl.gz")
    assert [row["attributes"]["shouting_v1__shouting_v1__capitals"] for row in rows] == [[[0, 4, 0.5]], [[0, 0, 0.0]]]
    assert execute(["list", *modules]) == 0
    assert "shouting_v1\n    Fraction of the characters that are capitals.\n" in capsys.readouterr().out


@pytest.mark.parametrize("tagger", ["char_length_with_paragraphs_v1", "c4_v2", "spread", "pii_regex_v2"])
def test_a_document_of_too_many_spans_is_quarantined_and_the_mixer_counts_it_as_failed(
    tagger: str,
    write_documents: Any,
    read_jsonl: Any,
    dolma: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("pieces", "taggers.c4", "tag", "batch"):  # these import it
        monkeypatch.setattr(f"dolma_data.{name}.MOST_SPANS", 3)
    rows = [{"id": str(k), "source": "s", "text": "\n".join(["a@b.de jo"] * k)} for k in (2, 4, 3, 5, 1)]
    root = write_documents(rows, "a.jsonl")
    options = ["--taggers", tagger, "char_length_v1", "--experiment", "x"]
    if tagger == "spread":
        own = tmp_path / "spread.py"
        own.write_text(SPREAD)
        options += ["--tagger-modules", str(own)]
    assert tag(root, *options, "--max-failed", "2") == 0
    found = read_jsonl(root / "attributes/x/a.jsonl")
    assert [row["id"] for row in found] == ["2", None, "3", None, "1"]
    assert found[1]["quarantined"] == "more than 3 spans of one type"
    stream = {
        "name": "kept",
        "documents": [str(root)],
        "attributes": ["x"],
        "output": {"path": str(tmp_path / "mixed"), "discard_fields": ["attributes", "metadata"]},
        "filter": {"include": ["$.attributes[?(@.x__char_length_v1__length[0][2] > 0)]"]},
    }
    (tmp_path / "mix.json").write_text(json.dumps({"streams": [stream], "max_failed": 2}))
    assert dolma("mix", "-c", tmp_path / "mix.json") == 0
    manifest = json.loads((tmp_path / "mixed/manifest.json").read_text())
    assert manifest["counts"] == {"read": 5, "kept": 3, "dropped": 0, "failed": 2}
    assert [(row["line"], row["reason"]) for row in read_jsonl(tmp_path / "mixed/quarantine.jsonl")] == [
        (line, f"not scored in {root}/attributes/x/a.jsonl: more than 3 spans of one type") for line in (2, 4)
    ]


def test_a_row_of_attributes_that_no_reader_would_take_is_quarantined(
    write_documents: Any, read_jsonl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tag", "batch"):
        monkeypatch.setattr(f"dolma_data.{name}.MAX_LINE_BYTES", 2 << 20)
    root = write_documents([{"id": str(k), "source": "s", "text": "line\n" * k} for k in (1, 200_000, 2)], "a.jsonl")
    assert tag(root, "--taggers", "char_length_with_paragraphs_v1", "char_length_v1", "--max-failed", "1") == 0
    for name in ("char_length_with_paragraphs_v1", "char_length_v1"):
        rows = read_jsonl(root / "attributes" / name / "a.jsonl")
        assert [row["id"] for row in rows] == ["1", None, "2"]
        assert rows[1]["quarantined"] == "its row of attributes has more than 2 MiB"


def test_the_end_says_what_was_scored(write_documents: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    root = write_documents([{"id": "1", "text": "a text", "source": "s"}, b"{"])
    assert execute(["tag", "--documents", str(root), "--taggers", "char_length_v1", "--max-failed", "1"]) == 0
    last = caplog.messages[-1]
    assert last.startswith("tag: 2 read, 1 scored, 1 failed in ")
    assert last.endswith(f" s; attributes of 1 keys in {root}/attributes/char_length_v1")
