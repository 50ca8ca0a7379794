"""What a run of ``mix`` has finished, in a scratch folder beside the output: the same command goes on from there.

For every output file there are its data and a record ``N.json`` of what they were made from and what became of the
rows. A record counts only where inputs and data still have the digests that it names. With a shuffle the same is kept
of the first half too, the lines of each unit on their way into the random order.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from ..documents import Shard, encode_json
from ..files import PARTIAL, digest_file, writing
from ..resuming import write_buffers
from .rules import Funnel

Digests = dict[str, str | None]
FILE, LINES = "file", "lines"
SCRATCH_VERSION = 1
log = logging.getLogger(__name__)


class Finished(msgspec.Struct):
    """The record of an output file, or of a unit's lines before they are shuffled."""

    name: str
    inputs: Digests
    digest: str | None  # of the data; None where there are none and no file is to be
    shard: Shard
    funnel: Funnel
    buckets: list[list[int]] = []  # of lines: the bytes of every bucket, block by block
    documents: list[int] = []  # of lines: the documents of every bucket


_decode = msgspec.json.Decoder(Finished).decode


class Data:
    """A stream to write that knows the digest of what went through."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.kept = False
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Write; data that nothing is written to, not even no bytes, are not kept."""
        self.kept = True
        self.stream.write(data)
        self._digest.update(data)

    def digest(self) -> str | None:
        """Digest of all that was written; None where it was not kept."""
        return f"sha256:{self._digest.hexdigest()}" if self.kept else None


@dataclass(frozen=True)
class Scratch:
    """The folder; ``kind`` tells output files (``FILE``) and lines that are still to be shuffled (``LINES``) apart.

    After a power cut the digests tell what did not come to the disk, so that nothing waits for it before the end.
    """

    folder: Path
    _disk: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _syncs: list[Future[None]] = field(default_factory=list)

    def data(self, number: int, kind: str) -> Path:
        """Where the bytes of an output file lie until it is put into place."""
        return self.folder / f"{number}.{kind}"

    def _record(self, number: int, kind: str) -> Path:
        return self.folder / f"{number}.{kind}.json"

    def find(self, number: int, kind: str, name: str, digests: Callable[[], Digests]) -> Finished | None:
        """What an interrupted run finished, if it is as it was left and its inputs have these digests."""
        try:
            found = _decode(self._record(number, kind).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None
        data = self.data(number, kind)
        if found.digest != (digest_file(data) if data.is_file() else None):
            return None
        if found.name != name or found.inputs != digests():
            log.info("%s is made anew: its inputs have changed since the run that was interrupted", name)
            return None
        return found

    def has(self, number: int, target: Path) -> bool:
        """Whether ``target`` is the output file that lies here."""
        data = self.data(number, FILE)
        return data.is_file() and digest_file(data) == digest_file(target)

    @contextmanager
    def write(self, number: int, kind: str) -> Iterator[Data]:
        """Write data whole or not at all; an exception leaves them unfinished."""
        target = self.data(number, kind)
        self._record(number, kind).unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        partial = target.with_name(target.name + PARTIAL)
        with writing(partial), open(partial, "wb") as stream:
            data = Data(stream)
            yield data
        if not data.kept:
            partial.unlink()
            return
        os.replace(partial, target)
        if kind == FILE:
            self._syncs.append(self._disk.submit(_sync, target))

    def record(self, number: int, kind: str, finished: Finished) -> Finished:
        """Say that the data are whole; comes after :meth:`write`."""
        partial = self.folder / f"record{PARTIAL}"
        write_buffers(partial, encode_json(finished))
        os.replace(partial, self._record(number, kind))
        return finished

    def wait(self) -> None:
        """Return when all output files are on disk."""
        for sync in self._syncs:
            sync.result()

    def place(self, number: int, target: Path) -> None:
        """Have the data of an output file stand at ``target`` too, whole or not at all."""
        source = self.data(number, FILE)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + PARTIAL)
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:  # a file system without hard links
            with writing(target):
                shutil.copyfile(source, partial)
        os.replace(partial, target)


def _sync(path: Path) -> None:
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def digests_of(paths: list[Path], known: Digests | None = None) -> Digests:
    """Digests of files as they lie on disk; None for one that is not there."""
    found = dict(known or {})
    for path in paths:
        if str(path) not in found:
            found[str(path)] = digest_file(path) if path.is_file() else None
    return found
