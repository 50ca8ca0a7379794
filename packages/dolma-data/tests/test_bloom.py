from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.config.dedupe import BloomFilterConfig
from dolma_data.dedupe.bloom import Addition, expected_rate, new_filter, read_filter, size_filter, write_filter
from dolma_data.errors import UserError
from dolma_data.files import digest
from dolma_data.hashes import Hashes, hash_texts


def hashes(*texts: str) -> Hashes:
    return hash_texts(text.encode() for text in texts)


def numbered(first: int, after: int) -> Hashes:
    return hashes(*map(str, range(first, after)))


def config(**settings: Any) -> BloomFilterConfig:
    return BloomFilterConfig(file="unused", **settings)


def document(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "text": text, "source": "s"}


def test_what_was_added_is_held_in_the_order_of_rows() -> None:
    held = new_filter(10_000, 7)
    assert held.look_up(hashes("a", "b", "a", "c", "b"), add=True).tolist() == [False, False, True, False, True]
    assert held.added == 3
    assert held.look_up(hashes("c", "d", "d"), add=False).tolist() == [True, False, False]
    assert held.added == 3


@given(st.lists(st.text(max_size=3), max_size=40), st.integers(1, 40))
def test_pieces_of_the_input_change_nothing_and_nothing_added_is_missed(texts: list[str], piece: int) -> None:
    whole, parts = new_filter(300, 3), new_filter(300, 3)
    found = whole.look_up(hashes(*texts), add=True).tolist()
    pieces = [texts[k : k + piece] for k in range(0, len(texts), piece)]
    assert [held for part in pieces for held in parts.look_up(hashes(*part), add=True).tolist()] == found
    assert all(found[k] for k, text in enumerate(texts) if text in texts[:k])
    assert np.array_equal(whole.words, parts.words)


def test_the_size_is_exact_and_the_rate_is_the_one_asked_for() -> None:
    held = size_filter(config(estimated_doc_count=20_000, desired_false_positive_rate=0.01), 5)
    assert (held.bits, held.probes) == (191_702, 7)  # -n ln p / ln(2)^2 and bits / n ln(2)
    held.look_up(numbered(0, 20_000), add=True)
    assert held.false_positive_rate == pytest.approx(0.01, rel=0.05)
    assert expected_rate(held.bits, held.probes, 20_000) == pytest.approx(0.01, rel=0.01)
    wrong = held.look_up(numbered(20_000, 120_000), add=False).mean()
    assert wrong == pytest.approx(held.false_positive_rate, rel=0.1)


def test_a_size_without_a_count_takes_the_units_of_the_run() -> None:
    held = size_filter(config(size_in_bytes=1_250), 1_000)
    assert (held.bits, held.probes) == (10_000, 7)
    assert size_filter(config(size_in_bytes=1_250, estimated_doc_count=5_000), 1_000).probes == 1


def test_a_filter_is_read_as_it_was_written(tmp_path: Path) -> None:
    held = new_filter(1_001, 5)
    held.look_up(hashes("a", "b"), add=True)
    write_filter(str(tmp_path / "filter"), held)
    again = read_filter(str(tmp_path / "filter"))
    assert (again.bits, again.probes, again.added, again.history) == (1_001, 5, 2, [])
    assert np.array_equal(again.words, held.words)
    assert again.look_up(hashes("b", "x"), add=True).tolist() == [True, False]


