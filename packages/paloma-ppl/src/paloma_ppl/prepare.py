"""Make a suite: hold groups of documents out of a corpus, the same groups in all its sources.

Three passes over the documents at most, nothing but hashes in memory: which groups (``subsample``); with a byte
target, which of their documents; then writing.
"""

from __future__ import annotations

import heapq
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote

from .config import PrepareConfig
from .documents import Document, Tally, document_files, field_value, read_documents
from .errors import UserError
from .files import atomic_artifact, atomic_write, digest_file, write_json
from .near_duplicates import NearDuplicates
from .passages import passages
from .progress import Progress
from .provenance import recorded
from .subsample import Choice, DomainSketch, Key, choose_groups, cut_small_domains, group_key
from .suite import FORMAT_VERSION, HELD_OUT_FILE, SPLITS, SUITE_FILE
from .targets import Target, check_targets, targets
from .tokenizer import BATCH, LoadedTokenizer, load_tokenizer

log = logging.getLogger(__name__)
MAXIMUM_FRACTION = 0.5
WHOLE_SOURCE = ""  # in a cell, of a source that is drawn from as one domain
PATH = "path"  # as a domain field, the folder of a document's file
Cell = tuple[str, str, str]  # source, split, domain


@dataclass
class Placed:
    """Where a document or passage goes: its domain, group, the split of its group (None: training)."""

    document: Document
    domain: str
    group: str
    split: str | None
    in_suite: bool  # not where its domain is left in training, or where its passages are
    parent: str | None = None  # of a passage: id of the document

    def cell(self) -> Cell:
        return (self.document.source, self.split or "", self.domain)


@dataclass
class Drawn:
    """Which documents of the held-out groups are taken: up to the last key in each cell."""

    last: dict[Cell, Key]
    targets: dict[str, Target]
    amounts: Counter[Cell]  # tokens or bytes taken, by domain

    def takes(self, placed: Placed, key: Key) -> bool:
        return key <= self.last[target_cell(placed, self.targets)]

    def short(self, cell: Cell) -> bool:
        """Whether the domain (of a source drawn as one: the source) fell short of its target."""
        source, split, _ = cell
        target = self.targets[source]
        if target.one_domain:
            have = sum(amount for other, amount in self.amounts.items() if other[:2] == (source, split))
        else:
            have = self.amounts[cell]
        return math.isfinite(target.amount) and have < target.amount


def target_cell(placed: Placed, found: dict[str, Target]) -> Cell:
    source, split, domain = placed.cell()
    return (source, split, WHOLE_SOURCE if found[source].one_domain else domain)


@dataclass
class Written:
    """Counts of one split of one source."""

    documents: int = 0
    bytes: int = 0
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, domain: str, size: int) -> None:
        self.documents += 1
        self.bytes += size
        counts = self.domains.setdefault(domain, {"documents": 0, "bytes": 0})
        counts["documents"] += 1
        counts["bytes"] += size


def check(config: PrepareConfig) -> None:
    if not 0 < config.fraction <= MAXIMUM_FRACTION:
        raise UserError(f"a fraction of {config.fraction}", where="fraction", fix="give one above 0, at most 0.5")
    check_targets(config)
    document_files(config.documents)
    if config.tokenizer is not None:
        load_tokenizer(config.tokenizer)


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Write the suite and return its ``suite.json``."""
    check(config)
    tokenizer = None if config.tokenizer is None else load_tokenizer(config.tokenizer)
    inputs = [config.documents, *([] if tokenizer is None else [tokenizer.path])]
    with (
        recorded(
            "paloma-ppl", "prepare", folder=config.output, config=config, inputs=inputs, seed=config.seed
        ) as record,
        atomic_artifact(config.output, "suite", manifest_name=SUITE_FILE) as folder,
    ):
        tally = Tally()
        choice, domains_of = choose(config, tally)
        drawn = None
        if tokenizer is not None or config.target_bytes_per_domain is not None:
            drawn = draw_documents(config, choice, targets(config, domains_of), tokenizer)
        manifest = write_suite(folder, config, choice, drawn, tally, tokenizer)
        record.outputs = [config.output]
        record.counts = {**manifest["counts"], "held_out": manifest["held_out_documents"]}
    return manifest


def domain_fields(config: PrepareConfig) -> list[str]:
    return config.domain_field.split("+") if config.domain_field else []


def named_value(document: Document, name: str) -> str | None:
    """Value of a dotted field, or for ``path`` the folder of the document's file (in the root: its name)."""
    if name != PATH:
        return field_value(document.row, name)
    path = PurePosixPath(document.file)
    parts = path.parts[1:] if path.parts[0] == "documents" else path.parts
    return "/".join(parts[:-1]) or path.name.split(".jsonl")[0]


