"""First half of deduplication, in the workers: the units of a chunk of documents as columns of hashes and spans.

What is needed to write attributes later (ids, sources, spans) goes along, so that documents are read once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..annotate import Chunk
from ..attributes import encode_json, encode_tombstone
from ..batch import Integers, lay_out
from ..config.dedupe import DedupeRule, NgramKey
from ..errors import UserError
from ..hashes import Hashes
from ..kernels.characters import character_classes
from ..kernels.deduplication import (
    ENOUGH,
    UNDECIDED,
    are_blank,
    count_points,
    cut_ranges,
    find_words,
    judge_words,
    split_texts,
)
from ..kernels.hashing import hash_ranges, ngram_units
from ..kernels.word_breaks import word_break_properties

PIECE = 8 << 20  # bytes whose words are found together: more than a chunk of ordinary documents
KEY_PATH = re.compile(r"\$((?:\.[\w-]+)+)")
NORMAL, SKIPPED, NO_KEY = 0, 1, 2  # flags of documents: [] is written for what is skipped, no key without any text
KEYLESS = 3  # has no text where the key of documents points: skipped, and counted


@dataclass(frozen=True)
class UnitChunk:
    """Columns of a chunk: R rows of which D are documents, S spans that count, H hashes.

    ``rows`` are the encoded id and source of each document, or the tombstone of a row that is none. Span s of the chunk
    is decided by ``hash_counts[s]`` hashes, of ``counted[s]`` n-grams; ``last_decides[s]``: by the last of them alone.
    """

    file: int
    first_line: int
    last: bool
    failures: list[tuple[int, str]]
    ids: list[bytes | None]  # [R]
    sources: list[bytes]  # [R], the whole line for a tombstone
    flags: npt.NDArray[np.uint8]  # [D]
    spans: Integers  # [D] number of spans
    starts: Integers  # [S] code points
    ends: Integers  # [S]
    hash_counts: Integers | None  # [S], None: one each
    counted: Integers | None  # [S]
    last_decides: npt.NDArray[np.bool_] | None  # [S]
    keyless: int = 0  # documents without a text at the key
    first_keyless: int = 0  # line of the first of them

    @property
    def documents(self) -> int:
        """Rows that are documents."""
        return len(self.flags)

    @property
    def hashes(self) -> int:
        """H."""
        return len(self.starts) if self.hash_counts is None else int(self.hash_counts.sum())


class Spans(NamedTuple):
    """Spans of a batch, before partitions: documents' flags and, for each span, where it is and its bytes."""

    flags: npt.NDArray[np.uint8]  # [D]
    owners: Integers  # [S]
    starts: Integers  # [S] code points of the text
    ends: Integers  # [S]
    buffer: npt.NDArray[np.uint8]
    first_byte: Integers  # [S] bytes of the buffer
    end_byte: Integers  # [S]


def parse_key(key: str) -> tuple[str, ...] | None:
    """Field names of a path such as ``$.metadata.url``; None for another path of the mixer's JSONPath.

    Anything that is no path, or selects nothing, is a UserError.
    """
    match = KEY_PATH.fullmatch(key)
    if match is not None:
        return tuple(match.group(1)[1:].split("."))
    near = "$." + re.sub(r"^\$?\.?", "", key)
    fix = f"did you mean {near}?" if KEY_PATH.fullmatch(near) else "write it as $.text or $.metadata.url"
    from ..select.jsonpath import compile_path  # here, because most runs need none

    refusal = UserError(f"{key!r} is no path to a field", where="dedupe.documents.key", fix=fix)
    if not key.startswith(("$.", "$[")) or key.startswith("$.."):
        raise refusal
    try:
        compile_path(key)
    except UserError as error:
        raise refusal from error
    return None


def value_at(document: dict[str, Any], key: str) -> str | None:
    """The first hit of ``key``, None where that is no text."""
    names = _key_names(key)
    value: Any = document
    if names is None:
        from ..select.jsonpath import compile_path

        value = next(iter(compile_path(key).find(document)), None)
    else:
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


@cache
def _key_names(key: str) -> tuple[str, ...] | None:
    return parse_key(key)


