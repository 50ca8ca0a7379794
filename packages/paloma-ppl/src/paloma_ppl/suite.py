"""Perplexity suites in Paloma's layout: ``SOURCE/{val,test}/*.jsonl.gz``, and ``suite.json`` for what is in them.

A suite with ``suite.json`` is verified: digests of all files before anything is read, counts while it is read. A
published Paloma release has no ``suite.json`` and is read as it is; its sources are the names of its folders, and
``index_suite`` writes a ``suite.json`` for it.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .documents import is_unicode
from .errors import UserError
from .files import NOT_CONTENT, PARTIAL, digest_file, read_json, read_lines, write_json

log = logging.getLogger(__name__)
FORMAT_VERSION = 1
SPLITS = ("val", "test")
SUITE_FILE = "suite.json"
HELD_OUT_FILE = "held_out.jsonl.gz"


@dataclass(frozen=True, slots=True)
class SuiteDocument:
    """One evaluation document."""

    id: str
    text: str
    source: str
    domain: str


@dataclass(frozen=True)
class Suite:
    """A suite whose files have been verified; ``files`` are relative to ``root``.

    ``digest`` is of its content: ``suite.json`` and all that it names, of a release the files of its splits alone, so
    that an index changes nothing.
    """

    root: Path
    name: str
    digest: str
    files: dict[str, dict[str, tuple[str, ...]]]  # source -> split -> files
    manifest: dict[str, Any] | None  # suite.json, or None for a Paloma release
    told: set[str] = field(default_factory=set, compare=False)  # splits whose oddities were told

    @property
    def release(self) -> bool:
        """Whether the rows are those of a published release, with or without an index."""
        return self.manifest is None or self.manifest["held_out_documents"] is None


def open_suite(root: Path) -> Suite:
    """Open a suite; a missing file, a changed file and a foreign file are UserErrors that name it."""
    if not root.is_dir():
        raise UserError("no such suite", where=root, fix="give the folder that paloma-ppl prepare wrote")
    paths = sorted(
        file
        for file in root.rglob("*")
        if file.is_file()
        and not file.name.endswith(PARTIAL)
        and not set(file.relative_to(root).parts) & set(NOT_CONTENT)
    )
    digests = {file.relative_to(root).as_posix(): digest_file(file) for file in paths}
    if (root / SUITE_FILE).is_file():
        manifest = read_json(root / SUITE_FILE)
        check_manifest(manifest, root / SUITE_FILE)
        files = listed_files(root, manifest, digests)
        name = manifest["name"]
    else:
        manifest = None
        files = release_files(digests)
        name = root.resolve().name
        if not files:
            raise UserError("no suite: neither suite.json nor SOURCE/val/*.jsonl.gz", where=root, fix="check the path")
    content = {path for splits in files.values() for paths in splits.values() for path in paths}
    if manifest is not None and manifest["held_out_documents"] is not None:
        content |= {SUITE_FILE, HELD_OUT_FILE} & digests.keys()
    total = hashlib.sha256()
    for path in sorted(content, key=Path):
        total.update(f"{path}\0{digests[path]}\n".encode())
    return Suite(root, name, "sha256:" + total.hexdigest(), files, manifest)


class Oddities:
    """What is odd in the rows of one source and split of a release: told with its count, and kept as published."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.ids: set[str] = set()
        self.repeated = self.unnamed = self.documents = 0

    def add(self, document: SuiteDocument) -> None:
        self.documents += 1
        self.repeated += document.id in self.ids
        self.ids.add(document.id)
        self.unnamed += document.domain == self.source

    def tell(self, where: str) -> None:
        if self.repeated:
            log.warning("%s: %d of %d documents have the id of an earlier one; all of them count",
                        where, self.repeated, self.documents)  # fmt: skip
        if 0 < self.unnamed < self.documents:
            log.warning("%s: %d of %d documents name no subdomain, or the source; they are the domain %s",
                        where, self.unnamed, self.documents, self.source)  # fmt: skip


