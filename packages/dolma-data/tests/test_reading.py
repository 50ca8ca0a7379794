from __future__ import annotations

import gzip
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dolma_data import reading
from dolma_data.errors import UserError
from dolma_data.reading import Block, open_read, pack, packing_of, read_blocks, read_lines, split_lines

LINES = [b"line %d " % number + b"x" * (number % 50) for number in range(4000)]
CONTENT = b"".join(line + b"\n" for line in LINES)


def blocks(path: Path, size: int = 10_000) -> list[Block]:
    return list(read_blocks(path, size))


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("a", CONTENT),
        ("a.gz", gzip.compress(CONTENT)),
        ("a.gz", gzip.compress(CONTENT[:999]) + b"\0" * 7 + gzip.compress(CONTENT[999:]) + b"\0" * 300_000),
        ("a.gz", gzip.compress(b"") + gzip.compress(CONTENT)),
        ("a.zst", zstandard.compress(CONTENT)),
        ("a.zst", zstandard.compress(CONTENT[:999]) + zstandard.compress(CONTENT[999:])),
    ],
)
def test_blocks_are_the_same_however_the_file_is_packed(tmp_path: Path, name: str, packed: bytes) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(CONTENT)
    path = tmp_path / name
    path.write_bytes(packed)
    assert blocks(path) == blocks(plain)
    assert open_read(path).read() == CONTENT
    assert [line for _, line in read_lines(path)] == LINES


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line)), st.booleans(), st.integers(1, 50))
def test_blocks_are_the_fewest_whole_lines_of_a_size(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ended: bool, size: int
) -> None:
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    path = tmp_path_factory.mktemp("blocks") / "a"
    path.write_bytes(content)
    found = blocks(path, size)
    assert b"".join(block.data for block in found) == content
    assert [block.last for block in found] == [False] * (len(found) - 1) + [True]
    for block, after in pairwise(found):
        assert block.data.endswith(b"\n")
        assert len(block.data) >= size > block.data[:-1].rfind(b"\n") + 1
        assert after.first_line == block.first_line + block.rows
    assert sum(block.rows for block in found) == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("rows", [0, 6, 7, 8, 14, 15, 100])
def test_blocks_have_a_bounded_number_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, ended: bool
) -> None:
    lines = [b"x" * (number % 3) for number in range(rows)]
    too_long = b"y" * 40 + b"\n"
    content = b"\n".join(lines) + b"\n" * (rows > 0) + too_long + b"z" + b"\n" * ended
    (tmp_path / "a").write_bytes(content)
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 20)
    monkeypatch.setattr(reading, "PIECE_BYTES", 4)
    whole = blocks(tmp_path / "a", 64)
    monkeypatch.setattr(reading, "MOST_ROWS", 7)
    found = blocks(tmp_path / "a", 64)
    assert max(block.rows for block in found) <= 7
    assert b"".join(block.data for block in found) == b"".join(block.data for block in whole)
    assert [block.last for block in found] == [False] * (len(found) - 1) + [True]
    for block, after in pairwise(found):
        assert after.first_line == block.first_line + block.rows
    failed = [block.first_line + at for block in found for at, _ in block.failed]
    assert failed == [rows + 1]


def test_a_line_that_is_too_long_is_a_failed_row_and_is_never_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 3 << 20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"first\n" + b"a" * (64 << 20) + b"\nthird\n" + b"b" * (9 << 20)))
    (block,) = blocks(path, 4 << 20)
    assert block.data == b"first\n\nthird\n\n"
    assert block.failed == ((1, "a line of more than 3 MiB"), (3, "a line of more than 3 MiB"))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_everything_before_a_cut_is_read_and_the_line_of_the_cut_fails(tmp_path: Path, suffix: str) -> None:
    packed = gzip.compress(CONTENT) if suffix == ".gz" else zstandard.compress(CONTENT)
    for size in range(0, len(packed), 97):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(packed[:size])
        found = blocks(path)
        lines = [line for block in found for line in split_lines(block.data)]
        if size == 0:
            assert lines == []
            continue
        (failed,) = found[-1].failed
        assert failed[0] == found[-1].rows - 1
        assert "damaged or cut off" in failed[1]
        assert lines == [*LINES[: len(lines) - 1], b""]
        unpacked = zlib.decompressobj(31).decompress(packed[:size]) if suffix == ".gz" else None
        assert unpacked is None or len(lines) - 1 == unpacked.count(b"\n")


@pytest.mark.parametrize("junk", [b"not gzip at all", b"\x1f\x8b\x08\x00"])
def test_what_follows_a_member_and_is_none_is_damage(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(CONTENT) + junk)
    assert blocks(path)[-1].failed[0][1].startswith("the compressed file is damaged or cut off here")
    with pytest.raises(UserError, match="damaged or cut off") as error:
        list(read_lines(path))
    assert error.value.line == len(LINES) + 1


@pytest.mark.parametrize("before", [[], [b"a member that is whole"]])
@pytest.mark.parametrize("size", [0, 1000, 3 << 20])
def test_everything_before_a_wrong_checksum_is_read(tmp_path: Path, before: list[bytes], size: int) -> None:
    content = b"".join(b"line %d of many\n" % number for number in range(size // 16)) + CONTENT
    packed = bytearray(b"".join(gzip.compress(line + b"\n") for line in before) + gzip.compress(content))
    packed[-8] ^= 1
    path = tmp_path / "a.gz"
    path.write_bytes(packed)
    found = blocks(path)
    assert "damaged" in found[-1].failed[0][1]
    lines = [line for block in found for line in split_lines(block.data)]
    assert lines == [*before, *content.splitlines(), b""]


def test_everything_before_a_damage_inside_a_member_is_read(tmp_path: Path) -> None:
    content = b"".join(b"line %d of many\n" % number for number in range(200_000))
    packer = zlib.compressobj(wbits=31)
    no_block = b"\xff" * 20
    path = tmp_path / "a.gz"
    path.write_bytes(packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH) + no_block)
    found = blocks(path, 1 << 20)
    assert b"".join(block.data for block in found) == content + b"\n"
    assert "damaged" in found[-1].failed[0][1]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_packed_blocks_end_to_end_are_a_file_that_every_reader_takes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"".join(pack(part, packing_of(path)) for part in (CONTENT[:500], b"", CONTENT[500:])))
    assert open_read(path).read() == CONTENT
    if suffix == ".gz":
        assert gzip.decompress(path.read_bytes()) == CONTENT
        assert pack(CONTENT, "gz") == pack(CONTENT, "gz")


def test_carriage_returns_before_a_newline_are_no_part_of_a_line() -> None:
    assert split_lines(b"a\r\nb\n\nc\rd") == [b"a", b"b", b"", b"c\rd"]
