"""Documents of ``mix`` together with their attributes, cut into chunks of whole lines for the workers.

The process that reads unpacks and counts lines and never looks into them, so that one large file keeps all workers
busy.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..documents import DocumentFile
from ..errors import UserError
from ..reading import DAMAGE, pieces, read_blocks, split_lines

CHUNK_BYTES = 4 << 20  # of lines of documents
SEARCH_BYTES = 1 << 12  # among which newlines are looked for one by one
REMAKE = "make the attributes again"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MixChunk:
    """Consecutive lines of a document file, and the same lines of each attributes file, each in one piece of bytes.

    Under ``compat`` an attributes file that has ended has fewer lines, and one that is not there is left out.
    ``failed`` are lines that could not be read, by their place, with the reason; here they are empty.
    """

    path: Path
    first_line: int
    documents: bytes
    attributes: list[bytes]
    attribute_paths: list[Path]
    failed: dict[int, str]
    stream: int = 0
    number: int = 0  # of the output file


@dataclass(frozen=True)
class WholeFile:
    """A file of documents that a worker reads itself, with its attributes."""

    file: DocumentFile
    stream: int
    number: int  # of the output file
    chunk_bytes: int
    most_failed: int  # documents; with more of them the rest is not read


def paths_of(file: DocumentFile, names: Sequence[str]) -> list[Path]:
    """A file of documents and its attributes ``names``."""
    return [file.path, *(file.attributes_path(name) for name in names)]


def read_chunks(
    file: DocumentFile, names: Sequence[str], packing: str | None, dolma: bool, size: int
) -> Iterator[MixChunk]:
    """Cut ``file`` and its attributes ``names`` into chunks of ``size`` bytes; a file without lines gives none.

    Raises UserError with file and line for attributes that are missing, too short, too long or damaged; with ``dolma``
    they are passed over as allenai/dolma does, with a warning.
    """
    paths = [file.attributes_path(name) for name in names]
    for name, path in zip(names, paths, strict=True):
        if not path.is_file() and not dolma:
            raise UserError(f"{file.path} has no attributes {name!r}", where=path, fix=f"make {name} for all documents")
    if dolma:
        for path in paths:
            if not path.is_file():
                log.warning("warning: no attributes at %s; its rules let every document pass (compat)", path)
        paths = [path for path in paths if path.is_file()]
    readers = [LineReader(path, packing) for path in paths]
    ended = [False] * len(paths)
    line = 1
    for block in read_blocks(file.path, size, packing):
        data, wanted = block.data, block.rows
        failed = dict(block.failed)
        if failed and dolma:
            at = min(failed)
            log.warning("warning: %s, line %d: %s; the file ends here (compat)", file.path, line + at, failed[at])
            data, wanted, failed = b"".join(row + b"\n" for row in split_lines(data)[:at]), at, {}
        attributes = []
        for k, (path, reader) in enumerate(zip(paths, readers, strict=True)):
            rows, taken = (b"", 0) if any(ended[: k + 1]) else reader.take(wanted, line)
            if taken < wanted:
                if not dolma:
                    problem = f"the attributes end before {file.path} does"
                    raise UserError(problem, where=path, line=line + taken, fix=REMAKE)
                if not any(ended[: k + 1]):
                    log.warning("warning: %s ends before %s does (compat)", path, file.path)
                ended[k] = True
            attributes.append(rows)
        if wanted:
            yield MixChunk(file.path, line, data, attributes, paths, failed)
        line += wanted
        if block.failed and dolma:
            break
    if not dolma:
        for path, reader in zip(paths, readers, strict=True):
            if reader.take(1, line)[1]:
                problem = f"more rows of attributes than {file.path} has lines"
                raise UserError(problem, where=path, line=line, fix=REMAKE)


class LineReader:
    """Takes lines of a file in order, as many as are asked for, in one piece of bytes."""

    def __init__(self, path: Path, packing: str | None) -> None:
        self.path = path
        self._pieces = pieces(path, packing)
        self._ready = b""
        self._at = 0  # what of it is taken

    def take(self, number: int, line: int) -> tuple[bytes, int]:
        """The next ``number`` lines and how many they are, fewer at the end of the file.

        ``line`` is the number of the first, which a UserError about damage counts from.
        """
        parts: list[bytes] = []
        left = number
        while left:
            newlines = self._ready.count(b"\n", self._at)
            if newlines >= left:
                end = _behind_newline(self._ready, self._at, left)
                parts.append(self._ready[self._at : end])
                self._at, left = end, 0
                break
            parts.append(self._ready[self._at :])
            left -= newlines
            try:
                piece = next(self._pieces, None)
            except DAMAGE as error:
                problem = f"the compressed file is damaged or cut off: {error}"
                raise UserError(problem, where=self.path, line=line + number - left, fix=REMAKE) from error
            self._ready, self._at = piece or b"", 0
            if piece is None:
                break
        lines = b"".join(parts)
        if left and lines and not lines.endswith(b"\n"):
            left -= 1
        return lines, number - left


def _behind_newline(data: bytes, start: int, number: int) -> int:
    """The place behind newline ``number`` (from 1) of ``data[start:]``, which has that many."""
    end = len(data)
    while end - start > SEARCH_BYTES:
        middle = (start + end) // 2
        before = data.count(b"\n", start, middle)
        if before >= number:
            end = middle
        else:
            start, number = middle, number - before
    for _ in range(number):
        start = data.index(b"\n", start) + 1
    return start
