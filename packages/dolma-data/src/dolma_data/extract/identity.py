"""Ids that several documents of one source have: refused, or told apart by numbers."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from ..documents import DocumentsArtifact, read_rows
from ..errors import UserError
from ..shard_writing import ShardWriter

KEY_BYTES = 8
log = logging.getLogger(__name__)


def key_of(source: str, identifier: str) -> bytes:
    """Eight bytes that stand for a source and an id."""
    return hashlib.sha256(f"{source}\0{identifier}".encode()).digest()[:KEY_BYTES]


def settle_ids(artifact: DocumentsArtifact, keys: bytes, repeated: Literal["refuse", "number"]) -> None:
    """Leave no id twice in a source of ``artifact``, whose documents have the ``keys``, in any order.

    ``number`` rewrites the files that hold a document with an id that stands earlier: the second becomes ``ID#2``,
    and a number whose id is taken is passed over. ``refuse`` raises UserError with both places.
    """
    values, counts = np.unique(np.frombuffer(keys, dtype="<u8"), return_counts=True)
    suspects = {value.tobytes() for value in values[counts > 1].astype("<u8")}
    if not suspects:
        return
    if repeated == "refuse":
        _refuse(artifact, suspects)
    else:
        _number(artifact, suspects, values)


def _refuse(artifact: DocumentsArtifact, suspects: set[bytes]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for file in artifact.manifest()["files"]:
        for document in _documents(artifact, file["path"]):
            name = (document["source"], document["id"])
            if key_of(*name) not in suspects:
                continue
            place = _place(document["metadata"])
            if name in seen:
                raise UserError(
                    f"two documents of source {name[0]!r} have the id {name[1]!r}: {seen[name]} and {place}",
                    fix="leave one out, tell them apart with --source, or number them with --repeated-ids number",
                )
            seen[name] = place


def _number(artifact: DocumentsArtifact, suspects: set[bytes], values: np.ndarray) -> None:
    """``values`` are all keys as sorted integers."""
    given: set[bytes] = set()

    def taken(key: bytes) -> bool:
        value = np.frombuffer(key, dtype="<u8")[0]
        place = int(np.searchsorted(values, value))
        return key in given or (place < len(values) and values[place] == value)

    last: dict[tuple[str, str], int] = {}
    renamed = 0
    for file in artifact.manifest()["files"]:
        names: dict[int, str] = {}
        for row, document in enumerate(_documents(artifact, file["path"])):
            name = (document["source"], document["id"])
            if key_of(*name) not in suspects:
                continue
            if name not in last:
                last[name] = 1
                continue
            last[name] += 1
            while taken(key_of(name[0], f"{name[1]}#{last[name]}")):
                last[name] += 1
            names[row] = f"{name[1]}#{last[name]}"
            given.add(key_of(name[0], names[row]))
        if names:
            _rewrite(artifact, file["path"], names)
            renamed += len(names)
    log.info("%d documents have an id that stands earlier in their source; it is numbered (ID#2)", renamed)


def _rewrite(artifact: DocumentsArtifact, path: str, names: dict[int, str]) -> None:
    """Write a file again, the ids of some rows replaced."""
    with ShardWriter(artifact.folder, lambda _: path) as writer:
        for row, document in enumerate(_documents(artifact, path)):
            writer.keep(document | {"id": names.get(row, document["id"])})


def _documents(artifact: DocumentsArtifact, path: str) -> Iterator[dict[str, Any]]:
    for row in read_rows(artifact.folder / path):
        assert row.document is not None
        yield row.document


def _place(metadata: dict[str, Any]) -> str:
    place = str(metadata["file"])
    if "line" in metadata:
        return f"{place}, line {metadata['line']}"
    if "uncompressed_offset" in metadata:
        return f"{place}, byte {metadata['uncompressed_offset']}"
    return place
