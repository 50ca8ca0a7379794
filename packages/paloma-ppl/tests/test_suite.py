import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.errors import UserError
from paloma_ppl.files import digest, digest_file
from paloma_ppl.suite import open_suite, read_held_out, read_split


@pytest.fixture
def copy(suite_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(suite_folder, tmp_path / "S")
    return tmp_path / "S"


def test_digest_is_that_of_the_folder(suite_folder: Path) -> None:
    assert open_suite(suite_folder).digest == digest(suite_folder)


def test_what_suite_json_does_not_name_is_no_content(copy: Path) -> None:
    before = open_suite(copy).digest
    (copy / "README.md").write_text("mine")
    assert open_suite(copy).digest == before


def test_changed_file_is_named(copy: Path, write_rows: Callable[..., Any]) -> None:
    write_rows(copy / "docs" / "val" / "val-00000000.jsonl.gz", [{"id": "1", "text": "other"}])
    with pytest.raises(UserError, match=r"digest differs.*docs/val/val-00000000\.jsonl\.gz"):
        open_suite(copy)


def test_missing_and_foreign_files_are_named(copy: Path, write_rows: Callable[..., Any]) -> None:
    write_rows(copy / "docs" / "val" / "val-00000001.jsonl.gz", [])
    with pytest.raises(UserError, match=r"not listed.*val-00000001"):
        open_suite(copy)
    (copy / "docs" / "val" / "val-00000001.jsonl.gz").unlink()
    (copy / "code" / "test" / "test-00000000.jsonl.gz").unlink()
    with pytest.raises(UserError, match=r"missing.*code/test/test-00000000"):
        open_suite(copy)


def test_counts_that_do_not_match_fail_the_run(copy: Path) -> None:
    manifest = json.loads((copy / "suite.json").read_text())
    manifest["sources"]["docs"]["val"]["documents"] += 1
    (copy / "suite.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="docs/val holds"):
        list(read_split(open_suite(copy), "val"))


def test_held_out_list_must_be_there_and_whole(copy: Path) -> None:
    path = copy / "held_out.jsonl.gz"
    rows = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(rows[1:])))
    with pytest.raises(UserError, match=r"held-out documents, suite\.json says"):
        list(read_held_out(open_suite(copy)))
    path.unlink()
    with pytest.raises(UserError, match="list of held-out documents is missing"):
        list(read_held_out(open_suite(copy)))


def replace_file(folder: Path, data: bytes) -> None:
    path = folder / "docs" / "val" / "val-00000000.jsonl.gz"
    path.write_bytes(data)
    manifest = json.loads((folder / "suite.json").read_text())
    manifest["sources"]["docs"]["val"]["files"][0]["digest"] = digest_file(path)
    (folder / "suite.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b'{"id": "1", "text": "a"}\n' * 5000)[:60], "damaged or cut off.*line 1"),
        (gzip.compress(b'{"id": "1", "text": "a"}\n{"id"'), r"not valid JSON.*val-00000000.*line 2"),
        (gzip.compress(b'{"id": "1", "text": "a"}\n{"id": "2", "text": "\xff"}'), r"not UTF-8.*val-00000000.*line 2"),
        (gzip.compress(b'{"id": "1", "text": ""}\n'), "document is empty.*line 1"),
        (gzip.compress(b'{"id": "1"}\n'), "has no text.*line 1"),
    ],
    ids=["half gzip", "half JSON", "no UTF-8", "empty text", "no text"],
)
def test_bad_rows_name_file_and_line(copy: Path, data: bytes, message: str) -> None:
    replace_file(copy, data)
    with pytest.raises(UserError, match=message):
        list(read_split(open_suite(copy), "val"))


def test_paloma_release_without_suite_json_is_read(tmp_path: Path, write_rows: Callable[..., Any]) -> None:
    write_rows(tmp_path / "R" / "c4_en" / "val" / "val-00000000.jsonl.gz", [{"id": 7, "text": "a b", "source": "c4"}])
    rows = [{"id": "x", "text": "c", "source": "reddit", "subdomain": "cooking"}]
    write_rows(tmp_path / "R" / "reddit" / "val" / "val-00000000.jsonl.gz", rows)
    suite = open_suite(tmp_path / "R")
    found = [(d.id, d.source, d.domain) for d in read_split(suite, "val")]
    assert found == [("7", "c4_en", "c4_en"), ("x", "reddit", "cooking")]
    assert suite.name == "R"
    assert list(read_held_out(suite)) == []
    with pytest.raises(UserError, match="no documents in test"):
        list(read_split(suite, "test"))


def test_what_is_no_suite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such suite"):
        open_suite(tmp_path / "nothing")
    with pytest.raises(UserError, match="no suite"):
        open_suite(tmp_path)


def test_limit_is_a_sample_that_only_grows(suite_folder: Path) -> None:
    suite = open_suite(suite_folder)
    three = [d.id for d in read_split(suite, "val", 3)]
    six = [d.id for d in read_split(suite, "val", 6)]
    everything = [d.id for d in read_split(suite, "val")]
    assert len(three) == 3
    assert set(three) < set(six) < set(everything)
    assert six == [identity for identity in everything if identity in six]
    with pytest.raises(UserError, match="limit of 0"):
        list(read_split(suite, "val", 0))
