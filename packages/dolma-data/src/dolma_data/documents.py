"""The documents artifact: finding its files, reading their rows, writing new ones.

Nothing is lost on the way: every physical line of a file comes out of :func:`read_rows` as a document or as a failure
with its reason, and :class:`DocumentsArtifact` writes the counts so that kept + dropped + failed = read.
"""

from __future__ import annotations

import glob
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .errors import UserError
from .file_trees import check_name, files_below
from .files import PARTIAL, atomic_artifact, atomic_write, beside, digest, read_json, write_json
from .reading import read_blocks, split_lines
from .remote import shown

DOCUMENTS = "documents"
ATTRIBUTES = "attributes"
MANIFEST = "manifest.json"
QUARANTINE = "quarantine.jsonl"
FORMAT_VERSION = 1
READABLE_VERSIONS = (1,)
SUFFIXES = tuple(kind + packed for kind in (".jsonl", ".json") for packed in ("", ".gz", ".zst", ".zstd"))
BLOCK_BYTES = 1 << 20
MOST_PAST = 1 << 16  # failures that are listed beyond those allowed before a run stops, not having read all
_decode = msgspec.json.Decoder().decode
encode_json = msgspec.json.Encoder().encode
log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class DocumentFile:
    """One file of documents: ``root / "documents" / tree``, or ``root / tree`` for a file that lies outside a
    documents folder (then ``in_artifact`` is false and it can have no attributes)."""

    root: Path
    tree: str
    in_artifact: bool = True
    folder: str = DOCUMENTS  # name of the documents folder
    destination: Path | None = None  # folder for all attributes, where they have another place

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.root / self.name

    @property
    def name(self) -> str:
        """Path relative to the root, with ``/``."""
        return f"{self.folder}/{self.tree}" if self.in_artifact else self.tree

    def attributes_folder(self, attribute: str) -> Path:
        """Folder of the attributes called ``attribute``; UserError outside a documents folder."""
        if self.destination is not None:
            return self.destination
        if not self.in_artifact:
            raise UserError(
                f"the file lies in no folder called {self.folder}, so it has no place for attributes",
                where=self.path,
                fix=f"put it into X/{self.folder}/",
            )
        return self.root / ATTRIBUTES / attribute

    def attributes_path(self, attribute: str) -> Path:
        """Where the attributes called ``attribute`` of this file lie."""
        return self.attributes_folder(attribute) / self.tree


class Row(NamedTuple):
    """A physical line: ``document`` (an object with strings ``id``, ``text``, ``source``) or a ``reason`` why not."""

    line: int
    document: dict[str, Any] | None
    reason: str | None
    raw: bytes


class Failure(msgspec.Struct, frozen=True):
    """A record that could not be used; a row of ``quarantine.jsonl``."""

    file: str
    line: int
    reason: str


def find_documents(inputs: Sequence[str | Path], documents: str = DOCUMENTS) -> list[DocumentFile]:
    """List the document files of ``inputs``, each a root folder, its ``documents`` folder, a file or a pattern.

    ``documents`` is the name of that folder, where it has another.
    Inputs keep their order, the files of one input are sorted by path, and a file that is named twice counts once.
    Raises UserError for an input without any file and for a file with another suffix than ``SUFFIXES``.
    """
    if not inputs:
        raise UserError("no documents are given", fix="name a folder, a file or a pattern")
    found: dict[Path, DocumentFile] = {}
    for item in inputs:
        files = _files_of(str(item), documents)
        if not files:
            raise UserError("no document files here", where=item, fix=f"give files that end in {', '.join(SUFFIXES)}")
        for file in files:
            check_name(file.path)
            found.setdefault(file.path.absolute(), file)
    return list(found.values())


