"""The pass that writes attributes: documents in chunks to the workers, rows in order to the files, finished files kept.

Tagging, deduplication and decontamination differ only in the function that scores a chunk. The unit of work is a small
file, which a worker reads itself, or a chunk of lines of a larger one, so that one huge file uses all processes; the
unit of resumption is a file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from .attributes import encode_json, encode_tombstone, make_manifest
from .documents import (
    ATTRIBUTES,
    MANIFEST,
    DocumentFile,
    Failure,
    check_failures,
    check_so_far,
    most_failures,
    parse_document,
)
from .execute import map_ordered, workers_are_copies
from .files import (
    PARTIAL,
    atomic_write,
    check_replaceable,
    digest_file,
    read_lines,
    replace_artifact,
    write_json,
    writing,
)
from .progress import Progress
from .provenance import Record
from .reading import SMALL_FILE_BYTES, Block, pack, packing_of, read_blocks, split_lines
from .records import recorded
from .resuming import open_scratch

CHUNK_BYTES = 4 << 20  # of lines: large enough for compiled loops, small enough for many processes
LAST_FILES = 2.5  # so many of equal size, or what is as much, are read for all workers
FINISHED = "finished.jsonl"
Result = TypeVar("Result")
Note = list[Any]  # what a chunk has to say beside its rows: a list that begins with its kind, JSON all through
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """A block of lines of a document file: what a worker needs to know, the lines in one piece of bytes."""

    file: int
    path: str  # whose suffix says how the rows are packed
    block: Block

    @classmethod
    def of_lines(cls, file: int, first_line: int, lines: Sequence[bytes], last: bool, path: str = "") -> Chunk:
        """A chunk of lines at hand; its rows are not packed without a path."""
        return cls(file, path, Block(first_line, b"".join(line + b"\n" for line in lines), (), last))

    @property
    def first_line(self) -> int:
        """Line number of the first row in its file, from 1."""
        return self.block.first_line

    @property
    def last(self) -> bool:
        """Whether no row of the file comes after."""
        return self.block.last

    def documents(self) -> tuple[list[dict[str, Any] | str], list[dict[str, Any]]]:
        """All rows (a document, or the reason why there is none) and the documents alone; the lines are let go."""
        rows: list[dict[str, Any] | str] = []
        failed = dict(self.block.failed)
        lines = split_lines(self.block.data)
        self.block.let_go()
        lines.reverse()
        for number in range(len(lines)):
            document, reason = (None, failed[number]) if number in failed else parse_document(lines[-1])
            rows.append(document if document is not None else str(reason))
            lines.pop()
        return rows, [row for row in rows if not isinstance(row, str)]


EMPTY = Chunk.of_lines(0, 1, [], last=True)  # goes the way of every chunk, through all compiled code


@dataclass(frozen=True)
class Scored:
    """What became of a chunk: for each output its lines (packed already) and notes, and the rows that failed as
    ``(line, reason)``."""

    file: int
    last: bool
    rows: int
    outputs: list[bytes]
    notes: list[list[Note]]
    failures: list[tuple[int, str]]


def scored(
    chunk: Chunk, rows: list[dict[str, Any] | str], outputs: list[list[bytes]], notes: list[list[Note]]
) -> Scored:
    """Put the lines of the documents (one list an output) and the tombstones of the failed rows together."""
    failures = [(chunk.first_line + k, row) for k, row in enumerate(rows) if isinstance(row, str)]
    if failures:
        outputs = [_with_tombstones(rows, lines) for lines in outputs]
    return Scored(
        file=chunk.file,
        last=chunk.last,
        rows=len(rows),
        outputs=[pack(b"".join(lines), packing_of(chunk.path)) for lines in outputs],
        notes=notes,
        failures=failures,
    )


def _with_tombstones(rows: list[dict[str, Any] | str], lines: list[bytes]) -> list[bytes]:
    pending = iter(lines)
    return [encode_tombstone(row) if isinstance(row, str) else next(pending) for row in rows]


def read_chunks(files: Sequence[tuple[int, DocumentFile]], size: int | None = None) -> Iterator[Chunk]:
    """Cut files into chunks of whole lines, of ``size`` bytes; every file has a last chunk, even an empty one."""
    for index, file in files:
        for block in read_blocks(file.path, CHUNK_BYTES if size is None else size):
            yield Chunk(index, str(file.path), block)


@dataclass(frozen=True)
class SmallFile:
    """A file that is a unit of work as a whole."""

    index: int
    file: DocumentFile
    chunk_bytes: int
    most_failed: int  # rows; with more of them the rest is not read


def read_units(files: Sequence[tuple[int, DocumentFile]], max_failed: int) -> Iterator[Chunk | SmallFile]:
    """Units of work in order of files: small ones as they are, the lines of larger ones and of the last ones, so that
    no worker has a whole file to read when there is nothing left for the others. ``max_failed`` rows may fail."""
    sizes = [file.path.stat().st_size for _, file in files]
    left = sum(sizes)
    for (index, file), size in zip(files, sizes, strict=True):
        if size <= SMALL_FILE_BYTES and size * LAST_FILES <= left:
            yield SmallFile(index, file, CHUNK_BYTES, most_failures(max_failed))
        else:
            yield from read_chunks([(index, file)])
        left -= size


def work_through(
    unit: Chunk | SmallFile, work: Callable[[Chunk], Result], failures: Callable[[Result], Sized]
) -> Iterator[Result]:
    """``work`` of a chunk, or of the chunks of a file, up to that with which more rows have failed than are allowed."""
    if isinstance(unit, Chunk):
        yield work(unit)
        return
    failed = 0
    for chunk in read_chunks([(unit.index, unit.file)], unit.chunk_bytes):
        result = work(chunk)
        yield result
        failed += len(failures(result))
        if failed > unit.most_failed:
            return


def score_unit(score: Callable[[Chunk], Scored], unit: Chunk | SmallFile) -> Scored:
    """Score a chunk, or all chunks of a file, whose rows laid end to end are the same as one by one.

    A file with more failures than are allowed comes back as far as it was read.
    """
    if isinstance(unit, Chunk):
        return score(unit)
    parts = list(work_through(unit, score, lambda part: part.failures))
    return Scored(
        file=unit.index,
        last=parts[-1].last,
        rows=sum(part.rows for part in parts),
        outputs=[b"".join(rows) for rows in zip(*(part.outputs for part in parts), strict=True)],
        notes=[list(chain(*notes)) for notes in zip(*(part.notes for part in parts), strict=True)],
        failures=[failure for part in parts for failure in part.failures],
    )


class FinishedFile(msgspec.Struct):
    """What is kept of a finished attribute file so that it need not be made again; a row of ``finished.jsonl``."""

    tree: str
    document_digest: str
    digest: str
    rows: int
    failures: list[tuple[int, str]]


class DigestedWriter:
    """Writes to a stream and digests what it writes, so that nobody has to read it again for that."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Write bytes."""
        self._stream.write(data)
        self._hash.update(data)

    @property
    def digest(self) -> str:
        """What :func:`files.digest_file` says of a file that holds all that was written."""
        return "sha256:" + self._hash.hexdigest()


