"""The model's inputs: every token of every document predicted exactly once.

A *stream* is a prefix token followed by tokens; window *j* of a stream is its tokens ``[jL, jL + L]``, so that windows
share one token: the last prediction of one is the first context of the next. In format ``paloma`` each document is a
stream of its own (arXiv 2312.10523, control 5). In format ``training`` the documents of a domain, each followed by the
EOS token, are one stream, as in training; the separators are read and not scored. Offline and in-loop evaluation take
their windows from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np

from .config import WindowsConfig
from .errors import UserError
from .files import atomic_artifact, atomic_write, write_json, writing
from .provenance import recorded
from .suite import SuiteDocument, open_suite, read_split
from .tokenizer import BATCH, TOKENIZER_FILE, Ids, LoadedTokenizer, load_tokenizer

FORMAT_VERSION = 1
BATCH_CHARACTERS = 1 << 22  # of documents tokenised together


@dataclass(frozen=True, slots=True)
class Part:
    """Positions ``[start, stop)`` of a window that hold tokens of one document and are scored."""

    document: int
    number: int  # how many windows of the document came before
    start: int
    stop: int
    first_token: int  # which token of the document stands at ``start``


@dataclass(frozen=True, slots=True)
class Window:
    """Ids of at most L + 1 tokens; the model reads all but the last."""

    ids: Ids
    parts: tuple[Part, ...]


def make_windows(
    documents: Sequence[tuple[str, str]], ids: Sequence[Ids], maximum_length: int, prefix: int, format_name: str
) -> Iterator[Window]:
    """Cut documents, given by (source, domain) and ids, into windows of at most ``maximum_length`` + 1 ids; in format
    ``training`` domain by domain. A document without tokens gives no window.
    """
    order = list(range(len(ids)))
    if format_name == "training":
        first: dict[tuple[str, str], int] = {}
        order.sort(key=lambda number: first.setdefault(documents[number], number))
    given = ((number, documents[number], ids[number]) for number in order)
    windows = stream_windows(given, maximum_length, prefix, format_name)
    if format_name == "paloma":
        yield from windows
        return
    # the rest of a domain comes last in a stream of them
    yield from sorted(windows, key=lambda window: first[documents[window.parts[0].document]])


def stream_windows(
    documents: Iterable[tuple[int, tuple[str, str], Ids]], maximum_length: int, prefix: int, format_name: str
) -> Iterator[Window]:
    """Windows of numbered documents as they come, by (source, domain) and ids; the windows of a document are in order.

    Only the tokens that no window holds yet are kept: in format ``training`` at most ``maximum_length`` a domain.
    """
    if maximum_length < 1:
        raise UserError(f"a maximum length of {maximum_length}", where="max_length", fix="give 1 or more")
    if format_name == "paloma":
        for number, _, ids in documents:
            stream = Stream(maximum_length, prefix)
            yield from stream.push(number, ids)
            yield from stream.cut(last=True)
        return
    streams: dict[tuple[str, str], Stream] = {}
    for number, key, ids in documents:
        if key not in streams:
            streams[key] = Stream(maximum_length, prefix)
        yield from streams[key].push(number, ids)
    for stream in streams.values():
        yield from stream.cut(last=True)


class Stream:
    """The prefix, then documents with the prefix token between them, cut as they come."""

    def __init__(self, maximum_length: int, prefix: int) -> None:
        self.maximum_length = maximum_length
        self.separator = np.array([prefix], dtype=np.int32)
        self.tokens: Ids = self.separator  # from position ``begin`` of the stream on
        self.begin = 0
        self.owners: list[tuple[int, int, int]] = []  # document, positions [first, stop) of the stream
        self.counts: dict[int, int] = {}  # windows of a document so far
        self.empty = True

    def push(self, number: int, ids: Ids) -> Iterator[Window]:
        """Add a document and yield the windows that are whole."""
        if not len(ids):
            return
        pieces = [self.tokens, ids] if self.empty else [self.tokens, self.separator, ids]
        self.empty = False
        self.tokens = np.concatenate(pieces)
        stop = self.begin + len(self.tokens)
        self.owners.append((number, stop - len(ids), stop))
        yield from self.cut()

    def cut(self, *, last: bool = False) -> Iterator[Window]:
        """Yield the windows that are whole, and the ``last`` one as it is."""
        at = 0
        while len(self.tokens) - at > (1 if last else self.maximum_length):
            ids = self.tokens[at : at + self.maximum_length + 1]
            if parts := self.parts(self.begin + at, len(ids)):
                yield Window(ids, parts)
            at += self.maximum_length
        self.tokens = self.tokens[at:].copy()
        self.begin += at

    def parts(self, begin: int, size: int) -> tuple[Part, ...]:
        """What is scored of the window of ``size`` ids at position ``begin``."""
        end = begin + size - 1  # the last position of the window
        parts = []
        while self.owners and self.owners[0][1] <= end:
            number, first, stop = self.owners[0]
            start = max(first, begin + 1)
            count = self.counts.get(number, 0)
            parts.append(Part(number, count, start - begin, min(stop, end + 1) - begin, start - first))
            self.counts[number] = count + 1
            if stop > end + 1:
                break
            self.owners.pop(0)
            del self.counts[number]
        return tuple(parts)


def window_rows(windows: Iterable[Window], documents: Sequence[SuiteDocument]) -> Iterator[dict[str, Any]]:
    """Rows of the windows artifact: one for every document that a window holds tokens of."""
    for window in windows:
        for part in window.parts:
            document = documents[part.document]
            yield {
                "document": document.id,
                "source": document.source,
                "domain": document.domain,
                "window": part.number,
                "ids": window.ids[: part.stop].tolist(),
                "scored": list(range(part.start, part.stop)),
                "bytes": len(document.text.encode()) if part.number == 0 else 0,
            }


def encode_documents(documents: Iterable[SuiteDocument], tokenizer: LoadedTokenizer) -> list[Ids]:
    """Ids of the documents; one without tokens, or with unknown ones, is a UserError."""
    return [ids for _, ids in encoded(documents, tokenizer)]


def encoded(documents: Iterable[SuiteDocument], tokenizer: LoadedTokenizer) -> Iterator[tuple[SuiteDocument, Ids]]:
    """Documents with their ids, a few at a time."""
    for group in groups(documents):
        for document, ids in zip(group, tokenizer.encode(document.text for document in group), strict=True):
            if not len(ids) or tokenizer.has_unknown(ids):
                what = "unknown tokens in" if len(ids) else "no tokens for"
                raise UserError(
                    f"the tokenizer gives {what} document {document.id} of {document.source}",
                    where=tokenizer.path,
                    fix="use another tokenizer or remove the document from the suite",
                )
            yield document, ids


def check_encodable(documents: Iterable[SuiteDocument], tokenizer: LoadedTokenizer) -> int:
    """A UserError where the tokenizer passes over a part of some document, so that its bits per byte would look better
    than they are; else the bytes of all texts."""
    known: set[str] = set()
    lost: dict[str, SuiteDocument] = {}  # the first document that holds the character
    number = holding = size = 0
    for document in documents:
        number += 1
        size += len(document.text.encode())
        found = set(document.text)
        for character in sorted(tokenizer.unencodable(found - known - lost.keys())):
            lost[character] = document
        known |= found - lost.keys()
        holding += not found.isdisjoint(lost)
    if lost:
        character, document = next(iter(lost.items()))
        raise UserError(
            f"the tokenizer cannot encode {len(lost)} characters, such as {character!r} (U+{ord(character):04X}) in "
            f"document {document.id} of {document.source}; {holding} of {number} documents hold some",
            where=tokenizer.path,
            fix="use a tokenizer that falls back to bytes, or remove these documents from the suite",
        )
    return size


def groups(documents: Iterable[SuiteDocument]) -> Iterator[list[SuiteDocument]]:
    """Documents that are tokenised together."""
    group: list[SuiteDocument] = []
    characters = 0
    for document in documents:
        group.append(document)
        characters += len(document.text)
        if len(group) == BATCH or characters > BATCH_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def write_windows(config: WindowsConfig) -> dict[str, Any]:
    """Write the windows artifact and return its manifest."""
    tokenizer = load_tokenizer(config.tokenizer)
    prefix = tokenizer.prefix(config.prefix_token_id, config.format)
    suite = open_suite(config.suite)
    documents = list(read_split(suite, config.split, config.limit_documents))
    check_encodable(documents, tokenizer)
    ids = encode_documents(documents, tokenizer)
    keys = [(document.source, document.domain) for document in documents]
    windows = tokens = size = 0
    inputs: list[str | Path] = [config.suite, tokenizer.path]
    with recorded("paloma-ppl", "windows", folder=config.output, config=config, inputs=inputs) as record:
        with atomic_artifact(config.output, "windows") as folder:
            with atomic_write(folder / "windows.jsonl.gz") as stream:
                for row in window_rows(make_windows(keys, ids, config.max_length, prefix, config.format), documents):
                    stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                    windows += 1
                    tokens += len(row["scored"])
                    size += row["bytes"]
            with writing(folder / TOKENIZER_FILE):
                copyfile(tokenizer.path, folder / TOKENIZER_FILE)
            manifest = {
                "artifact": "windows",
                "format_version": FORMAT_VERSION,
                "format": config.format,
                "split": config.split,
                "maximum_length": config.max_length,
                "prefix_token_id": prefix,
                "vocab_size": tokenizer.vocab_size,
                "tokenizer_digest": tokenizer.digest,
                "suite_digest": suite.digest,
                "limit": config.limit_documents,
                "documents": len(documents),
                "windows": windows,
                "tokens": tokens,
                "bytes": size,
            }
            write_json(folder / "manifest.json", manifest)
        record.outputs = [config.output]
        record.counts = {"documents": len(documents), "windows": windows, "tokens": tokens, "bytes": size}
    return manifest
