"""Make a suite: hold groups of documents out of a corpus, the same groups in all its sources.

Three passes over the documents at most, nothing but hashes in memory: which groups (``subsample``); with a byte
target, which of their documents; then writing.
"""

from __future__ import annotations

import heapq
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from .config import PrepareConfig
from .documents import Document, Tally, document_files, field_value, read_documents
from .errors import UserError
from .files import atomic_artifact, atomic_write, digest_file, write_json
from .progress import Progress
from .provenance import recorded
from .subsample import Choice, DomainSketch, Key, choose_groups, group_key
from .suite import FORMAT_VERSION, HELD_OUT_FILE, SPLITS, SUITE_FILE

log = logging.getLogger(__name__)
MAXIMUM_FRACTION = 0.25
Cell = tuple[str, str, str]  # source, split, domain


@dataclass
class Placed:
    """Where a document goes: its domain, group, the split of its group (None: training)."""

    document: Document
    domain: str
    group: str
    split: str | None
    domain_is_in_suite: bool


@dataclass
class Written:
    """Counts of one split of one source."""

    documents: int = 0
    bytes: int = 0
    domains: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, domain: str, size: int) -> None:
        self.documents += 1
        self.bytes += size
        counts = self.domains.setdefault(domain, {"documents": 0, "bytes": 0})
        counts["documents"] += 1
        counts["bytes"] += size


def check(config: PrepareConfig) -> None:
    if not 0 < config.fraction <= MAXIMUM_FRACTION:
        raise UserError(f"a fraction of {config.fraction}", where="fraction", fix="give one above 0, at most 0.25")
    if config.target_bytes_per_domain is not None and config.target_bytes_per_domain < 1:
        raise UserError("the target is below one byte", where="target_bytes_per_domain", fix="give 1 or more")
    document_files(config.documents)


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Write the suite and return its ``suite.json``."""
    check(config)
    inputs = [config.documents]
    with (
        recorded(
            "paloma-ppl", "prepare", folder=config.output, config=config, inputs=inputs, seed=config.seed
        ) as record,
        atomic_artifact(config.output, "suite", manifest_name=SUITE_FILE) as folder,
    ):
        tally = Tally()
        choice = choose(config, tally)
        chosen = None if config.target_bytes_per_domain is None else choose_documents(config, choice)
        manifest = write_suite(folder, config, choice, chosen, tally)
        record.outputs = [config.output]
        record.counts = {**manifest["counts"], "held_out": manifest["held_out_documents"]}
    return manifest


def choose(config: PrepareConfig, tally: Tally) -> Choice:
    """Read the documents once and choose the groups; a UserError where nothing can be held out."""
    sketches: dict[str, DomainSketch] = defaultdict(DomainSketch)
    lacking = Counter({name: 0 for name in (config.domain_field, config.group_field) if name})
    with Progress("choosing groups") as progress:
        for document in read_documents(config.documents, tally):
            domain, group = domain_and_group(document, config)
            sketches[domain].add(group_key(config.seed, group), config.fraction)
            lacking.update(name for name in lacking if field_value(document.row, name) is None)
            progress.advance()
    tally.settle(config.output.with_name(config.output.name + ".quarantine.jsonl"), config.max_failed)
    for name, number in lacking.items():
        if number and number == tally.read - tally.blank - tally.failed:
            raise UserError(f"no document has the field {name}", where=config.documents, fix="check its spelling")
        if number:
            log.warning("%d documents lack the field %s", number, name)
    choice = choose_groups(sketches, config.fraction, config.minimum_documents)
    if not choice.split:
        raise UserError(
            f"no domain has at least three groups and {config.minimum_documents} documents, so nothing can be held out",
            where=config.documents,
            fix="give more documents, another --domain-field or a lower --minimum-documents",
        )
    if choice.left_in_training:
        log.info("left wholly in training, too few groups or documents: %s", ", ".join(choice.left_in_training))
    return choice


def domain_and_group(document: Document, config: PrepareConfig) -> tuple[str, str]:
    """A document without the domain field belongs to its source's domain, without the group field to its id's group."""
    domain = field_value(document.row, config.domain_field) if config.domain_field else None
    group = field_value(document.row, config.group_field) if config.group_field else None
    return domain or document.source, group or document.id


def placed_documents(config: PrepareConfig, choice: Choice) -> Iterator[Placed]:
    left = set(choice.left_in_training)
    for document in read_documents(config.documents, Tally()):
        domain, group = domain_and_group(document, config)
        split = choice.split.get(group_key(config.seed, group)[1])
        yield Placed(document, domain, group, split, domain not in left)


def document_key(config: PrepareConfig, document: Document) -> Key:
    return group_key(config.seed, f"{document.source}\0{document.id}")


def choose_documents(config: PrepareConfig, choice: Choice) -> dict[Cell, Key]:
    """Per source, split and domain the key of the last document that is taken to pass the byte target.

    Only as many documents are remembered as the target needs.
    """
    target = config.target_bytes_per_domain or 0
    heaps: dict[Cell, list[tuple[float, bytes, int]]] = defaultdict(list)  # largest key first
    sizes: dict[Cell, int] = defaultdict(int)
    for placed in placed_documents(config, choice):
        if placed.split is None or not placed.domain_is_in_suite:
            continue
        cell = (placed.document.source, placed.split, placed.domain)
        place, digest = document_key(config, placed.document)
        size = len(placed.document.text.encode())
        heap = heaps[cell]
        heapq.heappush(heap, (-place, bytes(255 - byte for byte in digest), size))
        sizes[cell] += size
        while sizes[cell] - heap[0][2] >= target:  # without its last document the target is still met
            sizes[cell] -= heapq.heappop(heap)[2]
    return {cell: (-heap[0][0], bytes(255 - byte for byte in heap[0][1])) for cell, heap in heaps.items()}


def folder_name(source: str) -> str:
    """Name of a source's folder: the source itself, or percent-encoded where it cannot be one."""
    name = quote(source, safe=" +=@,()[]~!&;")
    return "%2E" + name[1:] if name.startswith(".") else name


