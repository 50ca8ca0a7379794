"""Remote files on local disk while a command works on them.

A command works on local files. Before it, what its settings name by a URL is fetched to the same place of a mirror;
after it, what it has written there is uploaded. Renaming is not atomic on object stores, so an artifact is put between
two marks: ``manifest.json.partial`` goes first and is removed last, ``manifest.json`` is removed first and comes last.
An interrupted upload leaves no manifest, readers refuse what it left, and the same command ends it.

The mirror lies in the folder for temporary files (``TMPDIR``), under a name made from the command, so that a command
that was interrupted finds what it had; it is removed when the command has succeeded. A journal says of every file in
what state it was fetched or uploaded; whatever is in another state was written by the command.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from glob import has_magic
from pathlib import Path
from typing import Any

from .config.kinds import Local, Place
from .config.mix import MixStream
from .documents import ATTRIBUTES, DOCUMENTS, MANIFEST, QUARANTINE
from .errors import UserError
from .files import NOT_CONTENT, PARTIAL, read_json, write_json, writing
from .remote import WEB, mirrors, split_url, with_urls
from .storage import Infos, Storage, transfers, version_of

MARK = MANIFEST + PARTIAL
JOURNAL, FINISHED = "journal.json", "finished.json"
FETCHED, PUT = "fetched", "put"
TEXTS = (".json", ".jsonl", ".md", ".html")  # written for people, so that they may hold places of the mirror
BATCH = 64  # files that are moved between two entries of the journal
TIMES = 3  # a file that changes while it is read is fetched so often
log = logging.getLogger(__name__)


class Mirror:
    """Local copies of remote files under ``root/SCHEME/BUCKET/KEY``.

    ``keeps``: what the command has written and is not uploaded yet is worth more than what lies at its URL.
    ``explains``: everything that could be written is read, and documents with all their attributes.
    """

    def __init__(self, root: Path, *, resumes: bool = False, explains: bool = False) -> None:
        self.root = root
        self.with_attributes = resumes or explains
        self.explains = explains
        self.keeps = resumes or (root / FINISHED).is_file()
        self.changed = False  # whether what is fetched is other than what an interrupted run had
        self.storage = Storage()
        stated = read_json(root / JOURNAL) if (root / JOURNAL).is_file() else {}
        self.token: str = stated.get("token") or secrets.token_hex(8)  # tells marks of this mirror from those of others
        # by place in the mirror: local size and time, version at the URL, fetched or put
        self.journal: dict[str, list[Any]] = stated.get("files", {})
        self.seen: set[str] = set()
        self.documents: dict[str, set[tuple[str, str]]] = {}  # by setting: (scheme, path) of its files

    # --- places and states

    def key(self, scheme: str, path: str) -> str:
        """Name of a remote path below the mirror, without what follows the ``?`` of a web address: it may be secret."""
        return f"{scheme}/{path.partition('?')[0] if scheme in WEB else path}"

    def state(self, key: str) -> list[int] | None:
        """Size and time of a local file; None where there is none."""
        path = self.root / key
        if not path.is_file():
            return None
        state = path.stat()
        return [state.st_size, state.st_mtime_ns]

    def pending(self) -> list[Path]:
        """Files that the command has written and that are not uploaded."""
        paths = sorted(self.root.glob("*/**/*"))
        finished = (path for path in paths if path.is_file() and not _unfinished(path.relative_to(self.root)))
        return [path for path in finished if not self._is_settled(path.relative_to(self.root).as_posix())]

    def _is_settled(self, key: str) -> bool:
        return key in self.journal and self.journal[key][:2] == self.state(key)

    def _note(self, key: str, version: str | None, how: str) -> None:
        self.journal[key] = [*(self.state(key) or (None, None)), version, how]

    def save(self) -> None:
        """Write the journal, so that a later run goes on from here."""
        write_json(self.root / JOURNAL, {"token": self.token, "files": self.journal})

    # --- fetching

    def take(self, scheme: str, path: str, role: Place | Local) -> Path | str:
        """Fetch what a setting names, as its role says; its place in the mirror."""
        if scheme == "file":
            return "/" + path
        local = self.root / self.key(scheme, path)
        with transfers(f"{scheme}://{path}"):
            if role is Place.WRITTEN and not self.explains:
                self._look_at_output(local, scheme, path)
            elif role in (Place.WRITTEN, Place.KEPT):
                self._fetch_kept(scheme, path)
            else:
                self._fetch_input(scheme, path, role)
        return local

    def _fetch_input(self, scheme: str, path: str, role: Place | Local) -> None:
        storage = self.storage

        def look() -> Infos:
            found = storage.look(scheme, path)
            inside = f"{path}/{DOCUMENTS}/"
            if role is Place.DOCUMENTS and any(file.startswith(inside) for file in found):
                beside = {f"{path}/{MANIFEST}", f"{path}/{MARK}"}
                found = {file: info for file, info in found.items() if file.startswith(inside) or file in beside}
            return found

        infos = look()
        if not infos:
            raise UserError("no such file or folder", where=f"{scheme}://{path}", fix="check the address")
        roots = {root for file in infos for root, _ in _splits(file)}
        if infos.keys() == {path}:
            roots.add(path.rpartition("/")[0])
        marks = {f"{root}/{MARK}" for root in roots if scheme not in WEB and storage.exists(scheme, f"{root}/{MARK}")}
        for mark in sorted(marks | {file for file in infos if file.endswith(f"/{MARK}")}):
            raise UserError(
                "an upload was interrupted here",
                where=f"{scheme}://{mark.removesuffix(MARK)}",
                fix="run the command that writes it again",
            )
        self._fetch(scheme, infos, look)
        if role is Place.DOCUMENTS:
            self.documents.setdefault(f"{scheme}://{path}", set()).update((scheme, file) for file in infos)
            if self.with_attributes:
                self._fetch_attributes({(scheme, file) for file in infos}, None)

    def _look_at_output(self, local: Path, scheme: str, path: str) -> None:
        """Have the place of an output look as it does at its URL, so that a command refuses what it would locally."""
        infos = self.storage.look(scheme, path)
        if not infos:
            self.storage.check_bucket(scheme, path)
        manifest = f"{path}/{MANIFEST}"
        if path in infos or f"{path}/{MARK}" in infos or local.exists():
            return
        if manifest in infos:
            self._fetch(scheme, {manifest: infos[manifest]}, None)
            return
        for file, info in infos.items():
            if not file.startswith(tuple(f"{path}/{name}/" for name in NOT_CONTENT)):
                key = self.key(scheme, file)
                (self.root / key).parent.mkdir(parents=True, exist_ok=True)
                (self.root / key).touch()
                self._note(key, version_of(info), PUT)

    def _fetch_kept(self, scheme: str, path: str) -> None:
        """Whatever is whole there, if anything is."""

        def look() -> Infos:
            found = self.storage.look(scheme, path)
            cut = tuple(file.removesuffix(MARK) for file in found if file.endswith(f"/{MARK}"))
            return {file: info for file, info in found.items() if not file.startswith(cut)}

        infos = look()
        if not infos and not self.explains:
            self.storage.check_bucket(scheme, path)
        key = self.key(scheme, path)
        if path not in infos and not self.keeps and (self.root / key).is_file():
            (self.root / key).unlink()  # of a run that was interrupted after it
        self._fetch(scheme, infos, look)

    def fetch_attributes(self, value: Any) -> None:
        """The attributes that streams join, of the documents that were fetched for them."""
        if isinstance(value, MixStream):
            urls = [url for url in map(split_url, value.documents) if url is not None]
            found = {file for scheme, path in urls for file in self.documents.get(f"{scheme}://{path}", ())}
            with transfers(", ".join(value.documents)):
                self._fetch_attributes(found, value.attributes)
        elif is_dataclass(value) and not isinstance(value, type):
            self.fetch_attributes(list(vars(value).values()))
        elif isinstance(value, tuple | list):
            for one in value:
                self.fetch_attributes(one)

    def _fetch_attributes(self, documents: set[tuple[str, str]], names: Sequence[str] | None) -> None:
        """The attributes called ``names`` (None: all that are whole) of documents, with what describes them."""
        trees: dict[tuple[str, str], set[str]] = {}
        for scheme, file in documents:
            for root, tree in _splits(file):
                trees.setdefault((scheme, root), set()).add(tree)
        for (scheme, root), wanted in sorted(trees.items()):
            folder = f"{root}/{ATTRIBUTES}"
            places = [f"{folder}/{name}{'/**' if has_magic(name) else ''}" for name in names or ()]
            for place in [folder] if names is None else places:

                def look(place: str = place, scheme: str = scheme, folder: str = folder, wanted: Any = wanted) -> Infos:
                    infos = self.storage.look(scheme, place)
                    cut = tuple(file.removesuffix(MARK) for file in infos if file.endswith(f"/{MARK}"))
                    if cut and names is not None:
                        raise UserError(
                            "an upload was interrupted here",
                            where=f"{scheme}://{cut[0]}",
                            fix="run the command that writes it again",
                        )
                    return {
                        file: info
                        for file, info in infos.items()
                        if not file.startswith(cut) and _belongs(file.removeprefix(folder + "/"), wanted)
                    }

                self._fetch(scheme, look(), look)

    def _fetch(self, scheme: str, infos: Infos, look: Callable[[], Infos] | None) -> None:
        """Bring the files of a listing up to date; what changes meanwhile is fetched again."""
        for _ in range(TIMES):
            wanted = {path: info for path, info in infos.items() if self._wants(scheme, path, info)}
            self.seen.update(self.key(scheme, path) for path in infos)
            if not wanted:
                return
            self._check_room(scheme, wanted)
            log.info("fetching %d files from %s://", len(wanted), scheme)
            paths = list(wanted)
            for first in range(0, len(paths), BATCH):
                batch = paths[first : first + BATCH]
                local = [self.root / self.key(scheme, path) for path in batch]
                partial = [path.with_name(path.name + PARTIAL) for path in local]
                for target in local:
                    target.parent.mkdir(parents=True, exist_ok=True)
                self.storage.get(scheme, batch, partial)
                for path, fetched, target in zip(batch, partial, local, strict=True):
                    fetched.replace(target)
                    self._note(self.key(scheme, path), version_of(wanted[path]), FETCHED)
                self.save()
            self.changed = True
            if look is None:
                return
            infos = look()
        changing = next((path for path, info in infos.items() if self._wants(scheme, path, info)), None)
        if changing is not None:
            where = f"{scheme}://{changing}"
            raise UserError("the file changes while it is read", where=where, fix="wait until it is whole")

    def _wants(self, scheme: str, path: str, info: dict[str, Any]) -> bool:
        key = self.key(scheme, path)
        if self.keeps and self.state(key) is not None and not self._is_settled(key):
            return False  # written here, and not uploaded yet
        return not (self._is_settled(key) and self.journal[key][2] == version_of(info))

    def _check_room(self, scheme: str, wanted: Infos) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        needed = sum(int(info.get("size") or 0) for info in wanted.values())
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise UserError(
                f"{len(wanted)} files of {scheme}:// take {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free",
                where=mirrors().parent,
                fix="set TMPDIR to a folder with room for what is read and written, or name fewer files at a time",
            )

    def drop_others(self) -> None:
        """Remove what an interrupted run fetched and is not there any more."""
        for key in [key for key, row in self.journal.items() if row[3] == FETCHED and key not in self.seen]:
            (self.root / key).unlink(missing_ok=True)
            del self.journal[key]
            self.changed = True
        self.root.mkdir(parents=True, exist_ok=True)
        self.save()

    def read(self, path: Path) -> bytes | None:
        """What lies at the URL of a place in the mirror, None where nothing does."""
        scheme, remote = self._remote(path)
        with transfers(f"{scheme}://{remote}"):
            return self.storage.read(scheme, remote) if self.storage.exists(scheme, remote) else None

    # --- uploading

    def publish(self, only: str = "") -> None:
        """Upload what was written (and ends in ``only``): artifacts as wholes, then what belongs to none of them."""
        pending = [path for path in self.pending() if path.name.endswith(only)]
        for path in pending:
            if path.suffix in TEXTS:
                text = path.read_text(encoding="utf-8", errors="surrogateescape")
                if with_urls(text) != text:
                    with writing(path):
                        path.write_text(with_urls(text), encoding="utf-8", errors="surrogateescape")
        owned: dict[Path, list[Path]] = {path.parent: [] for path in pending if path.name == MANIFEST}
        loose = []
        for path in pending:
            owner = next((folder for folder in path.parents if folder in owned), None)
            loose.append(path) if owner is None else owned[owner].append(path)
        for folder, files in owned.items():
            scheme, remote = self._remote(folder)
            with transfers(f"{scheme}://{remote}"):
                self._upload_artifact(folder, files)
        self._put(loose)

    def _remote(self, path: Path) -> tuple[str, str]:
        scheme, _, remote = path.relative_to(self.root).as_posix().partition("/")
        return scheme, remote

    def _put(self, paths: list[Path]) -> None:
        for first in range(0, len(paths), BATCH):
            batch = paths[first : first + BATCH]
            places = [self._remote(path) for path in batch]
            for scheme in sorted({scheme for scheme, _ in places}):
                chosen = [(path, place) for path, (own, place) in zip(batch, places, strict=True) if own == scheme]
                with transfers(f"{scheme}://{chosen[0][1]}"):
                    self.storage.put(scheme, [path for path, _ in chosen], [place for _, place in chosen])
                    for _, place in chosen:
                        self._note(self.key(scheme, place), self.storage.version(scheme, place), PUT)
            self.save()

    def _upload_artifact(self, folder: Path, pending: list[Path]) -> None:
        scheme, remote = self._remote(folder)
        storage = self.storage
        there = {path.removeprefix(remote + "/"): info for path, info in storage.look(scheme, remote).items()}
        if (
            there
            and not there.keys() & {MANIFEST, MARK}
            and not all(name.startswith(tuple(f"{one}/" for one in NOT_CONTENT)) for name in there)
        ):
            raise UserError(
                "the output exists and is no artifact, so it is not replaced",
                where=f"{scheme}://{remote}",
                fix="give another output",
            )
        log.info("uploading %d files to %s://%s", len(pending), scheme, remote)
        here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        here = {name for name in here if not _unfinished(Path(name))}
        mark: dict[str, Any] = {"token": self.token}
        begun = json.loads(storage.read(scheme, f"{remote}/{MARK}") or b"{}") if MARK in there else {}
        if begun.get("token") == self.token:
            mark = begun
        else:
            mark["same documents"] = MARK not in there and self._has_same_documents(folder, scheme, remote, here, there)
            storage.write(scheme, f"{remote}/{MARK}", json.dumps(mark).encode())
        if MANIFEST in there:
            storage.remove(scheme, f"{remote}/{MANIFEST}")
        written = {path.relative_to(folder).as_posix() for path in pending}
        missing = here - there.keys() - {MANIFEST}
        self._put([folder / name for name in sorted((written | missing) - {MANIFEST})])
        stale = {name for name in there.keys() - here - {MANIFEST, MARK} if name.split("/")[0] not in NOT_CONTENT}
        attributes = {name for name in stale if name.startswith(ATTRIBUTES + "/")}
        if mark["same documents"]:
            stale, attributes = stale - attributes, set()
        for name in sorted(stale):
            storage.remove(scheme, f"{remote}/{name}")
        if attributes:
            log.warning("the documents were replaced, their attributes are removed: %s://%s", scheme, remote)
        storage.put(scheme, [folder / MANIFEST], [f"{remote}/{MANIFEST}"])
        storage.remove(scheme, f"{remote}/{MARK}")
        self._note(self.key(scheme, f"{remote}/{MANIFEST}"), storage.version(scheme, f"{remote}/{MANIFEST}"), PUT)
        self.save()
        beside = f"{remote}.{QUARANTINE}"
        if storage.exists(scheme, beside):
            storage.remove(scheme, beside)

    def _has_same_documents(self, folder: Path, scheme: str, remote: str, here: set[str], there: Infos) -> bool:
        """Whether the documents at the URL are those that are to be put there."""
        names = {name for name in here if name.startswith(DOCUMENTS + "/")}
        return names == {name for name in there if name.startswith(DOCUMENTS + "/")} and all(
            self.storage.is_same(scheme, f"{remote}/{name}", there[name], folder / name) for name in sorted(names)
        )


def _unfinished(relative: Path) -> bool:
    return any(part.endswith(PARTIAL) for part in relative.parts)


def _splits(file: str) -> list[tuple[str, str]]:
    """``(root, tree)`` of a path at every folder called documents."""
    places = [match.start() for match in re.finditer(f"/{DOCUMENTS}/", file)]
    return [(file[:place], file[place + len(DOCUMENTS) + 2 :]) for place in places]


def _belongs(name: str, trees: set[str]) -> bool:
    """Whether ``NAME/tree`` is the attributes of one of ``trees`` or says something of the folder ``NAME``."""
    tree = name.partition("/")[2]
    return tree in trees or tree == MANIFEST or tree.startswith(("matches.", *(f"{one}/" for one in NOT_CONTENT)))