def choose(config: PrepareConfig, tally: Tally) -> tuple[Choice, dict[str, int]]:
    """Read the documents once and choose the groups; the number of domains of each source of the suite.

    A UserError where nothing can be held out.
    """
    sketches: dict[str, DomainSketch] = defaultdict(DomainSketch)
    lacking = Counter({name: 0 for name in (*domain_fields(config), config.group_field) if name})
    with Progress("choosing groups") as progress:
        for document in read_documents(config.documents, tally):
            domain, group = domain_and_group(document, config)
            sketch = sketches[domain]
            part = sketch.sources.setdefault(document.source, DomainSketch())
            for each in (sketch, part):
                each.add(group_key(config.seed, group), config.fraction)
            sketch.bytes += len(document.text.encode())
            lacking.update(name for name in lacking if named_value(document, name) is None)
            progress.advance()
    tally.settle(config.output.with_name(config.output.name + ".quarantine.jsonl"), config.max_failed)
    if tally.blank:
        log.warning("%d documents are blank and are left out", tally.blank)
    for name, number in lacking.items():
        if number and number == tally.read - tally.blank - tally.failed:
            raise UserError(f"no document has the field {name}", where=config.documents, fix="check its spelling")
        if number:
            log.warning("%d documents lack the field %s", number, name)
    choice = choose_groups(sketches, config.fraction, config.minimum_documents)
    if config.split_small_domains:
        choice = cut_small_domains(choice, sketches)
    if not choice.split:
        raise UserError(
            f"no domain has at least three groups and {config.minimum_documents} documents, so nothing can be held out",
            where=config.documents,
            fix="give more documents, another --domain-field, a lower --minimum-documents or --split-small-domains",
        )
    if choice.left_in_training:
        log.info("left wholly in training, too few groups or documents: %s", ", ".join(choice.left_in_training))
    names = sketches.keys() - set(choice.left_in_training)
    return choice, dict(Counter(source for name in names for source in sketches[name].sources))


def domain_and_group(document: Document, config: PrepareConfig) -> tuple[str, str]:
    """A document without the domain field belongs to its source's domain, without the group field to its id's group."""
    values = [value for name in domain_fields(config) if (value := named_value(document, name))]
    group = named_value(document, config.group_field) if config.group_field else None
    return "/".join(values) or document.source, group or document.id


def placed_documents(config: PrepareConfig, choice: Choice) -> Iterator[Placed]:
    """Every document with its place; behind one that is cut, its passages, named ``ID#k`` with k from 0."""
    left = set(choice.left_in_training)
    for document in read_documents(config.documents, Tally()):
        domain, group = domain_and_group(document, config)
        split = choice.split.get(group_key(config.seed, group)[1])
        size = choice.passage_bytes.get(domain)
        yield Placed(document, domain, group, split, domain not in left and size is None and split in SPLITS)
        if size is None:
            continue
        for number, text in enumerate(passages(document.text, size)):
            passage = replace(document, id=f"{document.id}#{number}", text=text)
            if split in SPLITS:
                yield Placed(passage, domain, group, split, True, document.id)
            else:  # the only group of its domain: test and val in turn
                yield Placed(passage, domain, passage.id, SPLITS[1 - number % 2], True, document.id)


def document_key(config: PrepareConfig, document: Document) -> Key:
    return group_key(config.seed, f"{document.source}\0{document.id}")


def sizes_of(documents: Iterator[Placed], tokenizer: LoadedTokenizer | None) -> Iterator[tuple[Placed, int]]:
    """Each document with its tokens, or without a tokenizer its bytes."""
    while batch := list(islice(documents, BATCH)):
        texts = [placed.document.text for placed in batch]
        counts = [len(text.encode()) for text in texts] if tokenizer is None else map(len, tokenizer.encode(texts))
        yield from zip(batch, counts, strict=True)


def draw_documents(
    config: PrepareConfig, choice: Choice, found: dict[str, Target], tokenizer: LoadedTokenizer | None
) -> Drawn:
    """Per source, split and domain the key of the last document that is taken to pass the target.

    Only as many documents are remembered as the targets need.
    """
    heaps: dict[Cell, list[tuple[float, bytes, int, str]]] = defaultdict(list)  # largest key first
    sizes: dict[Cell, int] = defaultdict(int)
    seen: set[bytes] = set()
    with Progress("drawing documents") as progress:
        candidates = (placed for placed in placed_documents(config, choice) if placed.in_suite)
        for placed, size in sizes_of(candidates, tokenizer):
            progress.advance()
            cell = target_cell(placed, found)
            target = found[placed.document.source].amount
            place, digest = document_key(config, placed.document)
            if digest in seen:
                continue
            seen.add(digest)
            heap = heaps[cell]
            heapq.heappush(heap, (-place, bytes(255 - byte for byte in digest), size, placed.domain))
            sizes[cell] += size
            while sizes[cell] - heap[0][2] >= target:  # without its last document the target is still met
                sizes[cell] -= heapq.heappop(heap)[2]
    amounts: Counter[Cell] = Counter()
    for (source, split, _), heap in heaps.items():
        for _, _, size, domain in heap:
            amounts[source, split, domain] += size
    last = {cell: (-heap[0][0], bytes(255 - byte for byte in heap[0][1])) for cell, heap in heaps.items()}
    return Drawn(last, found, amounts)


