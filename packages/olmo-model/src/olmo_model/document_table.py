"""Single rows of a large list of documents, without reading it from the start."""

from __future__ import annotations

import csv
import gzip
import io
import mmap
from collections.abc import Iterable
from pathlib import Path

from .files import DAMAGE

MEMBER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00"  # head of a gzip member without name and time (RFC 1952), as ours have
HEAD_BYTES = 1 << 14  # decompressed, to know the first row of a member


def rows_at(path: Path, starts: Iterable[int]) -> list[list[str]] | None:
    """Cells of the rows ``start,end,id,src,loc`` of a ``.csv.gz`` whose first cells are ``starts`` (rising).

    Rows rise by their first cell, and a member of the gzip file holds whole rows; only members that hold one of the
    rows are decompressed, and each that is read is checked by its own sum. None where any of this is not so, or a row
    is not there: then the file has to be read line by line, which says where it is wrong.
    """
    if path.stat().st_size == 0:
        return None
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as packed:
        try:
            return _Members(packed).rows(starts)
        except (*DAMAGE, UnicodeDecodeError, csv.Error, ValueError):
            return None


class _Members:
    """The members of a file; a place that only looks like the head of one is struck off when that is noticed."""

    def __init__(self, packed: mmap.mmap) -> None:
        self.packed = packed
        self.heads = [0]
        place = packed.find(MEMBER, 1)
        while place >= 0:
            self.heads.append(place)
            place = packed.find(MEMBER, place + 1)
        self.firsts: dict[int, int] = {}  # first cell of the first row of a member, by its place

    def rows(self, starts: Iterable[int]) -> list[list[str]] | None:
        found: list[list[str]] = []
        number, text, place, quoted = -1, b"", 0, False
        for start in starts:
            holding = self._holding(start)
            if holding != number or not text:
                number, text, place = holding, self._read(holding), 0
                quoted = b'"' in text
            if quoted:
                row = next((row for row in csv.reader(_lines(text)) if row[0] == str(start)), None)
            else:
                mark = b"%d," % start
                place = 0 if place == 0 and text.startswith(mark) else text.find(b"\n" + mark, place) + 1
                if place == 0 and not text.startswith(mark):
                    return None
                (row,) = csv.reader([text[place : _end(text, place)].decode()])
                place = max(0, place - 1)  # the next row may be this one again
            if row is None:
                return None
            found.append(row)
        return found

    def _holding(self, start: int) -> int:
        """Number of the last member whose first row does not begin after ``start``."""
        low, high = 0, len(self.heads)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                first = self._first(self.heads[middle])
            except (*DAMAGE, ValueError):
                del self.heads[middle]
                high -= 1
                continue
            low, high = (middle, high) if first <= start else (low, middle)
        return low

    def _first(self, head: int) -> int:
        if head not in self.firsts:
            with gzip.GzipFile(fileobj=io.BytesIO(self.packed[head : head + HEAD_BYTES])) as stream:
                self.firsts[head] = int(stream.read(32).split(b",")[0])
        return self.firsts[head]

    def _read(self, number: int) -> bytes:
        while True:
            bounds = [*self.heads, len(self.packed)]
            try:
                return gzip.decompress(self.packed[bounds[number] : bounds[number + 1]])
            except EOFError:
                if number + 1 == len(self.heads):
                    raise
                del self.heads[number + 1]  # it lies inside this member


def _lines(text: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", newline="")


def _end(text: bytes, place: int) -> int:
    end = text.find(b"\n", place)
    return len(text) if end < 0 else end
