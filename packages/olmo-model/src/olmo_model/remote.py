"""Objects behind URLs, s3:// and whatever else fsspec opens, read by ranges of bytes."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import UserError

log = logging.getLogger(__name__)
REQUESTS = 32  # at the same time
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)  # seconds before each further attempt to read
PAUSES_AT_START = PAUSES[:2]  # to find an object: a wrong address should be told soon
LIBRARIES = ("botocore", "aiobotocore", "s3fs", "fsspec")
NOT_FOUND = ("FileNotFoundError", "NoSuchKey", "NoSuchBucket")
REFUSED = ("PermissionError", "NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError")
OPENING = "check the address, and what the storage allows"
Found = TypeVar("Found")
Item = TypeVar("Item")


class RemoteFile:
    """A file of numbers behind a URL. Reading it once more after it was replaced is a UserError (S3)."""

    def __init__(self, url: str, dtype: npt.DTypeLike = np.uint8) -> None:
        """One head request tells the size; an object that is not there, or not for us, is a UserError."""
        self.name = url
        self.dtype = np.dtype(dtype)

        def opened() -> tuple[Any, int, dict[str, Any]]:
            handle = file_system(url).open(url, "rb", cache_type="none")
            return handle, int(handle.size), dict(handle.details)

        self._handle, self.size, details = _asked(opened, url, PAUSES_AT_START)
        changed = details.get("ETag") or details.get("etag") or details.get("LastModified") or details.get("mtime")
        self.version = f"{self.size} bytes, {str(changed).strip(chr(34))}"

    def __len__(self) -> int:
        return self.size // self.dtype.itemsize

    def read(self, start: int, end: int) -> npt.NDArray[Any]:
        """The numbers from ``start`` to ``end``, exclusive, in one request."""
        size = self.dtype.itemsize
        return np.frombuffer(self.bytes(start * size, end * size), dtype=self.dtype)

    def bytes(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``, exclusive; interrupted requests are made again."""
        if start == end:
            return b""

        def fetched() -> bytes:
            data: bytes = self._handle._fetch_range(start, end)  # what every file of fsspec has; reads side by side
            if len(data) != end - start:
                raise ConnectionError(f"{len(data)} of {end - start} bytes came")
            return data

        return _asked(fetched, self.name, PAUSES)


def open_all(open_one: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """``open_one`` of every item, in order, as many as are allowed at the same time."""
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="remote") as pool:
        return list(pool.map(open_one, items))


def read_whole(url: str) -> bytes | None:
    """Content of a small object; None where there is none."""
    try:
        return bytes(_asked(lambda: file_system(url).cat_file(url), url, PAUSES_AT_START))
    except MissingError:
        return None


def exists(url: str) -> bool:
    """Whether there is such an object."""
    return bool(_asked(lambda: file_system(url).exists(url), url, PAUSES_AT_START))


def put(file: Path, url: str) -> None:
    """Copy a file to a URL; FileNotFoundError where there is no such file."""
    file.stat()
    _asked(lambda: file_system(url).put_file(str(file), url), url, PAUSES)


def put_bytes(content: bytes, url: str) -> None:
    """Write a small object."""
    _asked(lambda: file_system(url).pipe_file(url, content), url, PAUSES_AT_START)


def remove_tree(url: str) -> None:
    """Remove all objects below a URL, if there are any."""

    def removed() -> None:
        system = file_system(url)
        if system.exists(url):
            system.rm(url, recursive=True)

    _asked(removed, url, PAUSES)


class MissingError(UserError):
    """There is no such object."""


@lru_cache(maxsize=16)
def _system(scheme: str) -> Any:
    import fsspec  # type: ignore[import-untyped]

    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)  # each tells where it found credentials
    options: dict[str, Any] = {"auto_mkdir": True} if scheme in ("file", "local") else {}
    if scheme in ("s3", "s3a"):
        options = {"config_kwargs": {"max_pool_connections": REQUESTS}}
    return fsspec.filesystem(scheme, **options)


def file_system(url: str) -> Any:
    """The fsspec file system of a URL; UserError where nothing is installed for its scheme."""
    scheme = url.partition("://")[0]
    try:
        return _system(scheme)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"nothing is installed that opens {scheme}://: {error}",
            where=url,
            fix="pip install 'olmo-model[s3]', and what is named here",
        ) from error


def _asked(ask: Callable[[], Found], url: str, pauses: Sequence[float]) -> Found:
    """What ``ask`` gives, asked again after each of the ``pauses`` where the connection failed."""
    left = list(pauses)
    while True:
        try:
            return ask()
        except UserError:
            raise
        except Exception as error:
            if not isinstance(error, (OSError, ValueError, *_errors())):
                raise
            name = type(error).__name__
            if name == "FileExpired":
                raise UserError(
                    "the object was replaced while it was being read",
                    where=url,
                    fix="restore it; the run goes on from its newest checkpoint",
                ) from error
            if name in NOT_FOUND:
                raise MissingError("there is no such object", where=url, fix="check the address") from error
            if name in REFUSED:
                raise UserError(
                    f"the storage refuses it: {_text(error)}",
                    where=url,
                    fix="give credentials that may read it (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
                    "profile)",
                ) from error
            if isinstance(error, ValueError) or not left:
                raise UserError(
                    f"the storage failed: {name}: {_text(error)}",
                    where=url,
                    fix="check the address (for S3: AWS_ENDPOINT_URL too) and the connection; the same command goes on",
                ) from error
            pause = left.pop(0)
            log.warning("%s: %s: %s; asking again in %g s", url, name, _text(error), pause)
            time.sleep(pause)


def _errors() -> tuple[type[Exception], ...]:
    """Errors of the libraries that are no OSError."""
    modules = [sys.modules.get("botocore.exceptions"), sys.modules.get("aiohttp")]
    names = ("BotoCoreError", "ClientError", "HTTPClientError")
    known = [getattr(module, name) for module in modules if module for name in names if hasattr(module, name)]
    return (*known, TimeoutError)


def _text(error: Exception) -> str:
    """An error in one line, without the query of a signed URL."""
    return re.sub(r"\?\S+", "?…", " ".join(str(error).split()))