class Output:
    """One attributes folder on its way: ``NAME.progress.partial`` holds its content and what is finished of it."""

    def __init__(self, target: Path, state: list[Any]) -> None:
        check_replaceable(target, ATTRIBUTES)
        self.target = target
        self.progress = open_scratch(target.with_name(f"{target.name}.progress{PARTIAL}"), state)
        self.folder = self.progress / "content"
        self.folder.mkdir(exist_ok=True)
        self.finished: dict[str, FinishedFile] = {}
        self.digests: dict[str, str] = {}  # of what lies in the folder at the end, by its path there
        self._open: ExitStack | None = None
        journal = self.progress / FINISHED
        for _, line in read_lines(journal) if journal.is_file() else ():
            try:
                row = msgspec.json.decode(line, type=FinishedFile)
            except msgspec.DecodeError:
                break  # cut off in the middle of a write: that file is made again
            self.finished[row.tree] = row

    def has(self, file: DocumentFile, document_digest: str) -> bool:
        """Whether the attributes of ``file`` are finished and still what was written, from the same documents."""
        row = self.finished.get(file.tree)
        path = self.folder / file.tree
        if row is None or row.document_digest != document_digest or not self.notes_path(file.tree).is_file():
            self.finished.pop(file.tree, None)
            return False
        if not path.is_file() or digest_file(path) != row.digest:
            self.finished.pop(file.tree, None)
            return False
        return True

    def notes_path(self, tree: str) -> Path:
        """Where the notes about a file lie while the run goes on."""
        return self.progress / "notes" / (tree + ".notes")

    def begin(self, file: DocumentFile) -> None:
        """Open the attributes and notes of a file; they get their names when :meth:`end` is called."""
        self._open = ExitStack()
        self._rows = DigestedWriter(self._open.enter_context(atomic_write(self.folder / file.tree, packed=True)))
        self._notes: BinaryIO = self._open.enter_context(atomic_write(self.notes_path(file.tree)))

    def write(self, lines: bytes, notes: list[Note]) -> None:
        """Write encoded rows, packed as the file is, and notes."""
        self._rows.write(lines)
        for note in notes:
            self._notes.write(encode_json(note) + b"\n")

    def end(self, file: DocumentFile, document_digest: str, rows: int, failures: list[tuple[int, str]]) -> None:
        """Close a file and write into the journal, on disk, that it is finished."""
        assert self._open is not None
        self._open.close()
        self._open = None
        row = FinishedFile(file.tree, document_digest, self._rows.digest, rows, failures)
        self.finished[file.tree] = row
        path = self.progress / FINISHED
        with writing(path), open(path, "ab") as journal:
            journal.write(encode_json(row) + b"\n")
            journal.flush()
            os.fsync(journal.fileno())

    def abandon(self) -> None:
        """Leave no half-written file after an exception."""
        if self._open is not None:
            stack, self._open = self._open, None
            error = InterruptedError("abandoned")
            stack.__exit__(type(error), error, None)

    def notes(self, tree: str) -> Iterator[Note]:
        """The notes of a finished file."""
        for _, line in read_lines(self.notes_path(tree)):
            yield msgspec.json.decode(line)

    def commit(self, trees: Sequence[str], taggers: list[dict[str, Any]]) -> None:
        """Write the manifest and take the place of the folder that is there."""
        files = [(tree, self.finished[tree].rows, len(self.finished[tree].failures)) for tree in sorted(trees)]
        write_json(self.folder / MANIFEST, make_manifest(self.target.name, files, taggers))
        replace_artifact(self.folder, self.target)
        self.digests.update((tree, self.finished[tree].digest) for tree in trees)
        shutil.rmtree(self.progress, ignore_errors=True)

    def clear_unfinished(self, keep: set[str]) -> None:
        """Remove what an earlier, interrupted run left and this one does not need."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path.relative_to(self.folder).as_posix() not in keep:
                path.unlink()


def _digest_files(files: Sequence[DocumentFile], processes: int, rehearse: Callable[[], object] | None) -> list[str]:
    rehearsed = rehearse is not None and workers_are_copies(processes)
    with ThreadPoolExecutor(max(1, processes)) as threads:  # they have ended before workers begin
        digests = threads.map(digest_file, [file.path for file in files])
        if rehearse is not None and rehearsed:
            rehearse()
    return list(digests)


class Annotation:
    """All attributes folders that one pass over ``files`` writes: one for each root and each of ``names``.

    ``state`` is what the rows depend on beside the documents; finished files of an interrupted run are kept where it is
    the same. ``depends_on_all`` says that the rows of a file depend on the other files too. ``rehearse`` is what
    :func:`map_ordered` calls before there are ``processes`` workers: it is called while threads digest the files.
    """

    def __init__(
        self,
        what: str,
        files: Sequence[DocumentFile],
        names: Sequence[str],
        state: list[Any],
        depends_on_all: bool = False,
        processes: int = 1,
        rehearse: Callable[[], object] | None = None,
    ) -> None:
        self.files = files
        self.names = names
        self.what = what
        self.targets = list(dict.fromkeys(file.attributes_folder(name) for file in files for name in names))
        self.outputs: dict[Path, Output] = {}
        self.digests = _digest_files(files, processes, rehearse)
        if depends_on_all:
            state = [*state, [[str(file.path) for file in files], self.digests]]
        self.state = state

    def of(self, file: DocumentFile, name: str) -> Output:
        """The output with attributes ``name`` of a file."""
        return self.outputs[file.attributes_folder(name)]

    def run(self, score: Callable[[Chunk], Scored], processes: int, max_failed: int) -> None:
        """Score every file that is not finished; ``score`` is a module-level function or a partial of one.

        UserError as soon as far more than ``max_failed`` rows have failed; :meth:`check` is for the end.
        """
        todo: list[tuple[int, DocumentFile]] = []
        pending: list[list[bool]] = []  # for each file, which outputs it still needs
        for index, (file, document_digest) in enumerate(zip(self.files, self.digests, strict=True)):
            pending.append([not self.of(file, name).has(file, document_digest) for name in self.names])
            if any(pending[index]):
                todo.append((index, file))
        for output in self.outputs.values():
            output.clear_unfinished(set(output.finished))
        if len(todo) < len(self.files):
            log.info("%d of %d files are finished already", len(self.files) - len(todo), len(self.files))
        size = sum(file.path.stat().st_size for _, file in todo)
        log.info("%s: %d files, %.1f MB as they lie on disk", self.what, len(todo), size / 1e6)
        current = -1
        rows = 0
        failures: list[tuple[int, str]] = []
        failed = len(self.failures())
        work = partial(score_unit, score)
        results = map_ordered(work, read_units(todo, max_failed), processes, partial(score, EMPTY) if todo else None)
        try:
            with Progress(self.what) as progress:
                for result in results:
                    file = self.files[result.file]
                    needed = [name for name, missing in zip(self.names, pending[result.file], strict=True) if missing]
                    if result.file != current:
                        current, rows, failures = result.file, 0, []
                        for name in needed:
                            self.of(file, name).begin(file)
                    rows += result.rows
                    failures += result.failures
                    failed += len(result.failures)
                    if failed > most_failures(max_failed):
                        here = [Failure(str(file.path), *failure) for failure in failures]
                        check_so_far([*self.failures(), *here], max_failed, self.targets[0])
                    for name, lines, notes in zip(self.names, result.outputs, result.notes, strict=True):
                        if name in needed:
                            self.of(file, name).write(lines, notes)
                    progress.advance(result.rows)
                    if result.last:
                        for name in needed:
                            self.of(file, name).end(file, self.digests[result.file], rows, failures)
        finally:
            for output in self.outputs.values():
                output.abandon()

    def notes(self, name: str) -> Iterator[tuple[DocumentFile, Note]]:
        """Notes of all files, in the order of the documents."""
        for file in self.files:
            for note in self.of(file, name).notes(file.tree):
                yield file, note

    def failures(self) -> list[Failure]:
        """Rows that failed in finished files, in the order of the documents."""
        finished = [(str(file.path), self.of(file, self.names[0]).finished.get(file.tree)) for file in self.files]
        return [Failure(path, *failure) for path, row in finished if row is not None for failure in row.failures]

    def check(self, max_failed: int) -> None:
        """UserError for more than ``max_failed`` failed rows; see :func:`documents.check_failures`."""
        check_failures(self.failures(), max_failed, self.targets[0])

    def commit(self, name: str, taggers: list[dict[str, Any]]) -> list[Path]:
        """Finish the folders called ``name``; returns them."""
        trees: dict[Path, list[str]] = {}
        for file in self.files:
            trees.setdefault(file.attributes_folder(name), []).append(file.tree)
        for target, written in trees.items():
            self.outputs[target].commit(written, taggers)
        return list(trees)

    def counts(self) -> dict[str, int]:
        """``read``, ``kept``, ``dropped`` and ``failed`` rows over all files."""
        finished = [self.of(file, self.names[0]).finished[file.tree] for file in self.files]
        read = sum(row.rows for row in finished)
        failed = sum(len(row.failures) for row in finished)
        return {"read": read, "kept": read - failed, "dropped": 0, "failed": failed}

    @contextmanager
    def recorded(self, command: str, config: Any, inputs: Sequence[Path] = ()) -> Iterator[None]:
        """Open the folders, and write a provenance record into every one that the block commits."""
        with self._recorded(command, config, inputs, self.targets) as records:
            self.outputs = {target: Output(target, self.state) for target in self.targets}
            yield
            written = {
                str(output.target / tree): known
                for output in self.outputs.values()
                for tree, known in output.digests.items()
            }
            for record in records:
                record.counts.update(self.counts())
                record.digests.update(written)

    def record_again(self, command: str, config: Any, inputs: Sequence[Path], counts: dict[str, int]) -> None:
        """Write the records for folders that are finished, since the run may have been killed before it did."""
        finished = [target for target in self.targets if target.is_dir()]
        with self._recorded(command, config, inputs, finished) as records:
            for record in records:
                record.counts.update(counts)

    @contextmanager
    def _recorded(
        self, command: str, config: Any, inputs: Sequence[Path], targets: Sequence[Path]
    ) -> Iterator[list[Record]]:
        with ExitStack() as stack:
            records = []
            for target in targets:
                of_target = [file for file in self.files if target in map(file.attributes_folder, self.names)]
                read = [file.path for file in of_target] + list(inputs)
                record = stack.enter_context(
                    recorded("dolma-data", command, folder=target, config=asdict(config), inputs=read)
                )
                record.digests.update(zip((str(file.path) for file in self.files), self.digests, strict=True))
                record.outputs.append(target)
                records.append(record)
            yield records
