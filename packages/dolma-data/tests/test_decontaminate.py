from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.batch import Batch
from dolma_data.cli import execute
from dolma_data.decontaminate.contamination import make_matcher, self_test
from dolma_data.decontaminate.evaluation_texts import Unit, read_set
from dolma_data.errors import UserError
from dolma_data.files import digest

UNITS = [
    {
        "kind": "paragraph",
        "id": "e1",
        "source": "wiki",
        "domain": "history",
        "text": "Überall steht dieselbe Zeile 🎉.",
    },
    {"kind": "paragraph", "id": "e2", "source": "wiki", "domain": "art", "text": "A second line of evaluation text."},
    {"kind": "paragraph", "id": "e3", "source": "web", "domain": "x", "text": "A second line of evaluation text."},
    {"kind": "document", "id": "held", "source": "code", "domain": "y", "text": None},
]


def write_set(folder: Path, units: list[dict[str, Any]], **manifest: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data = b"".join(json.dumps(unit).encode() + b"\n" for unit in units)
    (folder / "paragraphs.jsonl.gz").write_bytes(gzip.compress(data, mtime=0))
    counts = {kind + "s": sum(unit["kind"] == kind for unit in units) for kind in ("paragraph", "document")}
    rule = {"unit": "line", "minimum_words": 1, "words": "unicode", "exempt_sources": []}
    content = {"artifact": "decontamination_set", "format_version": 1, "rule": rule, "counts": counts}
    (folder / "manifest.json").write_text(json.dumps(content | {"suite_digest": "sha256:" + "0" * 64} | manifest))
    return folder


def decontaminate(root: Path, units: Path, *options: str) -> int:
    return execute(["decontaminate", "--documents", str(root), "--decontamination-set", str(units), *options])


def test_hits_are_spans_and_name_the_evaluation_unit(
    write_documents: Any, read_jsonl: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rows = [
        {"id": "1", "text": "🎉 clean\n  Überall steht dieselbe Zeile 🎉.\t\nend", "source": "code"},
        {"id": "2", "text": "A second line of evaluation text. And more.", "source": "code"},
        {"id": "held", "text": "whole\nA second line of evaluation text.", "source": "code"},
        {"id": "held", "text": "same id, other source", "source": "web"},
    ]
    root = write_documents(rows)
    assert decontaminate(root, write_set(tmp_path / "set", UNITS)) == 0
    folder = root / "attributes" / "decontamination"
    assert [row["attributes"] for row in read_jsonl(folder / "a.jsonl.gz")] == [
        {"decontamination": [[8, 43, 1.0]]},
        {},
        {"decontamination": [[0, 39, 1.0], [6, 39, 1.0]]},
        {},
    ]
    assert rows[0]["text"][8:43] == "  Überall steht dieselbe Zeile 🎉.\t\n"
    matches = read_jsonl(folder / "matches.jsonl.gz")
    assert [(row["id"], row["kind"], row["unit_id"], row["unit_source"], row["unit_domain"]) for row in matches] == [
        ("1", "paragraph", "e1", "wiki", "history"),
        ("held", "document", "held", "code", "y"),
        ("held", "paragraph", "e2", "wiki", "art"),
    ]
    assert [(row["start"], row["end"]) for row in matches] == [(8, 43), (0, 39), (6, 39)]
    assert [(row["file"], row["line"]) for row in matches] == [("a.jsonl.gz", 1), ("a.jsonl.gz", 3), ("a.jsonl.gz", 3)]
    assert "code: 2 of 3 documents hit (66.667%), 74 of 128 characters" in caplog.text
    assert "web: 0 of 1 documents hit" in caplog.text
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["taggers"][0]["digest"] == digest(tmp_path / "set")


line = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=30).map(str.strip)


@given(st.lists(line.filter(bool), min_size=1, max_size=5), st.lists(line, max_size=5))
def test_every_planted_line_is_found_and_no_other(planted: list[str], others: list[str]) -> None:
    matcher = make_matcher([Unit("paragraph", str(k), "s", "d", text) for k, text in enumerate(planted)])
    texts = others + [f" \t{text}\u3000" for text in planted]
    document = {"id": "t", "source": "t", "text": "\n".join(texts)}
    hits = matcher.find(Batch([document]))
    found = [document["text"][hit.start : hit.end].strip() for hit in hits]
    assert found == [text.strip() for text in texts if text.strip() in planted]
    assert [planted[hit.unit] for hit in hits] == found


def test_the_self_test_tells_a_unit_that_can_never_be_found(tmp_path: Path) -> None:
    for text in ("two\nlines", " space before", "space after "):
        units = [Unit("paragraph", "e0", "s", "d", "fine"), Unit("paragraph", "e1", "s", "d", text)]
        with pytest.raises(UserError, match="self-test: the unit of 'e1'") as error:
            self_test(make_matcher(units), units, tmp_path)
        assert error.value.line == 2


def test_the_self_test_fails_with_a_matcher_of_another_set(tmp_path: Path) -> None:
    units = [Unit("document", "e0", "s", "d", None)]
    with pytest.raises(UserError, match="self-test"):
        self_test(make_matcher([Unit("document", "e1", "s", "d", None)]), units, tmp_path)


@pytest.mark.parametrize(
    ("units", "manifest", "what"),
    [
        ([], {}, "the decontamination set is empty"),
        (UNITS, {"counts": {"paragraphs": 9, "documents": 1}}, "its manifest says"),
        (UNITS, {"artifact": "documents"}, "not a decontamination set"),
        (UNITS, {"format_version": 7}, "not a decontamination set"),
        ([*UNITS, {"kind": "paragraph"}], {}, "paragraphs.jsonl.gz, line 5"),
        ([{**UNITS[0], "text": None}], {}, "a unit without its text"),
        ([{**UNITS[0], "text": " x "}], {}, "self-test"),
    ],
)
def test_a_set_that_breaks_its_contract_is_refused_before_any_work(
    write_documents: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    units: list[dict[str, Any]],
    manifest: dict[str, Any],
    what: str,
) -> None:
    root = write_documents([{"id": "1", "text": "x", "source": "s"}])
    assert decontaminate(root, write_set(tmp_path / "set", units, **manifest)) == 2
    assert what in capsys.readouterr().err
    assert not (root / "attributes").exists()


def test_units_come_back_as_written(tmp_path: Path) -> None:
    assert read_set(write_set(tmp_path, UNITS)) == [Unit(**unit) for unit in UNITS]


def test_any_number_of_processes_gives_the_same_bytes(
    write_documents: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 500)
    texts = ["plain", *(unit["text"] or "x" for unit in UNITS)]
    rows = [{"id": str(k), "text": f"{k}\n{texts[k % 5]}", "source": f"s{k % 3}"} for k in range(50)]
    root = write_documents(rows)
    units = write_set(tmp_path / "set", UNITS)
    digests = []
    for processes in ("1", "2"):
        assert decontaminate(root, units, "--name", "clean", "--processes", processes) == 0
        digests.append(digest(root / "attributes" / "clean"))
    assert digests[0] == digests[1]