def encode_units(rule: DedupeRule, compat: str | None, chunk: Chunk) -> tuple[UnitChunk, Hashes]:
    """Columns of a chunk and its hashes [H, 2]."""
    as_dolma = compat == "dolma"
    rows, documents = chunk.documents()
    if rule.documents:
        spans = document_spans(rule, documents, as_dolma)
    else:
        spans = paragraph_spans(rule, [document["text"] for document in documents], as_dolma)
    for document in documents:
        del document["text"]  # a giant one can take five times its bytes
    owners, starts, ends = spans.owners, spans.starts, spans.ends
    flags = spans.flags
    by_ngram = rule.paragraphs.by_ngram if rule.paragraphs else None
    counts = counted = decides = None
    if by_ngram is not None and by_ngram.ngram_length > 0:
        hashes, counts, counted, decides = hash_by_ngram(by_ngram, spans, as_dolma)
        if rule.num_partitions > 1 and not rule.file_partition:
            mine = _in_partition(rule, hashes)
            before = np.concatenate([[0], np.cumsum(mine)])
            edges = np.concatenate([[0], np.cumsum(counts)])
            counts = before[edges[1:]] - before[edges[:-1]]
            hashes = hashes[mine]
    else:
        hashes = hash_ranges(spans.buffer, spans.first_byte, spans.end_byte)
        if rule.num_partitions > 1 and not rule.file_partition:
            mine = _in_partition(rule, hashes)
            if rule.documents:
                flags[owners[~mine]] = SKIPPED
            owners, starts, ends, hashes = owners[mine], starts[mine], ends[mine], hashes[mine]
    spans = spans._replace(flags=flags, owners=owners, starts=starts, ends=ends)
    units = make_chunk(chunk, rows, spans)
    return replace(units, hash_counts=counts, counted=counted, last_decides=decides), hashes


def make_chunk(chunk: Chunk, rows: Sequence[dict[str, Any] | str], spans: Spans) -> UnitChunk:
    """The columns of a chunk but its hashes."""
    ids: list[bytes | None] = []
    sources: list[bytes] = []
    for row in rows:
        if isinstance(row, str):
            ids.append(None)
            sources.append(encode_tombstone(row))
        else:
            ids.append(encode_json(row["id"]))
            sources.append(encode_json(row["source"]))
    keyless = np.flatnonzero(spans.flags == KEYLESS)
    spans.flags[keyless] = SKIPPED
    lines = [chunk.first_line + k for k, row in enumerate(rows) if not isinstance(row, str)] if len(keyless) else [0]
    return UnitChunk(
        file=chunk.file,
        first_line=chunk.first_line,
        last=chunk.last,
        failures=[(chunk.first_line + k, row) for k, row in enumerate(rows) if isinstance(row, str)],
        ids=ids,
        sources=sources,
        flags=spans.flags,
        spans=np.bincount(spans.owners, minlength=len(spans.flags)).astype(np.int64),
        starts=spans.starts,
        ends=spans.ends,
        hash_counts=None,
        counted=None,
        last_decides=None,
        keyless=len(keyless),
        first_keyless=lines[keyless[0] if len(keyless) else 0],
    )


def _in_partition(rule: DedupeRule, hashes: Hashes) -> npt.NDArray[np.bool_]:
    mine: npt.NDArray[np.bool_] = hashes[:, 0] % np.uint64(rule.num_partitions) == np.uint64(rule.partition_index)
    return mine


def document_spans(rule: DedupeRule, documents: Sequence[dict[str, Any]], as_dolma: bool) -> Spans:
    """Whole documents with the bytes of their key; those without a text there are left alone."""
    assert rule.documents is not None
    values = [value_at(document, rule.documents.key) for document in documents]
    keyless = np.fromiter((value is None for value in values), dtype=np.bool_, count=len(values))
    keys = [value or "" for value in values]
    buffer, offsets = lay_out(keys)
    begin, end = offsets[:-1], offsets[1:]
    count = len(documents)
    if as_dolma:
        lengths = end - begin  # bytes of the key stand for characters of the text
        left_alone = lengths < rule.min_length
    else:
        lengths = np.fromiter((len(document["text"]) for document in documents), dtype=np.int64, count=count)
        left_alone = np.fromiter((len(key) < rule.min_length for key in keys), dtype=np.bool_, count=count)
    if rule.skip_empty:
        left_alone |= are_blank(buffer, begin, end, character_classes())
    flags = np.full(count, NORMAL, dtype=np.uint8)
    if rule.min_words > 0:
        if as_dolma:
            flags[np.diff(words_in(buffer, begin, end)[0]) < rule.min_words] = SKIPPED
            flags[keyless] = KEYLESS
            nothing = np.zeros(0, dtype=np.int64)
            return Spans(flags, nothing, nothing, nothing, buffer, nothing, nothing)
        left_alone |= have_few_words(buffer, begin, end, rule.min_words)
    flags[left_alone] = SKIPPED
    flags[keyless] = KEYLESS
    owners = np.flatnonzero(flags == NORMAL)
    return Spans(flags, owners, np.zeros_like(owners), lengths[owners], buffer, begin[owners], end[owners])