def test_files_that_are_no_filters_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "filter.bin"
    path.write_bytes(struct.pack("<IIIQ", 0x81F0F117, 1, 0, 8) + bytes(8))
    with pytest.raises(UserError, match="a filter of allenai/dolma: its hash differs"):
        read_filter(str(path))
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="not a Bloom filter"):
        read_filter(str(path))
    write_filter(str(path), new_filter(1_000, 3))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="cut off"):
        read_filter(str(path))
    held = new_filter(1_000, 3)
    held.history.append(Addition("a", "sha256:0"))
    write_filter(str(path), held)
    whole = path.read_bytes()
    for history in (b"\xff", b"{", b"x}]", b"1]"):
        path.write_bytes(whole[: -len(history)] + history)
        with pytest.raises(UserError, match="list of what it holds is damaged"):
            read_filter(str(path))
    path.write_bytes(whole[:12] + bytes(4) + whole[16:])  # no probes
    with pytest.raises(UserError, match="damaged or cut off"):
        read_filter(str(path))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({}, "has no size"),
        ({"estimated_doc_count": 9}, "has no size"),
        ({"desired_false_positive_rate": 0.1}, "has no size"),
        ({"size_in_bytes": -1}, "size_in_bytes is -1"),
        ({"size_in_bytes": 1 << 60}, "takes 1,152,921,504.6 GB, this machine has"),
        ({"estimated_doc_count": 9, "desired_false_positive_rate": 1.0}, "rate is 1.0"),
    ],
)
def test_sizes_that_make_no_sense(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        size_filter(config(**settings), 1)


SIZE = ("--bloom-filter.estimated-doc-count", "1000", "--bloom-filter.desired-false-positive-rate", "1e-9")
PARAGRAPHS = ("--dedupe.paragraphs.attribute_name", "dup")


def test_a_filter_goes_from_run_to_run(write_documents: Any, read_jsonl: Any, dolma: Any, tmp_path: Path) -> None:
    first = write_documents([document("1", "a\nb\na")], root="first")
    second = write_documents([document("2", "b\nc\nc")], root="second")
    path = tmp_path / "filters" / "filter"
    assert dolma("dedupe", "--documents", first, *PARAGRAPHS, "--bloom-filter.file", path, *SIZE) == 0
    rows = [read_jsonl(first / "attributes/dup/a.jsonl.gz")[0]["attributes"]]
    only_read = ("--bloom-filter.file", path, "--bloom-filter.read-only")
    before = path.read_bytes()
    assert dolma("dedupe", "--documents", second, *PARAGRAPHS, *only_read) == 0
    assert path.read_bytes() == before
    rows.append(read_jsonl(second / "attributes/dup/a.jsonl.gz")[0]["attributes"])
    assert dolma("dedupe", "--documents", second, *PARAGRAPHS, "--bloom-filter.file", path) == 0
    rows.append(read_jsonl(second / "attributes/dup/a.jsonl.gz")[0]["attributes"])
    assert rows == [{"dup": [[4, 5, 1]]}, {"dup": [[0, 2, 1]]}, {"dup": [[0, 2, 1], [4, 5, 1]]}]
    assert not (second / "attributes/dup/matches.jsonl.gz").exists()
    assert [addition.path.rpartition("/documents/")[0] for addition in read_filter(str(path)).history] == [
        str(first),
        str(second),
    ]


def test_a_leftover_filter_that_holds_the_corpus_is_named(
    write_documents: Any, dolma: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_documents([document("1", "a\nb")])
    file = ("--bloom-filter.file", tmp_path / "filter", *SIZE)
    options = ("--documents", root, *PARAGRAPHS, *file)
    assert dolma("dedupe", *options) == 0
    written = digest(root / "attributes/dup")
    for others in (("--dedupe.min-words", "1"), ("--dedupe.name", "other"), ("--bloom-filter.size-in-bytes", "99")):
        assert dolma("dedupe", *options, *others) == 2
        assert f"the filter already holds {root}/documents/a.jsonl.gz" in capsys.readouterr().err
    assert digest(root / "attributes/dup") == written
    assert dolma("tag", "--documents", root, "--taggers", "char_length_v1", "--experiment", "dup") == 0  # in its place
    assert dolma("dedupe", *options) == 2
    shutil.rmtree(root / "attributes/dup")
    assert dolma("dedupe", *options) == 2
    copy = write_documents([document("1", "a\nb")], root="copy")
    assert dolma("dedupe", "--documents", copy, *PARAGRAPHS, *file) == 2
    assert f"holds {copy}/documents/a.jsonl.gz (added as {root}/documents/a.jsonl.gz)" in capsys.readouterr().err


@pytest.mark.parametrize("compat", [(), ("--compat", "dolma")])
def test_runs_that_are_finished_are_not_done_again(
    write_documents: Any, dolma: Any, tmp_path: Path, compat: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    file = tmp_path / "filter"
    commands = []
    for name in ("first", "second"):
        root = write_documents([document(name, "a\nb\na")], root=name)
        commands.append(["dedupe", "--documents", root, *PARAGRAPHS, "--bloom-filter.file", file, *SIZE, *compat])
        assert dolma(*commands[-1]) == 0

    def state() -> list[str]:
        return [digest(tmp_path / name / "attributes") for name in ("first", "second")] + [digest(file)]

    before = state()
    records = [path for name in ("first", "second") for path in (tmp_path / name).rglob("provenance/*")]
    for record in records:
        record.unlink()  # as a kill before the end leaves it
    for command in commands:
        caplog.clear()
        assert dolma(*command) == 0
        assert "finished already" in caplog.text
        assert "everything in them" not in caplog.text
    assert state() == before
    assert not list(tmp_path.rglob("*.partial"))
    (record,) = (tmp_path / "second/attributes/dup/provenance").iterdir()
    row = json.loads(record.read_bytes())
    assert row["counts"] == {"read": 1, "kept": 1, "dropped": 0, "failed": 0}
    assert row["outputs"] == {str(tmp_path / "second/attributes/dup"): digest(tmp_path / "second/attributes/dup")}


def test_what_has_no_filter_yet_is_done_again(write_documents: Any, dolma: Any, tmp_path: Path) -> None:
    root = write_documents([document("1", "a\nb\na")])
    file = tmp_path / "filter"
    command = ["dedupe", "--documents", root, *PARAGRAPHS, "--bloom-filter.file", file, *SIZE]
    assert dolma(*command) == 0
    before = digest(root / "attributes"), digest(file)
    file.unlink()
    assert dolma(*command) == 0
    assert (digest(root / "attributes"), digest(file)) == before


def test_a_verified_run_unmarks_false_positives_and_names_what_is_repeated(
    write_documents: Any, read_jsonl: Any, dolma: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root = write_documents([document(str(k), f"line {k % 40}\nalone {k}") for k in range(60)])
    tiny = ("--bloom-filter.file", tmp_path / "filter", "--bloom-filter.size-in-bytes", "20")
    assert dolma("dedupe", "--documents", root, *PARAGRAPHS, *tiny, "--dedupe.verify") == 0
    rows = read_jsonl(root / "attributes/dup/a.jsonl.gz")
    assert [len(row["attributes"]["dup"]) for row in rows] == [0] * 40 + [1] * 20
    matches = read_jsonl(root / "attributes/dup/matches.jsonl.gz")
    assert [(row["id"], row["first_id"]) for row in matches] == [(str(k + 40), str(k)) for k in range(20)]
    held = read_filter(str(tmp_path / "filter"))
    wrong = 100 - held.added  # new units that were taken for known ones
    assert wrong > 10
    assert f"20 marks verified, {wrong} false positives unmarked" in caplog.text


def test_units_held_before_the_run_cannot_be_verified_and_stay(
    write_documents: Any, read_jsonl: Any, dolma: Any, tmp_path: Path
) -> None:
    old = write_documents([document("1", "a")], root="old")
    new = write_documents([document("2", "a\nb\nb")], root="new")
    path = ("--bloom-filter.file", tmp_path / "filter")
    assert dolma("dedupe", "--documents", old, *PARAGRAPHS, *path, *SIZE) == 0
    assert dolma("dedupe", "--documents", new, *PARAGRAPHS, *path, "--dedupe.verify") == 0
    assert [(row["start"], row["first_id"]) for row in read_jsonl(new / "attributes/dup/matches.jsonl.gz")] == [
        (0, None),
        (4, "2"),
    ]


def test_any_number_of_processes_gives_the_same_attributes_and_filter(
    write_documents: Any, dolma: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 500)
    root = write_documents([document(str(k), f"line {k % 7}\nline {k % 5}\nunique {k}") for k in range(60)])
    found = []
    for processes in ("1", "2"):
        tiny = ("--bloom-filter.file", tmp_path / processes, "--bloom-filter.size-in-bytes", "24")
        assert dolma("dedupe", "--documents", root, *PARAGRAPHS, *tiny, "--processes", processes) == 0
        found.append((digest(root / "attributes/dup"), (tmp_path / processes).read_bytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--dedupe.method", "bloom"), "needs a filter"),
        (("--dedupe.method", "exact", "--bloom-filter.file", "f"), "the method exact uses no filter"),
        (("--dedupe.verify",), "dedupe.verify is about the method bloom"),
        (("--bloom-filter.file", "nowhere", "--bloom-filter.read-only"), "no such filter"),
        (("--bloom-filter.file", "nowhere"), "has no size"),
    ],
)
def test_combinations_that_make_no_sense(
    write_documents: Any, dolma: Any, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], what: str
) -> None:
    root = write_documents([document("1", "x")])
    assert dolma("dedupe", "--documents", root, *PARAGRAPHS, *options) == 2
    assert what in capsys.readouterr().err
