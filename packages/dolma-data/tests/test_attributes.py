from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dolma_data.attributes import clean_name, encode_row, encode_tombstone, find_attributes, read_aligned
from dolma_data.documents import find_documents
from dolma_data.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"id": "1", "text": "one", "source": "s"},
    {"id": "2", "text": "two", "source": "s"},
]


def write(root: Path, name: str, lines: list[bytes], tree: str = "a.jsonl") -> Path:
    path = root / "attributes" / name / tree
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def read(root: Path, *names: str) -> list[tuple[str | None, dict[str, Any]]]:
    (file,) = find_documents([root])
    return [(row.document and row.document["id"], attributes) for row, attributes in read_aligned(file, names)]


def test_attributes_of_several_folders_are_joined_and_later_ones_replace_equal_keys(write_documents: Any) -> None:
    root = write_documents(ROWS, "a.jsonl")
    write(root, "x", [encode_row(row, {"k": [(0, 1, 0.5)], "x": []}) for row in ROWS])
    write(root, "y", [encode_row(ROWS[0], {"k": [(0, 3, 1.0)]}), b'{"id": "2", "attributes": {}}\n'])
    assert read(root, "x", "y") == [
        ("1", {"k": [(0, 3, 1.0)], "x": []}),
        ("2", {"k": [(0, 1, 0.5)], "x": []}),
    ]


def test_a_quarantined_line_stands_beside_its_tombstone(write_documents: Any) -> None:
    root = write_documents([ROWS[0], b"{broken", ROWS[1]], "a.jsonl")
    write(root, "x", [encode_row(ROWS[0], {}), encode_tombstone("not JSON"), encode_row(ROWS[1], {"k": [(0, 1, 1.0)]})])
    assert read(root, "x") == [("1", {}), (None, {}), ("2", {"k": [(0, 1, 1.0)]})]


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        ([encode_row(ROWS[0], {})], 2, "the attributes end before"),
        ([encode_row(row, {}) for row in (*ROWS, ROWS[0])], 3, "more rows of attributes"),
        ([encode_row(row, {}) for row in ROWS[::-1]], 1, "of id '2' stand beside the document '1'"),
        ([encode_row(ROWS[0], {}), encode_tombstone("no text")], 2, "of id None stand beside the document '2'"),
        ([encode_row(ROWS[0], {}), b'{"id": "2"}\n'], 2, "not a row of attributes"),
        ([b'{"id": "1", "attributes": {"k": [[0, 1]]}}\n', encode_row(ROWS[1], {})], 1, "not a row of attributes"),
    ],
)
def test_rows_out_of_line_are_an_error_with_file_and_line(
    write_documents: Any, lines: list[bytes], line: int, what: str
) -> None:
    root = write_documents(ROWS, "a.jsonl")
    path = write(root, "x", lines)
    with pytest.raises(UserError, match=what) as error:
        read(root, "x")
    assert (error.value.where, error.value.line) == (str(path), line)


def test_a_missing_attribute_file_is_an_error(write_documents: Any) -> None:
    root = write_documents(ROWS, "a.jsonl")
    with pytest.raises(UserError, match="has no attributes 'x'"):
        read(root, "x")


def test_names_become_parts_of_keys() -> None:
    assert clean_name("dclm-oh eli5") == "dclm_oh_eli5"
    for name in ("", "5grams"):
        with pytest.raises(UserError, match="begin it with a letter"):
            clean_name(name)


def test_attribute_files_are_found_without_matches_and_manifest(tmp_path: Path) -> None:
    first = write(tmp_path, "x", [], "b/one.jsonl.gz")
    second = write(tmp_path, "x", [], "a.jsonl")
    write(tmp_path, "x", [], "matches.jsonl.gz")
    write(tmp_path, "x", [], "provenance/p.json")
    assert find_attributes([tmp_path / "attributes" / "x"]) == [second, first]


@pytest.mark.parametrize(
    "content", ['{"artifact": "documents"}', '{"artifact": "attributes", "format_version": 9}', "[]"]
)
def test_another_artifact_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "x", [])
    (path.parent / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="not attributes that this program reads"):
        find_attributes([path.parent])
