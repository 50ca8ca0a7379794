from __future__ import annotations

import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_model import document_table
from olmo_model.document_table import MEMBER, rows_at


def packed(rows: list[list[object]], together: int) -> bytes:
    """Rows as members of ``together`` rows."""
    pieces = []
    for first in range(0, len(rows), together):
        text = io.StringIO()
        csv.writer(text).writerows(rows[first : first + together])
        pieces.append(gzip.compress(text.getvalue().encode(), mtime=0))
    return b"".join(pieces)


def table(ids: list[str]) -> list[list[object]]:
    return [[place * 10, place * 10 + 10, name, "a.jsonl", place + 1] for place, name in enumerate(ids)]


@given(
    st.lists(
        st.sampled_from(["plain", 'quo"ted', "a,b", "two\nlines", "0,10,x", "\n20,", "é"]), min_size=1, max_size=20
    ),
    st.integers(1, 7),
    st.data(),
)
def test_rows_are_found_by_their_first_cell(tmp_path_factory, ids, together, data):
    rows = table(ids)
    path = tmp_path_factory.mktemp("table") / "part.csv.gz"
    path.write_bytes(packed(rows, together))
    wanted = sorted(data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=6)))
    found = rows_at(path, [place * 10 for place in wanted])
    assert found == [[str(cell) for cell in rows[place]] for place in wanted]
    assert rows_at(path, [5]) is None


def test_only_the_member_that_holds_the_row_is_decompressed(tmp_path, monkeypatch):
    path = tmp_path / "part.csv.gz"
    path.write_bytes(packed(table([f"d{number}" for number in range(40)]), 10))
    read = []
    real = gzip.decompress
    monkeypatch.setattr(document_table.gzip, "decompress", lambda data: read.append(real(data)) or read[-1])
    assert rows_at(path, [210]) == [["210", "220", "d21", "a.jsonl", "22"]]
    assert [text.count(b"\n") for text in read] == [10]


def test_what_only_looks_like_a_member_is_passed_over(tmp_path):
    path = tmp_path / "part.csv.gz"
    rows = table(["a", "b", MEMBER.decode("latin-1"), "d"])
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    content = gzip.compress(text.getvalue().encode("latin-1"), compresslevel=0, mtime=0)  # stored as it is
    assert content.count(MEMBER) == 2
    path.write_bytes(content)
    assert rows_at(path, [0, 30]) == [[str(cell) for cell in rows[place]] for place in (0, 3)]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-3], lambda data: data[:40] + b"\0\0" + data[42:], lambda _: b""]
)
def test_a_damaged_table_is_left_to_the_slow_reader(tmp_path, damage):
    path = tmp_path / "part.csv.gz"
    path.write_bytes(damage(packed(table([f"d{number}" for number in range(40)]), 40)))
    assert rows_at(path, [100]) is None
