"""Reading files whatever their compression, size or damage: as a stream, line by line, in blocks of whole lines.

One decompressor reads a file once and in order, at several hundred MB/s for gzip (ISA-L) and zstandard; what it gives
is cut into blocks of lines, so that an ordinary ``.gz`` of one member keeps as many processes busy as many files do.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import zstandard
from isal import igzip, isal_zlib

from .errors import UserError

MAX_LINE_BYTES = 128 << 20  # of one line: a longer one (a decompression bomb, a binary file) is no document
MOST_ROWS = 1 << 16  # of a block: each becomes objects, of empty lines a thousand times the bytes of the block
SMALL_FILE_BYTES = 16 << 20  # as it lies on disk: what one worker does while the others do as much
MEMBER_LEVEL = 3  # of ISA-L's deflate: about 270 MB/s, files 12 % larger than zlib's level 6, which makes 20 MB/s
FRAME_LEVEL = 3  # of zstandard
GzipError = cast(type[Exception], isal_zlib.error)
PACKED_BYTES = 1 << 17
PIECE_BYTES = 1 << 20  # most that a step of gunzip gives, whatever the ratio
FRAME_STEP = 1 << 10  # packed bytes of a step of zstandard: a block of 4 bytes can stand for 128 KiB
ZSTANDARD = (".zst", ".zstd")
# what the pieces of a damaged or cut file raise
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


@dataclass
class Block:
    """Consecutive lines of a file, each with its newline (the last of the file may lack it).

    ``failed`` are rows that could not be read, as ``(position in the block, reason)``; in ``data`` they are empty.
    """

    first_line: int
    data: bytes
    failed: tuple[tuple[int, str], ...]
    last: bool

    @property
    def rows(self) -> int:
        """Lines of the block, one without a newline at the end counted."""
        return self.data.count(b"\n") + (not self.data.endswith(b"\n") and bool(self.data))

    def let_go(self) -> None:
        """Free the lines; who has decoded them needs the memory, where one of them is a giant document."""
        self.data, self.failed = b"", ()


def packing_of(name: str | Path) -> str:
    """How a file is packed by its suffix: ``gz``, ``zst`` or nothing."""
    return "gz" if str(name).endswith(".gz") else "zst" if str(name).endswith(ZSTANDARD) else ""


def pieces(path: str | Path, packing: str | None = None) -> Iterator[bytes]:
    """The content of a file, unpacked (by its suffix, where ``packing`` is None), in pieces of at most 32 MB.

    Every byte before a damage comes out before the exception, one of ``DAMAGE``.
    """
    name = str(path)
    if not Path(name).exists():
        raise UserError("no such file", where=name, fix="check the path")
    packing = packing_of(name) if packing is None else packing
    with open(name, "rb") as source:
        if packing == "gz":
            yield from _gunzip(source)
        elif packing:
            yield from _unzstandard(source)
        else:
            while piece := source.read(PIECE_BYTES):
                yield piece


def _gunzip(source: BinaryIO) -> Iterator[bytes]:
    """Members one after another; zero bytes may follow a member."""
    packed = b""
    first = True
    while packed := packed if first and packed else packed.lstrip(b"\0") or source.read(PACKED_BYTES):
        if not first and not packed.strip(b"\0"):
            packed = b""
            continue
        first = False
        begin = source.tell() - len(packed)
        given = 0
        member = isal_zlib.decompressobj(wbits=31)
        while not member.eof:
            packed = packed or source.read(PACKED_BYTES)
            if not packed:
                raise EOFError("the file ends inside a gzip member")
            try:
                piece = member.decompress(packed, PIECE_BYTES)
            except GzipError as error:
                yield _before_damage(source, begin, source.tell() - len(packed), given)
                raise gzip.BadGzipFile(str(error)) from error
            packed = member.unconsumed_tail
            given += len(piece)
            yield piece
        packed = member.unused_data


def _before_damage(source: BinaryIO, begin: int, at: int, given: int) -> bytes:
    """What the member from ``begin`` on holds behind its first ``given`` bytes and before its damage.

    The decompressor keeps nothing of a step that fails: here those from ``at`` on are of one packed byte.
    """
    member = isal_zlib.decompressobj(wbits=31)
    source.seek(begin)
    rest = bytearray()
    try:
        while packed := source.read(min(PACKED_BYTES, max(1, at - source.tell()))):
            while packed:
                piece = member.decompress(packed, PIECE_BYTES)
                packed = member.unconsumed_tail
                rest += piece[given:]
                given = max(0, given - len(piece))
    except GzipError:
        return bytes(rest)
    raise AssertionError("a damage that is not there again")


def _unzstandard(source: BinaryIO) -> Iterator[bytes]:
    """Frames one after another. The library's own ``stream_reader`` takes a file cut inside a frame for a whole one."""
    packed = b""
    while packed := packed or source.read(FRAME_STEP):
        frame = zstandard.ZstdDecompressor().decompressobj()
        while not frame.eof:
            packed = packed or source.read(FRAME_STEP)
            if not packed:
                raise EOFError("the file ends inside a frame")
            yield frame.decompress(packed)
            packed = b""
        packed = frame.unused_data


