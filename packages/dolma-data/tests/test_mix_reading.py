"""How mix cuts documents and the attributes beside them into chunks."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dolma_data.errors import UserError
from dolma_data.mix import reading
from dolma_data.mix.reading import LineReader

LINES = st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=LINES, ends=st.booleans(), asked=st.lists(st.integers(0, 12), max_size=12), search=st.integers(1, 9))
def test_lines_are_taken_in_order_and_none_is_lost(lines, ends, asked, search, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "SEARCH_BYTES", search)
    data = b"\n".join(lines) + b"\n" * (ends and bool(lines))
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    left = re.findall(rb"[^\n]*\n|[^\n]+", data)
    reader = LineReader(path, None)
    for number in [*asked, len(left)]:
        taken, left = left[:number], left[number:]
        assert reader.take(number, 1) == (b"".join(taken), len(taken))


def test_damage_names_the_line_after_those_that_were_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress(b'{"id": "1"}\n' * 4)
    path.write_bytes(whole[:-9])
    reader = LineReader(path, None)
    assert reader.take(2, 1) == (b'{"id": "1"}\n' * 2, 2)
    with pytest.raises(UserError, match="damaged or cut off") as caught:
        reader.take(9, 3)
    assert "line 5" in str(caught.value)