def write_suite(
    folder: Path, config: PrepareConfig, choice: Choice, chosen: dict[Cell, Key] | None, tally: Tally
) -> dict[str, Any]:
    """Write all files of the suite into ``folder`` and return its ``suite.json``."""
    written: dict[tuple[str, str], Written] = {}
    held_out = kept = 0
    with ExitStack() as stack, Progress("writing the suite", total=tally.read) as progress:
        files: dict[tuple[str, str], BinaryIO] = {}
        listing = stack.enter_context(atomic_write(folder / HELD_OUT_FILE))
        for placed in placed_documents(config, choice):
            progress.advance()
            if placed.split is None:
                continue
            document = placed.document
            held_out += 1
            write_row(listing, {"source": document.source, "id": document.id, "group": placed.group})
            if not placed.domain_is_in_suite:
                continue
            last = None if chosen is None else chosen[document.source, placed.split, placed.domain]
            if last is not None and document_key(config, document) > last:
                continue
            key = (document.source, placed.split)
            if key not in files:
                path = folder / split_path(*key)
                files[key] = stack.enter_context(atomic_write(path))
                written[key] = Written()
            row: dict[str, Any] = {"text": document.text, "id": document.id, "source": document.source}
            row["subdomain"] = placed.domain
            row |= {name: document.row[name] for name in ("added", "metadata") if document.row.get(name) is not None}
            write_row(files[key], row)
            written[key].add(placed.domain, len(document.text.encode()))
            kept += 1
    manifest = {
        "artifact": "suite",
        "format_version": FORMAT_VERSION,
        "name": config.name or config.output.resolve().name,
        "seed": config.seed,
        "rule": {
            "domain_field": config.domain_field,
            "group_field": config.group_field,
            "fraction": config.fraction,
            "minimum_documents": config.minimum_documents,
            "target_bytes_per_domain": config.target_bytes_per_domain,
            "left_in_training": choice.left_in_training,
        },
        "sources": {
            source: {split: describe(folder, source, split, written) for split in SPLITS}
            for source in sorted({source for source, _ in written})
        },
        "counts": {
            "read": tally.read,
            "kept": kept,
            "dropped": tally.read - kept - tally.failed,
            "failed": tally.failed,
        },
        "held_out_documents": held_out,
    }
    write_json(folder / SUITE_FILE, manifest)
    return manifest


def split_path(source: str, split: str) -> str:
    return f"{folder_name(source)}/{split}/{split}-00000000.jsonl.gz"


def write_row(stream: BinaryIO, row: dict[str, Any]) -> None:
    stream.write(json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")


def describe(folder: Path, source: str, split: str, written: dict[tuple[str, str], Written]) -> dict[str, Any]:
    counts = written.get((source, split))
    if counts is None:
        return {"files": [], "documents": 0, "bytes": 0, "domains": {}}
    path = split_path(source, split)
    row = {"path": path, "documents": counts.documents, "bytes": counts.bytes, "digest": digest_file(folder / path)}
    domains = {name: counts.domains[name] for name in sorted(counts.domains)}
    return {"files": [row], "documents": counts.documents, "bytes": counts.bytes, "domains": domains}
