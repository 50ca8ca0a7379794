"""Remote files on local disk while a command works on them.

A command works on local files. Before it, what its settings name by a URL is fetched to the same place of a mirror;
after it, what it has written there is uploaded. Renaming is not atomic on object stores, so an artifact is put between
two marks: ``manifest.json.partial`` goes first and is removed last, ``manifest.json`` is removed first and comes last.
An interrupted upload leaves no manifest, readers refuse what it left, and the same command ends it.

The mirror lies in the folder for temporary files (``TMPDIR``), under a name made from the command, so that a command
that was interrupted finds what it had; it is removed when the command has succeeded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .documents import ATTRIBUTES, DOCUMENTS, MANIFEST, QUARANTINE
from .errors import UserError
from .files import NOT_CONTENT, PARTIAL, read_json, write_json
from .remote import mirrors, shown, split_url

WRITTEN = frozenset({"output", "destination", "report"})  # settings that name what a command writes
MARK = MANIFEST + PARTIAL
FILTER = ".bin"  # of a Bloom filter, which a command reads if it is there
FETCHED, FINISHED = "fetched.json", "finished.json"
log = logging.getLogger(__name__)


def file_system(scheme: str, where: str) -> Any:
    """The fsspec file system of a scheme; UserError where nothing is installed for it."""
    try:
        import fsspec  # type: ignore[import-untyped]

        return fsspec.filesystem(scheme)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"nothing is installed that opens {scheme}://: {error}", where=where, fix="pip install 'dolma-data[remote]'"
        ) from error


class Mirror:
    """Local copies of remote files under ``root/SCHEME/BUCKET/KEY``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        index = root / FETCHED
        # remote file, as scheme/path, to what tells its versions apart: of an interrupted run, and of this one
        self.known: dict[str, str] = read_json(index) if index.is_file() else {}
        self.fetched: dict[str, str] = {}
        self._systems: dict[str, Any] = {}

    def local(self, scheme: str, path: str) -> Path:
        return self.root / scheme / path

    def system(self, scheme: str, path: str) -> Any:
        if scheme not in self._systems:
            self._systems[scheme] = file_system(scheme, f"{scheme}://{path}")
            self._systems[scheme].invalidate_cache()
        return self._systems[scheme]

    def settle(self, value: Any, written: bool = False) -> Any:
        """``value`` (settings, all through) with local paths instead of URLs; what is read there is fetched."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            named = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            settled = {name: self.settle(one, written or name in WRITTEN) for name, one in named.items()}
            self._fetch_attributes(named.get("documents"), named.get("attributes"))
            return dataclasses.replace(value, **settled)
        if isinstance(value, tuple | list):
            return type(value)(self.settle(one, written) for one in value)
        if isinstance(value, dict):
            return {key: self.settle(one, written or key in WRITTEN) for key, one in value.items()}
        url = split_url(value)
        if url is None:
            return value
        local = self.local(*url)
        if written:
            self._fetch_kind(local, *url)
        else:
            self._fetch(*url)
        return local if isinstance(value, Path) else str(local)

    def _fetch(self, scheme: str, path: str) -> None:
        """Fetch a file, the files of a folder, or those of a pattern; of a documents artifact its documents alone."""
        system = self.system(scheme, path)
        if re.search(r"[*?\[]", path):
            found = system.glob(path)
        elif system.isfile(path):
            found = [path]
        else:
            found = self._list(scheme, path)
            if any(file.startswith(f"{path}/{DOCUMENTS}/") for file in found):
                beside = tuple(f"{path}/{name}/" for name in (ATTRIBUTES, *NOT_CONTENT))
                found = [file for file in found if not file.startswith(beside)]
        if not found and not path.endswith(FILTER):
            raise UserError("no such file or folder", where=f"{scheme}://{path}", fix="check the path")
        for root in {file.split(f"/{DOCUMENTS}/")[0] for file in found if f"/{DOCUMENTS}/" in file}:
            if system.exists(f"{root}/{MARK}"):
                found.append(f"{root}/{MARK}")
        self._fetch_files(scheme, found)

    def _fetch_kind(self, local: Path, scheme: str, path: str) -> None:
        """What says of an output that is there already what it is, so that nothing else is replaced."""
        system, manifest = self.system(scheme, path), f"{path}/{MANIFEST}"
        if not local.exists() and system.exists(manifest):
            local.mkdir(parents=True)
            system.get_file(manifest, str(local / MANIFEST))

    def _fetch_attributes(self, documents: Any, names: Any) -> None:
        """The attributes called ``names`` of documents that were fetched."""
        remote = isinstance(documents, tuple | list) and any(split_url(item) for item in documents)
        if not remote or not isinstance(names, tuple | list) or any(split_url(name) for name in names):
            return
        roots = {tuple(key.split(f"/{DOCUMENTS}/")[0].split("/", 1)) for key in self.fetched if f"/{DOCUMENTS}/" in key}
        for scheme, root in sorted(roots):
            for name in names:
                self._fetch_files(scheme, self._list(scheme, f"{root}/{ATTRIBUTES}/{name}"))

    def _list(self, scheme: str, folder: str) -> list[str]:
        return sorted(self.system(scheme, folder).find(folder))

    def _fetch_files(self, scheme: str, paths: list[str]) -> None:
        system = self.system(scheme, paths[0] if paths else "")
        for path in paths:
            if Path(path).name == MARK:
                raise UserError(
                    "an upload was interrupted here",
                    where=f"{scheme}://{path.removesuffix(MARK)}",
                    fix="run the command that writes it again",
                )
        wanted: dict[str, Path] = {}
        for path in paths:
            info = system.info(path)
            version = json.dumps([info.get("size"), info.get("ETag"), str(info.get("LastModified"))])
            local, key = self.local(scheme, path), f"{scheme}/{path}"
            if not (local.is_file() and self.known.get(key) == version):
                wanted[path] = local
                local.parent.mkdir(parents=True, exist_ok=True)
            self.fetched[key] = version
        if wanted:
            log.info("fetching %d files", len(wanted))
            system.get(list(wanted), [str(local) for local in wanted.values()])

    def drop_others(self) -> None:
        """Remove what an interrupted run fetched and is not there any more, and keep what this one has fetched."""
        for key in self.known.keys() - self.fetched.keys():
            (self.root / key).unlink(missing_ok=True)
        write_json(self.root / FETCHED, self.fetched)

    def files(self) -> dict[Path, tuple[int, int]]:
        """All files of the mirror, with what tells whether a command has written them."""
        found = {}
        for path in sorted(self.root.glob("*/**/*")):
            if path.is_file() and not any(part.endswith(PARTIAL) for part in path.relative_to(self.root).parts):
                state = path.stat()
                found[path] = (state.st_ino, state.st_mtime_ns)
        return found

    def upload(self, paths: list[Path]) -> None:
        """Upload what was written: artifacts folder by folder, what belongs to none of them file by file."""
        artifacts = sorted({path.parent for path in paths if path.name == MANIFEST}, key=lambda folder: folder.parts)
        for path in paths:
            if path.suffix in (".json", ".jsonl"):
                text = path.read_text(encoding="utf-8")
                if str(self.root) in text:
                    path.write_text(shown(text), encoding="utf-8")
        owned: dict[Path, list[Path]] = {folder: [] for folder in artifacts}
        for path in paths:
            owners = [folder for folder in path.parents if folder in owned]
            if owners:
                owned[owners[0]].append(path)
            else:
                scheme, remote = self._remote(path)
                self.system(scheme, remote).put_file(str(path), remote)
        for folder, files in owned.items():
            self._upload_artifact(folder, files)

    def _remote(self, path: Path) -> tuple[str, str]:
        scheme, _, remote = path.relative_to(self.root).as_posix().partition("/")
        return scheme, remote

    def _upload_artifact(self, folder: Path, files: list[Path]) -> None:
        scheme, remote = self._remote(folder)
        system = self.system(scheme, remote)
        sizes = {
            path.removeprefix(remote + "/"): info["size"] for path, info in system.find(remote, detail=True).items()
        }
        there = set(sizes)
        if there and not there & {MANIFEST, MARK} and not all(name.startswith("provenance/") for name in there):
            raise UserError(
                "the output exists and is no artifact, so it is not replaced",
                where=f"{scheme}://{remote}",
                fix="give another output",
            )
        log.info("uploading %d files to %s://%s", len(files), scheme, remote)
        system.pipe_file(f"{remote}/{MARK}", b"")
        if MANIFEST in there:
            system.rm_file(f"{remote}/{MANIFEST}")
        names = [path.relative_to(folder).as_posix() for path in files]
        content = [name for name in names if name != MANIFEST]
        if content:
            system.put([str(folder / name) for name in content], [f"{remote}/{name}" for name in content])
        stale = {name for name in there - set(names) - {MANIFEST, MARK} if name.split("/")[0] not in NOT_CONTENT}
        attributes = {name for name in stale if name.startswith(ATTRIBUTES + "/")}
        if stale == attributes and all(
            sizes.get(name) == (folder / name).stat().st_size for name in content if "provenance/" not in name
        ):
            stale, attributes = set(), set()  # of the same documents
        for name in sorted(stale):
            system.rm_file(f"{remote}/{name}")
        if attributes:
            log.warning("the documents were replaced, their attributes are removed: %s://%s", scheme, remote)
        system.put_file(str(folder / MANIFEST), f"{remote}/{MANIFEST}")
        system.rm_file(f"{remote}/{MARK}")
        beside = f"{remote}.{QUARANTINE}"
        if system.exists(beside):
            system.rm_file(beside)


def run_mirrored(command: Callable[..., None], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Run ``command`` on a mirror of what its arguments and settings name by URLs."""
    called = hashlib.sha256(repr((command.__name__, arguments, sorted(named.items()))).encode()).hexdigest()[:16]
    mirror = Mirror(mirrors() / called)
    with _shown():
        _run_mirrored(mirror, command, arguments, named)
    shutil.rmtree(mirror.root)


