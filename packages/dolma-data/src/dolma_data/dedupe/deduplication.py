"""Deduplication of documents, paragraphs and substrings: which copy is the first, which ones repeat it.

Workers turn chunks of documents into columns of hashes and spans (:mod:`units`), kept on disk (:mod:`scratch`); the
method finds what repeats (:mod:`first_copies`, :mod:`by_bloom`, :mod:`clusters`, :mod:`substring`); rows are written
from the columns (:mod:`writing`). The survivor is the first in the order of files and rows, whatever the number of
processes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from .. import __version__
from ..annotate import EMPTY, Annotation, Chunk, SmallFile, read_units, work_through
from ..config.dedupe import DedupeConfig, DedupeRule
from ..documents import DocumentFile, Failure, check_so_far, find_documents, most_failures
from ..errors import UserError
from ..execute import map_ordered
from ..files import digest_file
from ..locking import locked
from ..progress import Progress
from ..remote import shown
from .bloom import BloomFilter, write_filter
from .by_bloom import Files, check_leftovers, fingerprint, finished_counts, look_up_all, open_filter, verify
from .by_hash import SEEN, HashMarker, Marker, Marks
from .first_copies import divide, find_first_copies
from .scratch import Before, Meta, Scratch, write_chunk
from .settings import attribute_key, check_names, check_settings, choose_method
from .units import UnitChunk, encode_units
from .writing import write_attributes

Encode = Callable[[Chunk], tuple[UnitChunk, dict[str, Any]]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a method found: how the workers mark chunks (or their marks, where the method holds them in memory), whether
    it knows what they repeat, and how it is described."""

    marks: Marker | Callable[[int, Before], Marks]
    matches: bool
    source: str
    summary: list[str]
    filter: BloomFilter | None = None


def find_files(config: DedupeConfig) -> tuple[list[DocumentFile], list[DocumentFile]]:
    """Files of ``dedupe.against`` and of ``documents``, those of other parts of a ``file_partition`` left out."""
    rule = config.dedupe
    files = find_documents(config.documents, rule.document_dir)
    if rule.num_partitions > 1 and rule.file_partition:
        parts = [xxhash.xxh3_64_intdigest(file.tree.encode()) % rule.num_partitions for file in files]
        files = [file for file, part in zip(files, parts, strict=True) if part == rule.partition_index]
        if not files:
            raise UserError(
                f"no file falls into partition {rule.partition_index} of {rule.num_partitions}",
                fix="leave this partition out",
            )
    old = find_documents(rule.against, rule.document_dir) if rule.against else []
    again = {file.path.absolute() for file in old} & {file.path.absolute() for file in files}
    if again:
        raise UserError(
            "the file is among the documents and in dedupe.against, so that all of it would be marked",
            where=min(again),
            fix="name it once",
        )
    return old, files


def dedupe(config: DedupeConfig) -> tuple[list[Path], dict[str, int]]:
    """Run ``dedupe``; returns the folders written and the counts of rows."""
    bloom = config.bloom_filter
    with nullcontext() if bloom is None or bloom.read_only else locked(bloom.file):
        return _dedupe(config)


def _dedupe(config: DedupeConfig) -> tuple[list[Path], dict[str, int]]:
    rule = config.dedupe
    name = check_settings(config)
    key = attribute_key(rule)
    old, files = find_files(config)
    check_names(config.compression, [str(file.path) for file in files])
    bloom = config.bloom_filter if choose_method(config) == "bloom" else None
    digests = [(shown(str(file.path)), digest_file(file.path)) for file in ([*old, *files] if bloom else old)]
    held = open_filter(bloom) if bloom else None
    run = fingerprint(rule, bloom, config.compat, len(old), digests) if bloom else None
    state = [__version__, asdict(rule), config.compat, bloom and asdict(bloom), held and held.describe(), digests]
    score = encoder(config)
    rehearse = partial(score, EMPTY)
    work = Annotation("dedupe", files, [name], state, True, processes=config.processes, rehearse=rehearse)
    compared = [file.path for file in old]
    if bloom and run and held and not bloom.read_only:
        counts = finished_counts(held, run, digests, work.targets)
        if counts is not None:
            log.info("dedupe: finished already; the filter and the attributes are those of this run")
            work.record_again("dedupe", config, compared, counts)
            return work.targets, counts
        check_leftovers(held, bloom, digests, config.compat == "dolma")
    with work.recorded("dedupe", config, compared):
        scratch = Scratch(next(iter(work.outputs.values())).progress / "units")  # an interrupted run goes on there
        encode(score, [*old, *files], scratch, config.processes, config.max_failed, work.targets[0])
        check_keys(scratch, [*old, *files], rule)
        found = find(config, scratch, held, digests, run or "")
        marked = write_attributes(
            work,
            scratch,
            [*old, *files],
            name,
            key,
            found.marks,
            config.processes,
            always=rule.paragraphs is not None,
            matches=found.matches,
        )
        work.check(config.max_failed)
        written = work.commit(name, [{"name": name, "keys": [key], "source": found.source, "digest": run}])
        if bloom and found.filter and not bloom.read_only:
            write_filter(bloom.file, found.filter)
    for line in found.summary:
        log.info("dedupe: %s", line)
    log.info("dedupe: %d marked, attributes in %s", marked, ", ".join(map(str, written)))
    return written, work.counts()


def encoder(config: DedupeConfig) -> Encode:
    """First half of the method, to be run in the workers."""
    method = choose_method(config)
    if method == "minhash":
        from . import minhash  # here, as below, so that the other methods do not load its compiled code

        log.info("minhash: %s", minhash.curve(config.dedupe.minhash))
        return partial(minhash.encode_signatures, config.dedupe)
    if method == "substring":
        from . import substring

        return partial(substring.encode_texts, config.dedupe)
    return partial(encode_hashes, config.dedupe, config.compat, in_order=method == "bloom", named=names_copies(config))