def check_manifest(manifest: Any, where: Path) -> None:
    """A UserError where ``suite.json`` is not that of a suite of this version, or lacks what is read of it."""
    if not isinstance(manifest, dict) or manifest.get("artifact") != "suite":
        raise UserError("this is not the manifest of a suite", where=where, fix="check the path")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(f"format version {manifest.get('format_version')} is not known", where=where, fix="update")
    try:
        splits = [source[split] for source in manifest["sources"].values() for split in SPLITS]
        counts = [
            manifest["held_out_documents"] or 0,
            *(part[key] for part in splits for key in ("documents", "bytes")),
        ]
        texts = [
            manifest["name"],
            *(row[key] for part in splits for row in part["files"] for key in ("path", "digest")),
        ]
        whole = all(type(count) is int for count in counts) and all(isinstance(text, str) for text in texts)
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise UserError("the manifest is not whole", where=where, fix="prepare the suite again")


def listed_files(
    root: Path, manifest: dict[str, Any], digests: dict[str, str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Files by source and split as ``suite.json`` lists them, compared with those on disk."""
    files: dict[str, dict[str, tuple[str, ...]]] = {}
    for source, splits in manifest["sources"].items():
        files[source] = {}
        for split in SPLITS:
            rows = splits[split]["files"]
            files[source][split] = tuple(row["path"] for row in rows)
            for row in rows:
                found = digests.get(row["path"])
                if found is None:
                    raise UserError("a file of the suite is missing", where=root / row["path"], fix="restore it")
                if found != row["digest"]:
                    raise UserError(
                        "the file is not the one that suite.json describes (its digest differs)",
                        where=root / row["path"],
                        fix="restore it or prepare the suite again",
                    )
    listed = {path for splits in files.values() for paths in splits.values() for path in paths}
    for path in digests:
        if path.endswith(".jsonl.gz") and path != HELD_OUT_FILE and path not in listed:
            raise UserError("the file is not listed in suite.json", where=root / path, fix="move it away")
    return files


def release_files(digests: dict[str, str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Files of a published release by source folder and split."""
    files: dict[str, dict[str, list[str]]] = {}
    for path in sorted(digests):
        parts = path.split("/")
        if len(parts) == 3 and parts[1] in SPLITS and parts[2].endswith((".jsonl.gz", ".jsonl", ".jsonl.zst")):
            files.setdefault(parts[0], {split: [] for split in SPLITS})[parts[1]].append(path)
    return {source: {split: tuple(paths) for split, paths in splits.items()} for source, splits in files.items()}


def read_split(suite: Suite, split: str, limit: int | None = None) -> Iterator[SuiteDocument]:
    """Yield the documents of a split in the order of the suite; counts that differ from suite.json are UserErrors.

    With ``limit``, only the documents with the smallest SHA-256 of source and id: the same sample for every model.
    """
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} documents", where="limit", fix="give 1 or more")
    chosen = None if limit is None else smallest_hashes(read_all(suite, split), limit)
    index = -1
    for index, document in enumerate(read_all(suite, split)):
        if chosen is None or index in chosen:
            yield document
    if index < 0:
        raise UserError(f"the suite has no documents in {split}", where=suite.root, fix="choose the other split")


def read_all(suite: Suite, split: str) -> Iterator[SuiteDocument]:
    for source, splits in suite.files.items():
        documents = size = 0
        oddities = Oddities(source) if suite.release and split not in suite.told else None
        for path in splits[split]:
            for document in read_file(suite.root / path, source):
                documents += 1
                size += len(document.text.encode())
                if oddities is not None:
                    oddities.add(document)
                yield document
        if oddities is not None:
            oddities.tell(f"{source}/{split}")
        if suite.manifest is None:
            continue
        expected = suite.manifest["sources"][source][split]
        if (documents, size) != (expected["documents"], expected["bytes"]):
            raise UserError(
                f"{source}/{split} holds {documents} documents of {size} bytes, suite.json says "
                f"{expected['documents']} of {expected['bytes']}",
                where=suite.root / SUITE_FILE,
                fix="prepare the suite again",
            )
    suite.told.add(split)


def index_suite(root: Path) -> dict[str, Any]:
    """Write ``suite.json`` for a release that has none, and return it: files and counts are checked from then on."""
    suite = open_suite(root)
    if suite.manifest is not None:
        raise UserError("the suite has its suite.json", where=root / SUITE_FILE, fix="nothing is to be done")
    sources: dict[str, Any] = {}
    total = 0
    for source, splits in suite.files.items():
        sources[source] = {}
        for split in SPLITS:
            part: dict[str, Any] = {"files": [], "documents": 0, "bytes": 0, "domains": {}}
            oddities = Oddities(source)
            for path in splits[split]:
                row: dict[str, Any] = {"path": path, "documents": 0, "bytes": 0}
                for document in read_file(root / path, source):
                    oddities.add(document)
                    size = len(document.text.encode())
                    domain = part["domains"].setdefault(document.domain, {"documents": 0, "bytes": 0})
                    for counts in (row, part, domain):
                        counts["documents"] += 1
                        counts["bytes"] += size
                part["files"].append({**row, "digest": digest_file(root / path)})
            part["domains"] = dict(sorted(part["domains"].items()))
            oddities.tell(f"{source}/{split}")
            total += part["documents"]
            sources[source][split] = part
    manifest = {
        "artifact": "suite",
        "format_version": FORMAT_VERSION,
        "name": suite.name,
        "seed": None,
        "rule": {"domain_field": "subdomain", "group_field": None, "fraction": None},
        "sources": sources,
        "counts": {"read": total, "kept": total, "dropped": 0, "failed": 0},
        "held_out_documents": None,
    }
    write_json(root / SUITE_FILE, manifest)
    return manifest


def read_file(path: Path, source: str) -> Iterator[SuiteDocument]:
    """Documents of one file; a row that cannot be used is a UserError (an evaluation never drops text)."""
    for line, data in read_lines(path):
        try:
            row = json.loads(data)
        except (ValueError, RecursionError) as error:
            fault = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not valid JSON"
            raise UserError(fault, where=path, line=line, fix="restore the file") from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not is_unicode(row["text"]):
            raise UserError("the row has no text", where=path, line=line, fix="restore the file")
        if not row["text"]:
            raise UserError("the document is empty", where=path, line=line, fix="remove the row")
        identity, domain = str(row.get("id", line)), row.get("subdomain")  # a few published ids are integers
        domain = source if domain is None else str(domain)
        if not is_unicode(identity + domain):
            raise UserError("id or subdomain holds half a surrogate pair", where=path, line=line, fix="mend the row")
        yield SuiteDocument(identity, row["text"], source, domain)


def smallest_hashes(documents: Iterator[SuiteDocument], limit: int) -> set[int]:
    keyed = (
        (hashlib.sha256(f"{document.source}\0{document.id}".encode()).digest(), index)
        for index, document in enumerate(documents)
    )
    return {index for _, index in heapq.nsmallest(limit, keyed)}


def read_held_out(suite: Suite) -> Iterator[tuple[str, str, str]]:
    """Yield ``(source, id, group)`` of every document that must not be trained on; nothing for a Paloma release,
    whose ids say nothing about training documents.
    """
    path = suite.root / HELD_OUT_FILE
    if not path.is_file():
        if suite.manifest is not None and suite.manifest["held_out_documents"] is not None:
            raise UserError("the list of held-out documents is missing", where=path, fix="prepare the suite again")
        return
    number = 0
    for line, data in read_lines(path):
        try:
            row = json.loads(data)
            source, identity, group = row["source"], row["id"], row["group"]
            if not all(isinstance(text, str) and is_unicode(text) for text in (source, identity, group)):
                raise ValueError("no text")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError("not a row of held-out documents", where=path, line=line, fix="prepare again") from error
        yield source, identity, group
        number += 1
    if suite.manifest is not None and number != suite.manifest["held_out_documents"]:
        raise UserError(
            f"{number} held-out documents, suite.json says {suite.manifest['held_out_documents']}",
            where=path,
            fix="prepare the suite again",
        )