def _files_of(item: str, documents: str) -> list[DocumentFile]:
    if not item:
        raise UserError("an empty path", where="documents", fix="name a folder, a file or a pattern")
    path = Path(item)
    if path.is_dir():
        return _files_of_folder(path, documents)
    if path.exists():
        matches = [path]
    elif glob.has_magic(item):
        found = glob.glob(item, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        matches = [Path(match) for match in found if not match.endswith(PARTIAL)]
    else:
        raise UserError("no such file or folder", where=item, fix="check the path")
    files = []
    for match in sorted(matches, key=lambda match: match.as_posix()):
        if match.is_dir():
            files += _files_of_folder(match, documents)
        elif match.name.endswith(SUFFIXES):
            files.append(_locate(match, documents))
        else:
            raise UserError("not a file of documents", where=match, fix=f"accepted are {', '.join(SUFFIXES)}")
    return files


def _files_of_folder(folder: Path, documents: str) -> list[DocumentFile]:
    if (folder / MANIFEST).is_file():
        for listed in check_manifest(folder).get("files", []):
            if not (folder / listed["path"]).is_file():
                raise UserError(
                    f"the manifest lists {listed['path']}, which is not there",
                    where=folder,
                    fix="make the artifact again",
                )
    if (folder / documents).is_dir():
        folder = folder / documents
    return [_locate(path, documents) for path in files_below(folder, lambda name: name.endswith(SUFFIXES))]


def _locate(path: Path, documents: str) -> DocumentFile:
    """Split at the ``documents`` folder that has a manifest beside it, else at the innermost one."""
    parts = path.parts
    places = [index for index, part in enumerate(parts[:-1]) if part == documents]
    if not places:
        return DocumentFile(path.parent, path.name, in_artifact=False, folder=documents)
    marked = [index for index in places if Path(*parts[:index], MANIFEST).is_file()]
    at = (marked or places)[-1]
    return DocumentFile(Path(*parts[:at]), "/".join(parts[at + 1 :]), folder=documents)


def check_manifest(root: Path) -> dict[str, Any]:
    """Read ``manifest.json`` of a documents artifact; another kind or an unknown version is a UserError."""
    try:
        manifest = _decode((root / MANIFEST).read_bytes())
    except msgspec.DecodeError as error:
        raise UserError("not valid JSON", where=root / MANIFEST, fix="make the artifact again") from error
    kind = manifest.get("artifact") if isinstance(manifest, dict) else None
    if kind != DOCUMENTS:
        raise UserError(f"a {kind} artifact, not documents", where=root, fix="give a folder of documents")
    if manifest.get("format_version") not in READABLE_VERSIONS:
        raise UserError(
            f"documents of format version {manifest.get('format_version')}; this program reads {READABLE_VERSIONS}",
            where=root,
            fix="update dolma-data or make the artifact again",
        )
    return dict(manifest)


def check_attributes_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an attributes folder, None for Dolma's plain layout; another kind or version is a UserError."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_json(folder / MANIFEST)
    kind = manifest.get("artifact") if isinstance(manifest, dict) else None
    if kind != ATTRIBUTES or manifest.get("format_version") not in READABLE_VERSIONS:
        raise UserError(
            f"not attributes that this program reads (artifact {kind!r})", where=folder, fix="give X/attributes/NAME"
        )
    return dict(manifest)


def read_rows(path: str | Path) -> Iterator[Row]:
    """Yield a :class:`Row` for every physical line of ``path``, in order.

    A compressed file that is damaged or cut off gives all lines before the damage and then one failed row.
    """
    for line, raw, damage in read_physical_lines(path):
        if damage is not None:
            yield Row(line, None, damage, b"")
            continue
        document, reason = parse_document(raw)
        yield Row(line, document, reason, raw)


def read_physical_lines(path: str | Path) -> Iterator[tuple[int, bytes, str | None]]:
    """Yield ``(line number from 1, line without newline, None)``, and ``(number, b"", reason)`` for one that cannot be
    read: too long, or where a compressed file is damaged or cut off."""
    for block in read_blocks(path, BLOCK_BYTES):
        failed = dict(block.failed)
        for position, raw in enumerate(split_lines(block.data)):
            yield block.first_line + position, raw, failed.get(position)


def parse_document(raw: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """Return ``(document, None)`` or ``(None, reason)`` for the bytes of one line."""
    document, reason = parse_object(raw)
    if document is None:
        return None, reason
    for name in ("id", "text", "source"):
        if type(document.get(name)) is not str:
            return None, f"no {name}" if name not in document else f"{name} is not a string"
    return document, None


def parse_object(raw: bytes | memoryview) -> tuple[dict[str, Any] | None, str | None]:
    """The object of one line, or the reason why it has none.

    The whole line is decoded, also where a command looks at one field alone: what passes over a field takes bad UTF-8
    and numbers out of range in it for good, and commands would not agree on which lines of a file are documents.
    """
    try:
        value = _decode(raw)
    except UnicodeDecodeError:
        return None, "invalid UTF-8"
    except msgspec.ValidationError:
        return None, "a number out of range"
    except RecursionError:
        return None, "nested too deep"
    except msgspec.DecodeError as error:
        return None, f"not JSON: {error}" if bytes(raw).strip() else "blank line"
    return (value, None) if type(value) is dict else (None, "not a JSON object")


def is_blank(text: str) -> bool:
    """Blank texts are no documents: writers leave them out and count them as dropped."""
    return not text or text.isspace()


@dataclass
class Shard:
    """What one unit of work read and wrote; small, so that worker processes can hand it back."""

    files: list[dict[str, Any]] = field(default_factory=list)  # rows of the manifest's list
    sources: dict[str, list[int]] = field(default_factory=dict)  # documents, bytes of text
    read: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # by reason
    failures: list[Failure] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """Documents in the files that are listed."""
        return sum(file["documents"] for file in self.files)

    def count(self, source: str, text_bytes: int, documents: int = 1) -> None:
        """Count documents that are kept."""
        total = self.sources.setdefault(source, [0, 0])
        total[0] += documents
        total[1] += text_bytes

    def drop(self, reason: str) -> None:
        """Count a record that is left out on purpose."""
        self.read += 1
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def fail(self, file: str | Path, line: int, reason: str) -> None:
        """Count a record that could not be used and keep its place for the quarantine."""
        self.read += 1
        self.failures.append(Failure(str(file), line, reason))

    def list_file(self, path: str) -> None:
        """List a file that holds all documents that were counted."""
        documents, text_bytes = (sum(total[k] for total in self.sources.values()) for k in (0, 1))
        self.files.append({"path": path, "documents": documents, "text_bytes": text_bytes})

    def add(self, other: Shard) -> None:
        """Take what came after."""
        self.files += other.files
        self.read += other.read
        self.failures += other.failures
        for source, (documents, text_bytes) in other.sources.items():
            self.count(source, text_bytes, documents)
        for reason, number in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + number


@dataclass
class DocumentsArtifact:
    """A documents artifact that is being written into ``folder``; see :func:`documents_artifact`."""

    folder: Path
    shards: list[Shard] = field(default_factory=list)

    def add(self, shard: Shard) -> None:
        """Take the result of a unit of work; the order of calls is the order in the manifest."""
        self.shards.append(shard)

    def counts(self) -> dict[str, int]:
        """``read``, ``kept``, ``dropped`` and ``failed`` so far."""
        counts = {
            "read": sum(shard.read for shard in self.shards),
            "kept": sum(shard.kept for shard in self.shards),
            "dropped": sum(sum(shard.dropped.values()) for shard in self.shards),
            "failed": sum(len(shard.failures) for shard in self.shards),
        }
        assert counts["kept"] + counts["dropped"] + counts["failed"] == counts["read"], counts
        return counts

    def dropped(self) -> dict[str, int]:
        """Dropped records by reason."""
        total: dict[str, int] = {}
        for shard in self.shards:
            for reason, number in shard.dropped.items():
                total[reason] = total.get(reason, 0) + number
        return total

    def failures(self) -> list[Failure]:
        """All records that could not be used, in their order."""
        return [failure for shard in self.shards for failure in shard.failures]

    def manifest(self) -> dict[str, Any]:
        """The manifest, as docs/artifacts.md describes it."""
        sources: dict[str, dict[str, int]] = {}
        for shard in self.shards:
            for source, (documents, text_bytes) in shard.sources.items():
                total = sources.setdefault(source, {"documents": 0, "text_bytes": 0})
                total["documents"] += documents
                total["text_bytes"] += text_bytes
        return {
            "artifact": DOCUMENTS,
            "format_version": FORMAT_VERSION,
            "files": [file for shard in self.shards for file in shard.files],
            "sources": dict(sorted(sources.items())),
            "counts": self.counts(),
        }


@contextmanager
def documents_artifact(output: str | Path, max_failed: int = 0) -> Iterator[DocumentsArtifact]:
    """Write a documents artifact whole or not at all: fill ``folder`` inside the block, ``add`` every shard.

    At the end come ``manifest.json`` and, where records failed, ``quarantine.jsonl``. More than ``max_failed``
    failures are a UserError; then only the quarantine is kept, beside the output.
    """
    with atomic_artifact(output, DOCUMENTS) as folder:
        artifact = DocumentsArtifact(folder)
        (folder / DOCUMENTS).mkdir()
        yield artifact
        failures = artifact.failures()
        if failures:
            write_quarantine(folder / QUARANTINE, failures)
        check_failures(failures, max_failed, Path(output))
        write_json(folder / MANIFEST, artifact.manifest())
        keep_attributes(folder, Path(output))


def refuse_own_input(output: Path, inputs: Iterable[Path]) -> None:
    """UserError where writing ``output`` would replace one of ``inputs``."""
    target = output.resolve()
    for path in inputs:
        if path.resolve().is_relative_to(target):
            raise UserError("the output would replace its own input", where=path, fix="give another output folder")


def keep_attributes(folder: Path, output: Path) -> None:
    """Carry the attributes of unchanged documents over from ``output``; those of other documents go, and are named."""
    attributes = output / ATTRIBUTES
    if not attributes.is_dir():
        return
    if digest(folder / DOCUMENTS) == digest(output / DOCUMENTS):
        shutil.copytree(attributes, folder / ATTRIBUTES, copy_function=os.link)
        return
    names = ", ".join(sorted(path.name for path in attributes.iterdir()))
    log.warning("the documents have changed, their attributes are removed: %s", names)


def write_quarantine(path: Path, failures: Sequence[Failure]) -> None:
    """Write one ``{"file", "line", "reason"}`` a line."""
    with atomic_write(path) as stream:
        for failure in failures:
            stream.write(encode_json(Failure(shown(failure.file), failure.line, failure.reason)) + b"\n")


def most_failures(max_failed: int) -> int:
    """Failures that a run lists at most, where it may have ``max_failed``: of a bomb of blank lines they would take all
    memory."""
    return max_failed + MOST_PAST


def check_so_far(failures: Sequence[Failure], max_failed: int, output: Path) -> None:
    """Raise UserError before all is read for more than :func:`most_failures`, after writing the quarantine of those."""
    most = most_failures(max_failed)
    if len(failures) > most:
        listed = beside(output, f".{QUARANTINE}")
        write_quarantine(listed, failures[:most])
        first = failures[0]
        raise UserError(
            f"stopped before the end of the input: more than {most} records failed, {max_failed} are allowed; "
            f"{most} are listed in {listed}; the first: {first.reason}",
            where=first.file,
            line=first.line,
            fix="leave the file out, or mend it",
        )


def check_failures(failures: Sequence[Failure], max_failed: int, output: Path) -> None:
    """Raise UserError for more than ``max_failed`` failures, after writing ``OUTPUT.quarantine.jsonl``."""
    listed = beside(output, f".{QUARANTINE}")
    if len(failures) <= max_failed:
        listed.unlink(missing_ok=True)
        for failure in failures[:5]:
            log.warning("failed: %s, line %d: %s", failure.file, failure.line, failure.reason)
        return
    write_quarantine(listed, failures)
    first = failures[0]
    raise UserError(
        f"{len(failures)} records failed, {max_failed} are allowed, all listed in {listed}; the first: {first.reason}",
        where=first.file,
        line=first.line,
        fix=f"mend them or pass --max-failed {len(failures)}",
    )


def common_root(files: Sequence[DocumentFile]) -> Path:
    """The folder that paths of ``files`` are given relative to: the root of the artifact, or what several share."""
    return Path(os.path.commonpath([file.root.absolute() for file in files]))