def folder_name(source: str) -> str:
    """Name of a source's folder: the source itself, or percent-encoded where it cannot be one."""
    name = quote(source, safe=" +=@,()[]~!&;")
    return "%2E" + name[1:] if name.startswith(".") else name


def suite_row(placed: Placed) -> dict[str, Any]:
    """The row of a document; of a passage, with the id of its document in ``metadata.parent``."""
    document = placed.document
    row: dict[str, Any] = {"text": document.text, "id": document.id, "source": document.source}
    row["subdomain"] = placed.domain
    row |= {name: document.row[name] for name in ("added", "metadata") if document.row.get(name) is not None}
    if placed.parent is not None:
        metadata = row.get("metadata", {})
        row["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "parent": placed.parent}
    return row


def write_suite(
    folder: Path,
    config: PrepareConfig,
    choice: Choice,
    drawn: Drawn | None,
    tally: Tally,
    tokenizer: LoadedTokenizer | None,
) -> dict[str, Any]:
    """Write all files of the suite into ``folder`` and return its ``suite.json``."""
    written: dict[tuple[str, str], Written] = {}
    near = NearDuplicates()
    seen: set[bytes] = set()  # identities of held-out documents
    cut: set[tuple[str, str]] = set()  # documents of which a passage is in the suite
    kept = passages_kept = repeated = 0
    with ExitStack() as stack, Progress("writing the suite", total=tally.read) as progress:
        files: dict[tuple[str, str], BinaryIO] = {}
        listing = stack.enter_context(atomic_write(folder / HELD_OUT_FILE))
        for placed in placed_documents(config, choice):
            document = placed.document
            progress.advance(placed.parent is None)
            if placed.split is None:
                continue
            key = document_key(config, document)
            if key[1] in seen:
                repeated += placed.parent is None
                continue
            seen.add(key[1])
            write_row(listing, {"source": document.source, "id": document.id, "group": placed.group})
            if not placed.in_suite or (drawn is not None and not drawn.takes(placed, key)):
                continue
            part = (document.source, placed.split)
            if part not in files:
                files[part] = stack.enter_context(atomic_write(folder / split_path(*part)))
                written[part] = Written()
            write_row(files[part], suite_row(placed))
            written[part].add(placed.domain, len(document.text.encode()))
            near.add(placed.split, document.source, document.id, document.text)
            if placed.parent is None:
                kept += 1
            else:
                passages_kept += 1
                cut.add((document.source, placed.parent))
    if repeated:
        log.warning("%d held-out documents have the source and id of an earlier one and are not in the suite", repeated)
    rule: dict[str, Any] = {
        "domain_field": config.domain_field,
        "group_field": config.group_field,
        "fraction": config.fraction,
        "minimum_documents": config.minimum_documents,
        "target_bytes_per_domain": config.target_bytes_per_domain,
        "left_in_training": choice.left_in_training,
        "cut_into_passages": sorted(choice.passage_bytes),
    }
    if tokenizer is not None and drawn is not None:
        rule["tokenizer_digest"] = tokenizer.digest
        rule["target_tokens"] = {
            source: {
                "tokens": int(target.amount) if math.isfinite(target.amount) else None,
                "of": "source" if target.one_domain else "domain",
            }
            for source, target in sorted(drawn.targets.items())
        }
        for (source, split), counts in written.items():
            for domain, row in counts.domains.items():
                row["tokens"] = drawn.amounts[source, split, domain]
                row["short"] = drawn.short((source, split, domain))
    manifest = {
        "artifact": "suite",
        "format_version": FORMAT_VERSION,
        "name": config.name or config.output.resolve().name,
        "seed": config.seed,
        "rule": rule,
        "sources": {
            source: {split: describe(folder, source, split, written) for split in SPLITS}
            for source in sorted({source for source, _ in written})
        },
        "counts": {
            "read": tally.read,
            "kept": kept + len(cut),
            "dropped": tally.read - kept - len(cut) - tally.failed,
            "failed": tally.failed,
            "repeated": repeated,
            "cut": len(cut),
            "passages": passages_kept,
        },
        "held_out_documents": len(seen),
        "near_duplicates": near.report(),
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
