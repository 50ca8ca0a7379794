"""Documents of ``mix`` together with their attributes, cut into chunks of whole lines for the workers.

The process that reads unpacks and counts lines and never looks into them, so that one large file keeps all workers
busy.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ..documents import DocumentFile
from ..errors import UserError
from ..reading import DAMAGE, open_read, read_blocks, split_lines

CHUNK_BYTES = 4 << 20  # of lines of documents
REMAKE = "make the attributes again"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MixChunk:
    """Consecutive lines of a document file, and the same lines of each attributes file.

    Under ``compat`` an attributes file that has ended has fewer lines, and one that is not there is left out.
    ``failed`` are lines that could not be read, by their place, with the reason; here they are empty.
    """

    path: Path
    first_line: int
    documents: list[bytes]
    attributes: list[list[bytes]]
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
    with ExitStack() as stack:
        readers = [stack.enter_context(open_read(path, packing)) for path in paths]
        ended = [False] * len(paths)
        line = 1
        for block in read_blocks(file.path, size, packing):
            lines = split_lines(block.data)
            failed = dict(block.failed)
            if failed and dolma:
                at = min(failed)
                log.warning("warning: %s, line %d: %s; the file ends here (compat)", file.path, line + at, failed[at])
                lines, failed = lines[:at], {}
            wanted = len(lines)
            attributes = []
            for k, (path, reader) in enumerate(zip(paths, readers, strict=True)):
                rows = [] if any(ended[: k + 1]) else _take_lines(reader, wanted, path, line)
                if len(rows) < wanted:
                    if not dolma:
                        where = line + len(rows)
                        problem = f"the attributes end before {file.path} does"
                        raise UserError(problem, where=path, line=where, fix=REMAKE)
                    if not any(ended[: k + 1]):
                        log.warning("warning: %s ends before %s does (compat)", path, file.path)
                    ended[k] = True
                attributes.append(rows)
            if wanted:
                yield MixChunk(file.path, line, lines, attributes, paths, failed)
            line += wanted
            if block.failed and dolma:
                break
        if not dolma:
            for path, reader in zip(paths, readers, strict=True):
                if _take_lines(reader, 1, path, line):
                    problem = f"more rows of attributes than {file.path} has lines"
                    raise UserError(problem, where=path, line=line, fix=REMAKE)


def _take_lines(stream: BinaryIO, number: int, path: Path, line: int) -> list[bytes]:
    rows: list[bytes] = []
    try:
        rows.extend(islice(stream, number))
    except DAMAGE as error:
        raise UserError(
            f"the compressed file is damaged or cut off: {error}", where=path, line=line + len(rows), fix=REMAKE
        ) from error
    return rows