def _run_mirrored(mirror: Mirror, command: Callable[..., None], arguments: Any, named: dict[str, Any]) -> None:
    finished = mirror.root / FINISHED
    with _transfers():
        local, named = mirror.settle(arguments), mirror.settle(named)
    mirror.drop_others()
    if not finished.is_file() or mirror.known != mirror.fetched:
        finished.unlink(missing_ok=True)
        before = mirror.files()
        try:
            command(*local, **named)
        except UserError:
            written = [path for path, state in mirror.files().items() if before.get(path) != state]
            mirror.upload([path for path in written if path.name.endswith("." + QUARANTINE)])
            raise
        written = [path for path, state in mirror.files().items() if before.get(path) != state]
        write_json(finished, [path.relative_to(mirror.root).as_posix() for path in written])
    with _transfers():
        mirror.upload([mirror.root / name for name in read_json(finished)])


@contextmanager
def _transfers() -> Iterator[None]:
    """What a storage answers is no mistake of the program."""
    botocore = sys.modules.get("botocore.exceptions")  # whose errors of connection and credentials are no OSError
    failures = (OSError,) if botocore is None else (OSError, botocore.BotoCoreError)
    try:
        yield
    except failures as error:
        raise UserError(
            f"the remote storage failed: {type(error).__name__}: {error}",
            fix="check its address and credentials; the same command goes on",
        ) from error


@contextmanager
def _shown() -> Iterator[None]:
    """Errors name URLs, not places in the mirror."""
    try:
        yield
    except UserError as error:
        where = None if error.where is None else shown(error.where)
        fix = None if error.fix is None else shown(error.fix)
        raise UserError(shown(error.what), where=where, line=error.line, fix=fix) from error