def names_copies(config: DedupeConfig) -> bool:
    """Whether the documents of first copies are found, which a Bloom filter alone does not know."""
    return choose_method(config) == "exact" or config.dedupe.verify


def encode_hashes(
    rule: DedupeRule, compat: str | None, chunk: Chunk, *, in_order: bool, named: bool
) -> tuple[UnitChunk, dict[str, Any]]:
    """Columns of a chunk with its hashes ``in_order`` of the units, for a filter, and by their upper bits, where first
    copies are to be ``named``."""
    units, hashes = encode_units(rule, compat, chunk)
    owners = np.repeat(np.arange(units.documents, dtype=np.int32), units.spans)
    if units.hash_counts is not None:
        owners = np.repeat(owners, units.hash_counts)
    return units, ({"hashes": hashes} if in_order else {}) | (divide(hashes, owners) if named else {})


def encode(
    score: Encode, files: Sequence[DocumentFile], scratch: Scratch, processes: int, max_failed: int, output: Path
) -> None:
    """The columns of all files that ``scratch`` does not hold yet.

    UserError as soon as far more than ``max_failed`` rows have failed, which are then listed beside ``output``.
    """
    todo = [(number, file) for number, file in enumerate(files) if number not in scratch.finished]
    with Progress("dedupe: units") as progress:
        work = partial(store, score, scratch.folder)
        failed = sum(len(meta.failures) for meta in scratch.metas)
        units = read_units(todo, max_failed)
        for stored in map_ordered(work, units, processes, partial(score, EMPTY) if todo else None):
            for path, meta in stored:
                scratch.adopt(path, meta)
                progress.advance(meta.documents)
                failed += len(meta.failures)
            if failed > most_failures(max_failed):
                check_so_far(failures_of(scratch, files), max_failed, output)


def failures_of(scratch: Scratch, files: Sequence[DocumentFile]) -> list[Failure]:
    """Rows of ``files`` that failed, as far as ``scratch`` holds them."""
    return [Failure(str(files[meta.file].path), *failure) for meta in scratch.metas for failure in meta.failures]


def check_keys(scratch: Scratch, files: Sequence[DocumentFile], rule: DedupeRule) -> None:
    """Tell of documents without a text at the key, which are compared with nothing; UserError where all are."""
    missing = sum(meta.keyless for meta in scratch.metas)
    if not missing or rule.documents is None:
        return
    first = next(meta for meta in scratch.metas if meta.keyless)
    path, line = files[first.file].path, first.first_keyless
    documents = sum(meta.documents for meta in scratch.metas)
    if missing == documents:
        problem = f"all {documents} documents have no text at {rule.documents.key}, the first in line {line}"
        raise UserError(problem, where=path, fix="choose another dedupe.documents.key")
    what = f"{missing} of {documents} documents have no text at {rule.documents.key} and are compared with nothing"
    log.warning("dedupe: %s, the first: %s, line %d", what, path, line)


def store(score: Encode, folder: Path, unit: Chunk | SmallFile) -> list[tuple[Path, Meta]]:
    """Columns of the chunks of a unit, written by the worker, so that they need not go through a pipe."""
    return list(work_through(unit, lambda chunk: write_chunk(folder, *score(chunk)), lambda stored: stored[1].failures))


def find(config: DedupeConfig, scratch: Scratch, held: BloomFilter | None, digests: Files, run: str) -> Found:
    """Second half: what repeats, by the method of the settings."""
    rule = config.dedupe
    method = choose_method(config)
    if method == "minhash":
        from . import clusters, minhash

        summary = clusters.find_clusters(rule.minhash, scratch, config.processes)
        kind = "exact" if rule.minhash.verify else "estimated"
        source = f"MinHash, {minhash.curve(rule.minhash)}; score: {kind} Jaccard similarity to the copy that is kept"
        return Found(clusters.ClusterMarker(rule.minhash), True, source, [summary])
    if method == "substring":
        from . import substring

        repeats = substring.Repeats(rule.substring, scratch)
        source = f"substrings of {rule.substring.min_length} {rule.substring.unit} or more that occur before"
        return Found(
            lambda number, before: repeats.marks_of(scratch.metas[number].documents, before.documents),
            True,
            source,
            [],
        )
    return find_units(config, scratch, held, digests, run)


def find_units(config: DedupeConfig, scratch: Scratch, held: BloomFilter | None, digests: Files, run: str) -> Found:
    """Units that repeat, exactly or by a Bloom filter."""
    rule = config.dedupe
    by_ngram = rule.paragraphs.by_ngram if rule.paragraphs else None
    threshold = by_ngram.overlap_threshold if by_ngram else 1.0
    of = rule.documents.key if rule.documents else "paragraphs"
    bloom = config.bloom_filter if choose_method(config) == "bloom" else None
    summary: list[str] = []
    parts = find_first_copies(scratch, config.processes) if names_copies(config) else 0
    if bloom is None:
        source = f"exact, 128-bit hashes of {of}; the first copy is kept"
    else:
        added = held.added if held else 0
        held, seen = look_up_all(bloom, held, scratch, digests, run)
        source = f"Bloom filter of {of}, false-positive rate {held.false_positive_rate:.3g}"
        if parts:
            seen, line = verify(seen, scratch, parts, added)
            summary.append(line)
        scratch.save_column(SEEN, seen)
    return Found(HashMarker(threshold, parts, asked=bloom is not None), parts > 0, source, summary, held)
