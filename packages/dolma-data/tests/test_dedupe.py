from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.annotate import Chunk, Scored
from dolma_data.cli import app
from dolma_data.command_line import run
from dolma_data.config.dedupe import DedupeRule, DocumentKey, ParagraphKey
from dolma_data.dedupe import Repetitions, hash_chunk, mark_chunk, parse_key
from dolma_data.errors import UserError
from dolma_data.files import digest
from dolma_data.hashes import HashIndex, first_copies, hash_texts

PARAGRAPHS = DedupeRule(paragraphs=ParagraphKey(attribute_name="dup"))


def document(name: str, text: str, source: str = "s", **metadata: Any) -> dict[str, Any]:
    return {"id": name, "text": text, "source": source, "metadata": metadata}


def dedupe(root: Path, *options: str) -> int:
    return run(app, ["dedupe", "--documents", str(root), *options])


def mark(rule: DedupeRule, chunks: Sequence[Sequence[dict[str, Any]]]) -> list[Scored]:
    """Both passes over documents cut into chunks, in this process."""
    made = []
    line = 1
    for rows in chunks:
        made.append(Chunk.of_lines(0, line, [json.dumps(row).encode() for row in rows], last=False))
        line += len(rows)
    found = Repetitions(hash_chunk(rule, chunk) for chunk in made)
    return [mark_chunk(rule, replace(chunk, attached=found.of(chunk))) for chunk in made]


def spans(scored: Sequence[Scored]) -> list[Any]:
    return [json.loads(line)["attributes"] for part in scored for line in part.outputs[0].splitlines()]


def test_the_first_copy_in_order_of_files_and_rows_is_kept(write_documents: Any, read_jsonl: Any) -> None:
    write_documents([document("late", "same text")], "b.jsonl.gz")
    root = write_documents([document("one", "other"), document("first", "same text"), document("again", "same text")])
    assert dedupe(root, "--dedupe.documents.attribute_name", "dup", "--dedupe.name", "exact") == 0
    folder = root / "attributes" / "exact"
    assert read_jsonl(folder / "a.jsonl.gz") == [
        {"id": "one", "attributes": {}, "source": "s"},
        {"id": "first", "attributes": {}, "source": "s"},
        {"id": "again", "attributes": {"dup": [[0, 9, 1]]}, "source": "s"},
    ]
    assert read_jsonl(folder / "b.jsonl.gz") == [{"id": "late", "attributes": {"dup": [[0, 9, 1]]}, "source": "s"}]
    match = {"source": "s", "start": 0, "end": 9, "first_id": "first", "first_source": "s"}
    assert read_jsonl(folder / "matches.jsonl.gz") == [{"id": "again"} | match, {"id": "late"} | match]
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["name"] == "exact"
    assert manifest["taggers"][0]["keys"] == ["dup"]


def test_paragraph_spans_are_code_points_with_their_newline(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents(
        [document("1", "Überall 🎉\neins\n\nÜberall 🎉"), document("2", "zwei\neins\nÜberall 🎉", "t")]
    )
    assert dedupe(root, "--dedupe.paragraphs.attribute_name", "dup") == 0
    first, second = read_jsonl(root / "attributes/dup/a.jsonl.gz")
    assert first["attributes"] == {"dup": [[16, 25, 1]]}
    assert second["attributes"] == {"dup": [[5, 10, 1], [10, 19, 1]]}
    assert [row["first_id"] for row in read_jsonl(root / "attributes/dup/matches.jsonl.gz")] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[4, 8], [8, 9], [9, 23]]),
        ({"skip_empty": True}, [[4, 8], [9, 23]]),
        ({"min_length": 4}, [[9, 23]]),
        ({"min_length": 15}, []),
        ({"min_words": 3}, [[9, 23]]),
        ({"min_words": 4}, []),
    ],
)
def test_short_and_blank_paragraphs_are_left_alone(options: dict[str, Any], expected: list[list[int]]) -> None:
    rule = DedupeRule(paragraphs=PARAGRAPHS.paragraphs, **options)
    rows = [document("1", "abc\n\nthree words is"), document("2", "new\nabc\n\nthree words is")]
    found = spans(mark(rule, [rows]))[1]["dup"]
    assert [span[:2] for span in found] == expected


