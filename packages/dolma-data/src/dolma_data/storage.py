"""What the mirror asks of a remote storage, by fsspec: listing, moving and removing files; its failures in one line."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError
from .remote import WEB, concealed

Infos = dict[str, dict[str, Any]]  # by path without scheme, what fsspec says of a file
PIECE = 1 << 20
LIBRARIES = ("botocore", "aiobotocore", "s3fs", "fsspec")


def version_of(info: dict[str, Any]) -> str:
    """What tells versions of a file apart."""
    changed = info.get("LastModified") or info.get("mtime") or info.get("updated")
    return json.dumps([info.get("size"), info.get("ETag") or info.get("etag"), str(changed)])


def file_system(scheme: str, where: str) -> Any:
    """The fsspec file system of a scheme; UserError where nothing is installed for it."""
    try:
        import fsspec  # type: ignore[import-untyped]

        for library in LIBRARIES:
            logging.getLogger(library).setLevel(logging.WARNING)  # each tells where it found credentials
        return fsspec.filesystem(scheme)
    except (ImportError, ValueError) as error:
        fix = "pip install 'dolma-data[remote]', and what is named here"
        raise UserError(f"nothing is installed that opens {scheme}://: {error}", where=where, fix=fix) from error


class Storage:
    """File systems by scheme."""

    def __init__(self) -> None:
        self._systems: dict[str, Any] = {}

    def system(self, scheme: str, path: str) -> Any:
        """The file system of a scheme, made once; what it remembers of listings is dropped."""
        if scheme not in self._systems:
            self._systems[scheme] = file_system(scheme, concealed(f"{scheme}://{path}"))
        self._systems[scheme].invalidate_cache()
        return self._systems[scheme]

    def look(self, scheme: str, path: str) -> Infos:
        """The file, the files of the folder or those that match the pattern; none where there is nothing."""
        system = self.system(scheme, path)
        if scheme in WEB:
            return {path: system.info(f"{scheme}://{path}")}
        try:
            info = system.info(path)
            if info["type"] == "file":
                return {path: info}
            found = system.find(path, detail=True)
        except FileNotFoundError:
            found = system.glob(path, detail=True) if re.search(r"[*?\[]", path) else {}
        return {name: info for name, info in sorted(found.items()) if _is_file(name, info)}

    def exists(self, scheme: str, path: str) -> bool:
        """Whether a file (no folder) is there."""
        try:
            return bool(self.system(scheme, path).info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def version(self, scheme: str, path: str) -> str:
        """What changes when the file does: see :func:`version_of`."""
        return version_of(self.system(scheme, path).info(path))

    def check_bucket(self, scheme: str, path: str) -> None:
        """UserError where the bucket that is to be written to is not there, before any work."""
        bucket = path.partition("/")[0]
        try:
            self.system(scheme, path).info(bucket)
        except FileNotFoundError as error:
            raise UserError("there is no such bucket", where=f"{scheme}://{bucket}", fix="make it first") from error

    def get(self, scheme: str, paths: Sequence[str], targets: Sequence[Path]) -> None:
        """Fetch files into local ones, together where there are several."""
        system = self.system(scheme, paths[0])
        names = [f"{scheme}://{path}" if scheme in WEB else path for path in paths]
        if len(names) == 1:
            system.get_file(names[0], str(targets[0]))  # get takes a name with a star for a pattern
        else:
            system.get(names, [str(target) for target in targets])

    def put(self, scheme: str, sources: Sequence[Path], paths: Sequence[str]) -> None:
        """Upload local files, together where there are several; each is visible when it is whole."""
        system = self.system(scheme, paths[0])
        if len(paths) == 1:
            system.put_file(str(sources[0]), paths[0])
        else:
            system.put([str(source) for source in sources], list(paths))

    def read(self, scheme: str, path: str) -> bytes:
        """Content of a small file."""
        return bytes(self.system(scheme, path).cat_file(path))

    def write(self, scheme: str, path: str, data: bytes) -> None:
        """Write a small file whole."""
        self.system(scheme, path).pipe_file(path, data)

    def remove(self, scheme: str, path: str) -> None:
        """Remove a file."""
        self.system(scheme, path).rm_file(path)

    def is_same(self, scheme: str, path: str, info: dict[str, Any], local: Path) -> bool:
        """Whether a remote file has the content of a local one."""
        if info.get("size") != local.stat().st_size:
            return False
        with local.open("rb") as mine:
            if str(info.get("ETag", "")).strip('"') == hashlib.file_digest(mine, "md5").hexdigest():
                return True  # what S3 answers for an object that was put whole
            mine.seek(0)
            with self.system(scheme, path).open(path, "rb") as other:
                while piece := other.read(PIECE):
                    if piece != mine.read(len(piece)):
                        return False
        return True


def _is_file(name: str, info: dict[str, Any]) -> bool:
    if not name or info.get("type") != "file" or str(info.get("Key", "")).endswith("/"):
        return False  # the empty objects that stand for folders
    if ".." in name.split("/") or "//" in name:
        raise UserError("a key with '..' or '//' in it has no place on a disk", where=name, fix="name it otherwise")
    return True


@contextmanager
def transfers(where: str) -> Iterator[None]:
    """What a storage answers is no mistake of the program: a UserError that names ``where`` and what to do."""
    libraries = [sys.modules.get("botocore.exceptions"), sys.modules.get("aiohttp")]
    names = ("BotoCoreError", "ClientError")  # the errors of both that are no OSError
    known = tuple(getattr(module, name) for module in libraries if module for name in names if hasattr(module, name))
    try:
        yield
    except (OSError, *known) as error:
        raise UserError(
            concealed(f"the remote storage failed: {type(error).__name__}: {error}"),
            where=concealed(where),
            fix=_fix(error),
        ) from error


def _fix(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "check the credentials and what they allow"
    if isinstance(error, FileNotFoundError):
        return "check the address"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "make room, or set TMPDIR to a folder that has it; the same command goes on"
    return "check its address and credentials; the same command goes on"