def paragraph_spans(rule: DedupeRule, texts: Sequence[str], as_dolma: bool) -> Spans:
    """Paragraphs that count with their bytes."""
    assert rule.paragraphs is not None
    buffer, offsets = lay_out(texts)
    separator = np.frombuffer(rule.paragraphs.paragraph_separator.encode(), dtype=np.uint8)
    first, begin, end, starts, ends = split_texts(buffer, offsets, separator, as_dolma)
    owners = np.repeat(np.arange(len(texts)), np.diff(first))
    flags = np.where(np.diff(first) == 0, NO_KEY, NORMAL).astype(np.uint8)
    count = np.ones(len(owners), dtype=np.bool_)
    if rule.min_length > 0:
        count &= count_points(buffer, begin, end) >= rule.min_length
    if as_dolma and rule.min_words > 0:
        count[:] = False
    elif rule.skip_empty:
        count &= ~are_blank(buffer, begin, end, character_classes())
    if rule.min_words > 0 and not as_dolma:
        places = np.flatnonzero(count)
        count[places] = ~have_few_words(buffer, begin[places], end[places], rule.min_words)
    if not count.all():
        owners, starts, ends, begin, end = owners[count], starts[count], ends[count], begin[count], end[count]
    return Spans(flags, owners, starts, ends, buffer, begin, end)


def have_few_words(buffer: npt.NDArray[np.uint8], begin: Integers, end: Integers, least: int) -> npt.NDArray[np.bool_]:
    """Which ranges hold fewer than ``least`` words (UAX 29, those with a letter or digit), [N]."""
    verdicts = judge_words(buffer, begin, end, character_classes(), least)
    few: npt.NDArray[np.bool_] = verdicts != ENOUGH
    doubtful = np.flatnonzero(verdicts == UNDECIDED)
    edges, _, _, spelled = words_in(buffer, begin[doubtful], end[doubtful])
    before = np.concatenate([[0], np.cumsum(spelled)])
    few[doubtful] = before[edges[1:]] - before[edges[:-1]] < least
    return few


def words_in(
    buffer: npt.NDArray[np.uint8], begin: Integers, end: Integers
) -> tuple[Integers, Integers, Integers, npt.NDArray[np.bool_]]:
    """Words (UAX 29) of ranges without those of white space; see :func:`kernels.deduplication.find_words`."""
    found: tuple[Integers, Integers, Integers, npt.NDArray[np.bool_]]
    found = find_words(buffer, begin, end, word_break_properties(), character_classes())
    return found


def words_by_piece(
    buffer: npt.NDArray[np.uint8], begin: Integers, end: Integers
) -> Iterator[tuple[Integers, Integers, Integers, Integers, npt.NDArray[np.bool_]]]:
    """What :func:`words_in` finds in ranges, in pieces of some megabytes.

    A long range comes as several; first stands the range that each of a piece is of.
    """
    owners = np.arange(len(begin))
    if len(begin) and (end - begin).max() > PIECE:
        owners, begin, end = cut_ranges(buffer, begin, end, PIECE)
    sizes = np.cumsum(end - begin)
    edges = np.searchsorted(sizes, np.arange(0, int(sizes[-1]) + PIECE, PIECE)) if len(begin) else [0]
    for first, after in pairwise([*np.unique(edges).tolist(), len(begin)]):
        part = slice(first, after)
        if first < after:
            yield owners[part], *words_in(buffer, begin[part], end[part])


def hash_by_ngram(
    rule: NgramKey, spans: Spans, as_dolma: bool
) -> tuple[Hashes, Integers, Integers, npt.NDArray[np.bool_]]:
    """Hashes of the n-grams of every span, their numbers, and which spans the last hash alone decides.

    Spans of fewer than two n-grams are decided by a hash of the whole, unless ``skip_short_paragraphs``.
    """
    begin, end = spans.first_byte, spans.end_byte
    words = np.empty((len(begin) + int((end - begin).sum()), 2), dtype=np.uint64)  # untouched pages cost nothing
    numbers = np.zeros(len(begin), dtype=np.int64)
    found = len(begin)
    for owners, edges, first, after, _ in words_by_piece(spans.buffer, begin, end):
        words[found : found + len(first)] = hash_ranges(spans.buffer, first, after)
        np.add.at(numbers, owners, np.diff(edges))
        found += len(first)
    edges = len(begin) + np.concatenate([[0], np.cumsum(numbers)])
    hashes, counts, counted, last_decides = ngram_units(
        words,
        edges,
        hash_ranges(spans.buffer, begin, end),
        rule.ngram_length,
        rule.stride,
        as_dolma,
        rule.skip_short_paragraphs,
    )
    return hashes, counts, counted, last_decides