def test_another_separator(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents([document("1", "a. b\n\nc\n\na. b\n\nd")])
    options = ("--dedupe.paragraphs.paragraph_separator", "\n\n")
    assert dedupe(root, "--dedupe.paragraphs.attribute_name", "dup", *options) == 0
    assert read_jsonl(root / "attributes/dup/a.jsonl.gz")[0]["attributes"] == {"dup": [[9, 15, 1]]}


def test_documents_with_the_same_address_are_the_same() -> None:
    rule = DedupeRule(documents=DocumentKey(attribute_name="dup", key="$.metadata.url"))
    rows = [document("1", "one", url="x.org"), document("2", "twenty", url="x.org"), document("3", "one", url="y.org")]
    assert spans(mark(rule, [rows])) == [{}, {"dup": [[0, 6, 1]]}, {}]


def test_skipped_documents_have_an_empty_list() -> None:
    rule = DedupeRule(documents=DocumentKey(attribute_name="dup"), min_length=3)
    assert spans(mark(rule, [[document("1", "xy"), document("2", "xy"), document("3", "xyz")]])) == [
        {"dup": []},
        {"dup": []},
        {},
    ]


lines = st.sampled_from(["a", "b", "", "ü🎉", "long line here"])
corpora = st.lists(st.lists(lines, min_size=1, max_size=5).map("\n".join), max_size=8)


@given(corpora, st.integers(1, 8))
def test_repeated_paragraphs_are_those_a_set_of_seen_ones_finds(texts: list[str], chunk: int) -> None:
    seen: set[str] = set()
    expected = []
    for text in texts:
        found = []
        start = 0
        for paragraph in text.split("\n") if text else ():
            end = min(start + len(paragraph) + 1, len(text))
            if paragraph in seen:
                found.append([start, end, 1])
            seen.add(paragraph)
            start = end
        expected.append({"dup": found})
    rows = [document(str(k), text) for k, text in enumerate(texts)]
    assert spans(mark(PARAGRAPHS, [rows[k : k + chunk] for k in range(0, len(rows), chunk)])) == expected


@given(st.lists(st.sampled_from("abcdef"), max_size=30))
def test_first_copies_are_positions_of_the_first_equal_text(texts: list[str]) -> None:
    hashes = hash_texts(text.encode() for text in texts)
    assert first_copies(hashes).tolist() == [texts.index(text) for text in texts]
    index = HashIndex(hashes)
    asked = hash_texts(text.encode() for text in "afgz")
    assert index.find(asked).tolist() == [texts.index(text) if text in texts else -1 for text in "afgz"]


def test_hashes_that_share_their_upper_half_are_different() -> None:
    hashes = np.array([[1, 5], [1, 4], [1, 5], [2, 5]], dtype=np.uint64)
    assert first_copies(hashes).tolist() == [0, 1, 0, 3]


def test_any_number_of_processes_gives_the_same_bytes(write_documents: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 500)
    texts = [f"line {k % 7}\nline {k % 5}\nunique {k}" for k in range(60)]
    root = write_documents([*(document(str(k), text) for k, text in enumerate(texts[:40])), b"broken"])
    write_documents([document(str(k), text) for k, text in enumerate(texts[40:])], "b/b.jsonl")
    digests = []
    for processes in ("1", "2"):
        options = ("--dedupe.paragraphs.attribute_name", "dup", "--processes", processes, "--max-failed", "1")
        assert dedupe(root, *options) == 0
        digests.append(digest(root / "attributes/dup"))
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ((), "needs one of documents and paragraphs"),
        (
            ("--dedupe.documents.attribute_name", "a", "--dedupe.paragraphs.attribute_name", "b"),
            "needs one of documents and paragraphs",
        ),
        (("--dedupe.documents.attribute_name", "a", "--dedupe.documents.key", "text"), "did you mean $.text?"),
        (("--dedupe.documents.attribute_name", "a", "--dedupe.documents.key", "$.metadata.url"), "no text at $.meta"),
        (("--dedupe.paragraphs.attribute_name", "a", "--dedupe.min_words", "-1"), "dedupe.min_words is -1"),
        (("--dedupe.paragraphs.attribute_name", "a", "--dedupe.min_wordz", "1"), "min-words"),
    ],
)
def test_mistakes_are_told(
    write_documents: Any, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], what: str
) -> None:
    root = write_documents([document("1", "x")])
    assert dedupe(root, *options) == 2
    assert what in capsys.readouterr().err
    assert not list(root.rglob("manifest.json"))


def test_a_path_names_fields() -> None:
    assert parse_key("$.metadata.url") == ("metadata", "url")
    for key in ("$", "$.a[0]", "$..a", ""):
        with pytest.raises(UserError):
            parse_key(key)


def test_dolmas_configuration_file_is_read(write_documents: Any, tmp_path: Path, read_jsonl: Any) -> None:
    root = write_documents([document("1", "x\n\nx")])
    config = tmp_path / "dedupe.yaml"
    config.write_text(
        f"documents: ['{root}/documents/*.jsonl.gz']\n"
        "dedupe:\n  name: pars\n  paragraphs: {attribute_name: dup}\n  skip_empty: true\nprocesses: 1\n"
    )
    assert run(app, ["-c", str(config), "dedupe"]) == 0
    assert read_jsonl(root / "attributes/pars/a.jsonl.gz")[0]["attributes"] == {"dup": [[3, 4, 1]]}
