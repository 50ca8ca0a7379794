"""Writing documents: to files of an artifact, or packed for the process that does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .batch import PART
from .documents import BLOCK_BYTES, Shard, encode_json
from .files import atomic_write
from .reading import MAX_LINE_BYTES, pack, packing_of


def bytes_of(text: str) -> int:
    """Bytes of a text as UTF-8, which a giant one is never as a whole."""
    if text.isascii():
        return len(text)
    return sum(len(text[at : at + PART].encode()) for at in range(0, len(text), PART))


@dataclass(frozen=True)
class PackedBlock:
    """Documents packed as a piece of a ``.jsonl.gz`` file; ``shard`` lists no file."""

    packed: bytes
    documents: int
    text_bytes: int
    shard: Shard


class RecordWriter:
    """Accounts for records, each of which comes to exactly one of ``keep``, :meth:`drop` and :meth:`fail`."""

    def __init__(self) -> None:
        self.shard = Shard()

    def drop(self, reason: str) -> None:
        """Count a record that is left out on purpose."""
        self.shard.drop(reason)

    def fail(self, file: str | Path, line: int, reason: str) -> None:
        """Count a record that could not be used and keep its place for the quarantine."""
        self.shard.fail(file, line, reason)


class BlockWriter(RecordWriter):
    """Takes what a :class:`ShardWriter` takes and gives it as a :class:`PackedBlock`, for the process that writes."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[bytes] = []
        self._text_bytes = 0

    def keep(self, document: dict[str, Any]) -> str | None:
        """Add ``document``; where no reader would take its line, the reason, for :meth:`fail`."""
        line = encode_json(document)
        if len(line) + 1 > MAX_LINE_BYTES:
            return f"its line would have more than {MAX_LINE_BYTES >> 20} MiB"
        size = bytes_of(document["text"])
        self._lines += (line, b"\n")
        self._text_bytes += size
        self.shard.read += 1
        self.shard.count(document["source"], size)
        return None

    def block(self) -> PackedBlock:
        """All that was taken."""
        packed = pack(b"".join(self._lines), "gz") if self._lines else b""
        return PackedBlock(packed, len(self._lines) // 2, self._text_bytes, self.shard)


class ShardWriter(RecordWriter):
    """Write the documents of one unit of work into as many files as ``text_limit`` asks for.

    ``name_of(k)`` names the k-th file relative to ``root``. Each record read must come to exactly one of :meth:`keep`,
    :meth:`drop` and :meth:`fail`.
    """

    def __init__(self, root: Path, name_of: Callable[[int], str], text_limit: int | None = None) -> None:
        super().__init__()
        self.root = root
        self.name_of = name_of
        self.text_limit = text_limit
        self._file: ExitStack = ExitStack()
        self._stream: BinaryIO | None = None
        self._lines: list[bytes] = []
        self._size = 0  # of the lines that are not written yet

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._flush()
        self._file.__exit__(*error)

    def _flush(self) -> None:
        if self._stream is not None and self._lines:
            self._stream.write(pack(b"".join(self._lines), packing_of(self.shard.files[-1]["path"])))
            self._lines, self._size = [], 0

    def _make_room(self, documents: int, text_bytes: int) -> BinaryIO:
        """The file for what comes next, a new one where the limit is reached, with that counted."""
        files = self.shard.files
        if self._stream is not None and self.text_limit and files[-1]["text_bytes"] + text_bytes > self.text_limit:
            self._flush()
            self._file.close()
            self._file, self._stream = ExitStack(), None
        if self._stream is None:
            name = self.name_of(len(files))
            self._stream = self._file.enter_context(atomic_write(self.root / name, packed=True))
            files.append({"path": name, "documents": 0, "text_bytes": 0})
        files[-1]["documents"] += documents
        files[-1]["text_bytes"] += text_bytes
        return self._stream

    def keep(self, document: dict[str, Any]) -> tuple[str, int]:
        """Write ``document``; returns the file it went to and its line there."""
        size = bytes_of(document["text"])
        self._make_room(1, size)
        line = encode_json(document) + b"\n"
        self._lines.append(line)
        self._size += len(line)
        if self._size >= BLOCK_BYTES:
            self._flush()
        self.shard.read += 1
        self.shard.count(document["source"], size)
        return self.shard.files[-1]["path"], self.shard.files[-1]["documents"]

    def append(self, block: PackedBlock) -> None:
        """Write the documents of ``block`` and take its counts."""
        if block.documents:
            stream = self._make_room(block.documents, block.text_bytes)
            self._flush()
            stream.write(block.packed)
        self.shard.add(block.shard)
