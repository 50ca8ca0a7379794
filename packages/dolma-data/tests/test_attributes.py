from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data import attributes
from dolma_data.attributes import clean_name, encode_rows, find_attributes
from dolma_data.batch import Spans, listed_spans
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


def test_rows_are_written_from_columns_of_spans() -> None:
    columns = [
        ("x__a", listed_spans("a", [(0, 0, 3, 1.0), (0, 4, 10, -0.25)])),
        ("x__é", listed_spans("é", [(1, 0, 12, 1234567.000004), (1, 3, 4, 1 / 3)])),
        ("x__a", listed_spans("a", [(0, 11, 12, 0.00001), (1, 0, 0, 0.0)])),
    ]
    assert encode_rows([*ROWS, {"id": '"ü', "source": "\n"}], columns, always=["x__z", "x__é"]) == [
        b'{"id":"1","attributes":{"x__z":[],"x__\xc3\xa9":[],"x__a":[[0,3,1.0],[4,10,-0.25],[11,12,0.00001]]},"source":"s"}\n',
        b'{"id":"2","attributes":{"x__z":[],"x__\xc3\xa9":[[0,12,1234567.0],[3,4,0.33333]],"x__a":[[0,0,0.0]]},"source":"s"}\n',
        b'{"id":"\\"\xc3\xbc","attributes":{"x__z":[],"x__\xc3\xa9":[]},"source":"\\n"}\n',
    ]
    assert encode_rows(ROWS[:1], []) == [b'{"id":"1","attributes":{},"source":"s"}\n']
    assert encode_rows([], columns[:0]) == []


finite = st.floats(allow_nan=False, allow_infinity=False)
halves = st.integers(-(10**9), 10**9).map(lambda number: number / 320)
spans = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 10**6), st.integers(0, 10**6), finite | halves))


@given(st.lists(st.tuples(st.sampled_from("abc"), spans.map(sorted)), max_size=5))
def test_rows_from_columns_hold_what_rounding_one_by_one_gives(columns: list[tuple[str, list[Any]]]) -> None:
    documents = [{"id": str(number), "source": "s"} for number in range(4)]
    rows = encode_rows(documents, [(key, listed_spans(key, places)) for key, places in columns])
    for number, row in enumerate(rows):
        expected: dict[str, list[Any]] = {}
        for key, places in columns:
            for _, start, end, score in (place for place in places if place[0] == number):
                expected.setdefault(key, []).append([start, end, round(score, 5)])
        assert json.loads(row) == {"id": str(number), "attributes": expected, "source": "s"}


def test_scores_are_rounded_as_python_rounds_them() -> None:
    scores = np.array([0.015625, 0.065625, 0.996875, 2.675, 1.000005, 0.000015, 8.5])
    whole = Spans("a", np.zeros(7, np.int64), np.zeros(7, np.int64), np.ones(7, np.int64), scores)
    (row,) = encode_rows(ROWS[:1], [("a", whole)])
    assert [span[2] for span in json.loads(row)["attributes"]["a"]] == [round(score, 5) for score in scores.tolist()]


Found = list[tuple[str, int, int, float]]
SPANS_OF_ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 99), st.floats(-9, 9)), max_size=30
)


@given(SPANS_OF_ROWS, st.lists(st.sampled_from("bcd"), unique=True))
def test_rows_that_are_encoded_in_parts_are_the_same(
    found: list[tuple[str, int, int, float]], always: list[str]
) -> None:
    documents = [*ROWS, {"id": '"3"', "source": "ü"}]
    columns = [
        (key, listed_spans(key, sorted((d, at, at + 1, score) for k, d, at, score in found[half::2] if k == key)))
        for half in (0, 1)
        for key in "cab"
    ]
    expected = encode_rows(documents, columns, always)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attributes, "PART_SPANS", 2)
        assert encode_rows(documents, columns, always) == expected
