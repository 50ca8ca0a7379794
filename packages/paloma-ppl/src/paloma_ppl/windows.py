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
from .files import atomic_artifact, atomic_write, write_json
from .provenance import recorded
from .suite import SuiteDocument, open_suite, read_split
from .tokenizer import TOKENIZER_FILE, Ids, LoadedTokenizer, load_tokenizer

FORMAT_VERSION = 1


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
    """Cut documents, given by (source, domain) and ids, into windows of at most ``maximum_length`` + 1 ids.

    A document without tokens gives no window.
    """
    if maximum_length < 1:
        raise UserError(f"a maximum length of {maximum_length}", where="max_length", fix="give 1 or more")
    if format_name == "paloma":
        for number, document in enumerate(ids):
            yield from cut_stream([(number, document)], maximum_length, prefix)
        return
    domains: dict[tuple[str, str], list[tuple[int, Ids]]] = {}
    for number, key in enumerate(documents):
        domains.setdefault(key, []).append((number, ids[number]))
    for members in domains.values():
        yield from cut_stream(members, maximum_length, prefix)


def cut_stream(documents: Sequence[tuple[int, Ids]], maximum_length: int, prefix: int) -> Iterator[Window]:
    """Windows of one stream: the prefix, then the documents with the prefix token between them."""
    separator = np.array([prefix], dtype=np.int32)
    pieces, owners, first = [separator], [], 1
    for number, ids in documents:
        if not len(ids):
            continue
        if len(pieces) > 1:
            pieces.append(separator)
            first += 1
        pieces.append(ids)
        owners.append((number, first, first + len(ids)))  # positions [first, stop) of the stream
        first += len(ids)
    stream = np.concatenate(pieces)
    counts: dict[int, int] = {}
    owner = 0
    for begin in range(0, len(stream) - 1, maximum_length):
        end = min(begin + maximum_length, len(stream) - 1)  # the last position of the window
        parts = []
        while owner < len(owners) and owners[owner][1] <= end:
            number, first, stop = owners[owner]
            start = max(first, begin + 1)
            parts.append(Part(number, counts.get(number, 0), start - begin, min(stop, end + 1) - begin, start - first))
            counts[number] = counts.get(number, 0) + 1
            if stop > end + 1:
                break
            owner += 1
        if parts:
            yield Window(stream[begin : end + 1], tuple(parts))


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


def encode_documents(documents: Sequence[SuiteDocument], tokenizer: LoadedTokenizer) -> list[Ids]:
    """Ids of the documents; one that has text and no tokens is a UserError, for nothing could be predicted."""
    ids = list(tokenizer.encode(document.text for document in documents))
    for document, encoded in zip(documents, ids, strict=True):
        if not len(encoded):
            raise UserError(
                f"the tokenizer gives no tokens for document {document.id} of {document.source}",
                where=tokenizer.path,
                fix="use another tokenizer or remove the document from the suite",
            )
    return ids


def write_windows(config: WindowsConfig) -> dict[str, Any]:
    """Write the windows artifact and return its manifest."""
    tokenizer = load_tokenizer(config.tokenizer)
    prefix = tokenizer.prefix(config.prefix_token_id, config.format)
    suite = open_suite(config.suite)
    documents = list(read_split(suite, config.split, config.limit_documents))
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
