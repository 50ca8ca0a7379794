import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.config import CheckContaminationConfig, DecontaminationSetConfig
from paloma_ppl.contamination import check_contamination, has_words, paragraphs, write_decontamination_set
from paloma_ppl.errors import UserError
from paloma_ppl.suite import open_suite, read_held_out, read_split


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("one", 1),
        ("can't stop", 2),
        ("3,456.78 e.g. x", 3),
        ("--- *** !!! 🙂 🙂", 0),
        ("foo_bar a.b", 2),
        ("日本語", 3),
        ("naïve—dash", 2),
        ("l'homme d’or", 2),
    ],
)
def test_words_are_unicode_words_with_a_letter_or_digit(text: str, words: int) -> None:
    assert [has_words(text, minimum) for minimum in (words, words + 1)] == [True, False]


def test_paragraphs_are_stripped_lines_of_enough_words() -> None:
    text = "one two three\n\t four five  \r\n\nsix seven eight nine"
    assert list(paragraphs(text, 3)) == ["one two three", "six seven eight nine"]
    assert list(paragraphs(text, 2)) == ["one two three", "four five", "six seven eight nine"]


def test_set_lists_lines_of_both_splits_once_and_all_held_out_documents(
    suite_folder: Path, tmp_path: Path, read_rows: Callable[..., Any]
) -> None:
    suite = open_suite(suite_folder)
    manifest = write_decontamination_set(DecontaminationSetConfig(suite=suite_folder, output=tmp_path / "D"))
    rows = read_rows(tmp_path / "D" / "paragraphs.jsonl.gz")
    expected = {
        line.strip()
        for split in ("val", "test")
        for document in read_split(suite, split)
        for line in document.text.split("\n")
        if len(line.split()) >= 13
    }
    texts = [row["text"] for row in rows if row["kind"] == "paragraph"]
    assert set(texts) == expected
    assert len(texts) == len(expected) == manifest["counts"]["paragraphs"]
    held_out = [(row["source"], row["id"]) for row in rows if row["kind"] == "document"]
    assert sorted(held_out) == sorted((source, identity) for source, identity, _ in read_held_out(suite))
    assert manifest["rule"] == {"unit": "line", "minimum_words": 13, "words": "unicode", "exempt_sources": []}


def test_exempt_source_gives_no_lines_but_its_held_out_documents(
    suite_folder: Path, tmp_path: Path, read_rows: Callable[..., Any]
) -> None:
    config = DecontaminationSetConfig(suite=suite_folder, output=tmp_path / "D", exempt_source=("code",))
    write_decontamination_set(config)
    kinds = {(row["kind"], row["source"]) for row in read_rows(tmp_path / "D" / "paragraphs.jsonl.gz")}
    assert kinds == {("paragraph", "docs"), ("document", "docs"), ("document", "code")}
    with pytest.raises(UserError, match="no source 'cod'"):
        write_decontamination_set(DecontaminationSetConfig(suite=suite_folder, output=tmp_path, exempt_source=("cod",)))


@pytest.fixture
def training_rows(suite_folder: Path, documents: Path, read_rows: Callable[..., Any]) -> list[dict[str, str]]:
    """The documents that are not held out."""
    held_out = {(source, identity) for source, identity, _ in read_held_out(open_suite(suite_folder))}
    rows = read_rows(documents / "documents" / "part.jsonl.gz")
    return [row for row in rows if (row["source"], row["id"]) not in held_out]


def test_clean_training_documents_are_found_clean(
    suite_folder: Path, training_rows: list[dict[str, str]], tmp_path: Path, write_rows: Callable[..., Any]
) -> None:
    path = write_rows(tmp_path / "training.jsonl.gz", training_rows)
    report = check_contamination(CheckContaminationConfig(suite=suite_folder, documents=path))
    assert report["documents_contaminated"] == 0
    assert report["first"] == []
    assert all(row["paragraphs"] and row["held_out_documents"] for row in report["sources"])


def test_planted_paragraph_and_held_out_document_are_found_where_they_lie(
    suite_folder: Path, training_rows: list[dict[str, str]], tmp_path: Path, write_rows: Callable[..., Any]
) -> None:
    suite = open_suite(suite_folder)
    lines = [line for d in read_split(suite, "test") if d.source == "docs" for line in paragraphs(d.text, 13)]
    held_out = next(identity for source, identity, _ in read_held_out(suite) if source == "code")
    rows = list(training_rows)
    rows.insert(2, {"id": "planted", "source": "web", "text": f"before\n\t{lines[0]} \r\nafter"})
    rows.append({"id": held_out, "source": "code", "text": "changed"})
    rows.append({"id": held_out, "source": "web", "text": "same id, other source"})
    path = write_rows(tmp_path / "training.jsonl.gz", rows)
    report = check_contamination(
        CheckContaminationConfig(suite=suite_folder, documents=path, output=tmp_path / "found.json")
    )
    assert json.loads((tmp_path / "found.json").read_text()) == report
    assert report["documents_contaminated"] == 2
    assert [(found["line"], found["kind"]) for found in report["first"]] == [
        (3, "paragraph"),
        (len(rows) - 1, "document"),
    ]
    found = {row["source"]: (row["paragraphs_found"], row["held_out_documents_found"]) for row in report["sources"]}
    assert found == {"docs": (1, 0), "code": (0, 1)}