class PieceStream(io.RawIOBase):
    """Pieces as a stream."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self.source = source
        self.ready = memoryview(b"")

    def readable(self) -> bool:
        """Always: this is a stream to read."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill ``target`` as far as the next piece goes; 0 at the end."""
        while not self.ready:
            piece = next(self.source, None)
            if piece is None:
                return 0
            self.ready = memoryview(piece)
        taken = min(len(target), len(self.ready))
        target[:taken] = self.ready[:taken]
        self.ready = self.ready[taken:]
        return taken

    def close(self) -> None:
        """End the source, and with it what it holds open."""
        cast(Any, self.source).close()
        super().close()


def open_read(path: str | Path, packing: str | None = None) -> BinaryIO:
    """Open for reading as bytes; for packing and damage see :func:`pieces`."""
    return cast(BinaryIO, io.BufferedReader(PieceStream(pieces(path, packing)), PACKED_BYTES))


def read_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number from 1, line without its newline)``; a damaged archive is a UserError."""
    for block in read_blocks(path, PIECE_BYTES):
        yield from lines_of(path, block)


def lines_of(path: str | Path, block: Block) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number from 1, line without its newline)`` of a block of ``path``; a failed row is a UserError."""
    failed = dict(block.failed)
    for position, line in enumerate(split_lines(block.data)):
        if position in failed:
            number = block.first_line + position
            raise UserError(failed[position], where=path, line=number, fix="fetch or make the file again")
        yield block.first_line + position, line


def read_blocks(path: str | Path, size: int, packing: str | None = None) -> Iterator[Block]:
    """Cut a file into blocks, each the fewest whole lines that make ``size`` bytes or ``MOST_ROWS`` rows; where depends
    on the content alone.

    A line longer than ``MAX_LINE_BYTES`` is passed over without being held, and the place where a compressed file is
    damaged or cut off takes the place of the line there; both are failed rows. The last block may be empty. For
    ``packing`` see :func:`pieces`.
    """
    parts: list[bytes] = []  # of the block that is not full yet
    held = 0  # bytes of them
    begin = 0  # of the line that is not ended yet
    failed: list[tuple[int, str]] = []
    first_line = 1
    skipping = False
    damage: Exception | None = None
    source = pieces(path, packing)
    while True:
        try:
            piece = next(source, None)
        except DAMAGE as error:
            piece, damage = None, error
        if piece is None:
            break
        if skipping:
            at = piece.find(b"\n")
            if at < 0:
                continue
            piece, skipping = piece[at:], False
        end = piece.find(b"\n", max(0, size - 1 - held)) + 1
        while end:
            block = Block(first_line, b"".join([*parts, memoryview(piece)[:end]]), tuple(failed), last=False)
            parts, held, begin, failed = [], 0, 0, []
            piece = piece[end:]
            rows = block.rows
            first_line += rows
            yield from _of_fewer_rows(block) if rows > MOST_ROWS else (block,)
            end = piece.find(b"\n", size - 1) + 1
        newline = piece.rfind(b"\n")
        begin = held + newline + 1 if newline >= 0 else begin
        parts.append(piece)
        held += len(piece)
        if held - begin > MAX_LINE_BYTES:
            parts, held = [b"".join(parts)[:begin]], begin
            failed.append((parts[0].count(b"\n"), f"a line of more than {MAX_LINE_BYTES >> 20} MiB"))
            skipping = True
    pending = b"".join(parts)
    del parts
    if damage is not None:
        pending = pending[:begin]
        if not skipping:
            failed.append((pending.count(b"\n"), f"the compressed file is damaged or cut off here: {damage}"))
    if skipping or damage is not None:
        pending += b"\n"
    block = Block(first_line, pending, tuple(failed), last=True)
    del pending
    yield from _of_fewer_rows(block) if block.rows > MOST_ROWS else (block,)


def _of_fewer_rows(block: Block) -> Iterator[Block]:
    """The same rows in blocks of at most ``MOST_ROWS``."""
    cuts = [0]
    rows = 0
    for begin in range(0, len(block.data), PIECE_BYTES):
        part = np.frombuffer(block.data, np.uint8, min(PIECE_BYTES, len(block.data) - begin), begin)
        ends = np.flatnonzero(part == ord("\n"))
        cuts += (begin + 1 + ends[-(rows + 1) % MOST_ROWS :: MOST_ROWS]).tolist()
        rows += len(ends)
    if cuts[-1] < len(block.data):
        cuts.append(len(block.data))
    for number, (start, end) in enumerate(pairwise(cuts)):
        first = number * MOST_ROWS
        failed = tuple((at - first, reason) for at, reason in block.failed if first <= at < first + MOST_ROWS)
        last = block.last and end == len(block.data)
        yield Block(block.first_line + first, block.data[start:end], failed, last)


def split_lines(data: bytes) -> list[bytes]:
    """Lines without their newlines."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.rstrip(b"\r") for line in lines] if b"\r" in data else lines


def pack(data: bytes, packing: str) -> bytes:
    """``data`` as a gzip member (``gz``) or zstandard frame (``zst``) of its own; the same for the same data.

    Such blocks laid end to end are a file that every reader takes, so that workers can pack what they return.
    """
    if packing == "gz":
        return igzip.compress(data, MEMBER_LEVEL, mtime=0)
    if packing:
        return zstandard.ZstdCompressor(level=FRAME_LEVEL).compress(data)
    return data
