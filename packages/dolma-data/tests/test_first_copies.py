from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_data.dedupe import first_copies
from dolma_data.dedupe.columns import HEADER, Columns, write_columns
from dolma_data.dedupe.first_copies import BITS, count_parts, divide, find_first_copies, first_copies_of
from dolma_data.dedupe.scratch import Scratch
from dolma_data.dedupe.units import UnitChunk

# halves of hashes: equal firsts with other seconds, both ends of the range, neighbours on both sides of a part's edge
FIRSTS = [0, 1, 1 << 51, (1 << 52) - 1, 1 << 52, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
Documents = list[list[tuple[int, int]]]  # the hashes of each


def chunk_of(number: int, documents: Documents) -> UnitChunk:
    """A chunk with a span for each hash."""
    counts = np.array([len(hashes) for hashes in documents], dtype=np.int64)
    places = np.arange(counts.sum())
    return UnitChunk(
        file=number,
        first_line=1,
        last=True,
        failures=[],
        ids=[b'"x"'] * len(documents),
        sources=[b'"s"'] * len(documents),
        flags=np.zeros(len(documents), dtype=np.uint8),
        spans=counts,
        starts=places,
        ends=places,
        hash_counts=None,
        counted=None,
        last_decides=None,
    )


def add(scratch: Scratch, documents: Documents) -> None:
    chunk = chunk_of(len(scratch.metas), documents)
    hashes = np.array([pair for each in documents for pair in each], dtype=np.uint64).reshape(-1, 2)
    scratch.append(chunk, divide(hashes, np.repeat(np.arange(len(documents), dtype=np.int32), chunk.spans)))


hashes_of_a_document = st.lists(st.tuples(st.sampled_from(FIRSTS), st.integers(0, 1)), max_size=4)


@settings(deadline=None)
@given(st.lists(st.lists(hashes_of_a_document, max_size=4), max_size=4), st.integers(1, 9))
def test_parts_find_together_what_a_dictionary_finds(chunks: list[Documents], hashes_of_a_part: int) -> None:
    seen: dict[tuple[int, int], int] = {}
    expected: list[list[int]] = []
    document = 0
    for chunk in chunks:
        expected.append([])
        for hashes in chunk:
            for pair in hashes:
                expected[-1].append(seen.get(pair, -1))
                seen.setdefault(pair, document)
            document += 1
    with TemporaryDirectory() as folder, patch.object(first_copies, "HASHES", hashes_of_a_part):
        scratch = Scratch(Path(folder))
        for chunk in chunks:
            add(scratch, chunk)
        parts = find_first_copies(scratch, processes=1)
        assert [first_copies_of(scratch, parts, number).tolist() for number in range(len(chunks))] == expected


def test_a_part_holds_the_stretch_of_its_bits_in_the_order_of_the_hashes(tmp_path: Path) -> None:
    step = 1 << (64 - BITS)
    hashes = np.array([[5 * step, 1], [2 * step + 7, 2], [5 * step + 1, 3], [2 * step, 4]], dtype=np.uint64)
    with patch("dolma_data.dedupe.columns.GATHERED", 3):
        write_columns(tmp_path / "x", divide(hashes, np.array([0, 0, 1, 2], dtype=np.int32)))
    with Columns(tmp_path / "x") as columns:
        assert columns.read("divided")[:, 1].tolist() == [2, 4, 1, 3]
        assert columns.read("owners").tolist() == [0, 2, 0, 1]
        assert columns.read("places").tolist() == [1, 3, 0, 2]
        assert columns.read("bounds")[[0, 2, 3, 5, 6, 1 << BITS]].tolist() == [0, 0, 2, 2, 4, 4]


def test_parts_are_as_many_as_memory_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [count_parts(hashes) for hashes in (0, 1, 1 << 18, (1 << 18) + 1, 1 << 24, 1 << 28)] == [1, 1, 1, 2, 64, 64]
    assert count_parts(1 << 32) == 1024  # 640 of 2^29 / 80 hashes, and up to a power of two
    assert count_parts(1 << 40) == 1 << BITS


def test_columns_are_read_by_rows(tmp_path: Path) -> None:
    table = np.arange(12, dtype=np.uint64).reshape(6, 2)
    nothing = np.zeros((0, 3), dtype=np.uint32)
    write_columns(tmp_path / "x", {"table": table, "flags": np.array([True, False]), "nothing": nothing})
    with Columns(tmp_path / "x") as columns:
        assert np.array_equal(columns.read("table"), table)
        assert columns.read("table", 2, 4).tolist() == [[4, 5], [6, 7]]
        assert columns.read("flags").tolist() == [True, False]
        assert columns.read("nothing").shape == (0, 3)
        assert "table" in columns
        assert "other" not in columns


def test_a_file_of_columns_that_is_cut_off_is_no_short_array(tmp_path: Path) -> None:
    write_columns(tmp_path / "x", {"row": np.arange(4)})
    with open(tmp_path / "x", "r+b") as stream:
        stream.truncate(HEADER + 24)
    with Columns(tmp_path / "x") as columns, pytest.raises(EOFError, match="row"):
        columns.read("row")
