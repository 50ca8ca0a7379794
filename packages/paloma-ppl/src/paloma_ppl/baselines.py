"""What simple models make of the suite: token frequencies, and a compressor that has seen training text.

Unigram: p(v) = (count of v in training + s) / (tokens in training + s · vocabulary), with s = 1 by default (Laplace).

xz: bits of a document given training text of its source, 8 · (|C(prefix + document)| − |C(prefix)|). C is LZMA at
preset 9 extreme as a raw stream, so that no header or checksum counts. A compressor's state cannot be copied, so each
document compresses the prefix anew: the cost is (documents) × (prefix), and the prefix is bounded. 128 KiB take about
0.05 s a document, and a dictionary no larger than the text saves clearing 64 MiB each time. The prefix holds the
beginnings of many documents, which serves better than a few whole ones. Several processes share the documents; the
result does not depend on them.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import lzma
import math
import multiprocessing
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import Key, SingleDocuments, WindowSums
from .config import BaselineConfig
from .documents import Document, Tally, document_files, read_documents
from .errors import UserError
from .files import atomic_artifact, atomic_write
from .metrics import DocumentScore, document_score
from .progress import Progress
from .provenance import recorded
from .results import Description, vocabulary_sums, write_results
from .statistics import Floats, check_confidence
from .suite import SuiteDocument, open_suite, read_held_out, read_split
from .tokenizer import BATCH, Ids, LoadedTokenizer, load_tokenizer
from .windows import check_encodable, encode_documents

FORMAT_VERSION = 1
UNIGRAM_FILE = "unigram.json"  # what tells the folder of baselines from anything else
SHARE_OF_PREFIX = 32  # no training document fills more than this part of the prefix, so that it holds many
LN_2 = math.log(2)


class PrefixText:
    """Collects, per source, the beginnings of the training documents with the smallest hashes, up to a size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.heaps: dict[str, list[tuple[int, bytes]]] = defaultdict(list)  # largest hash first
        self.held: dict[str, int] = defaultdict(int)

    def add(self, document: Document) -> None:
        key = -int.from_bytes(hashlib.sha256(f"{document.source}\0{document.id}".encode()).digest()[:16], "big")
        heap = self.heaps[document.source]
        text = (document.text.encode()[: max(1, self.size // SHARE_OF_PREFIX)]) + b"\n"
        heapq.heappush(heap, (key, text))
        self.held[document.source] += len(text)
        while self.held[document.source] - len(heap[0][1]) >= self.size:
            self.held[document.source] -= len(heapq.heappop(heap)[1])

    def prefixes(self) -> dict[str, bytes]:
        joined = {source: b"".join(text for _, text in sorted(heap)) for source, heap in self.heaps.items()}
        return {source: text[: self.size] for source, text in joined.items()}


def compressed_size(data: bytes) -> int:
    """Bytes of ``data`` as a raw LZMA stream, preset 9 extreme."""
    dictionary = max(4096, len(data))
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


def added_size(prefix: bytes, alone: int, document: bytes) -> int:
    """Bytes that ``document`` adds to the compressed ``prefix``, which has ``alone`` bytes by itself."""
    return max(0, compressed_size(prefix + document) - alone)


def xz_scores(documents: Sequence[SuiteDocument], prefixes: dict[str, bytes], processes: int) -> list[DocumentScore]:
    """Scores without tokens; log-probability is −ln 2 · 8 · compressed bytes."""
    alone = {source: compressed_size(prefix) for source, prefix in prefixes.items()}
    empty = compressed_size(b"")
    arguments = (
        [prefixes.get(document.source, b"") for document in documents],
        [alone.get(document.source, empty) for document in documents],
        [document.text.encode() for document in documents],
    )
    scores = []
    with Progress("compressing", total=len(documents)) as progress:

        def collect(sizes: Iterable[int]) -> None:
            for document, size in zip(documents, sizes, strict=True):
                scores.append(document_score(document, 0, -LN_2 * 8 * size))
                progress.advance()

        if processes == 1:
            collect(map(added_size, *arguments))
        else:
            with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
                collect(pool.map(added_size, *arguments, chunksize=4))
    return scores


def read_training(
    config: BaselineConfig, tokenizer: LoadedTokenizer, held_out: set[tuple[str, str]], tally: Tally
) -> tuple[NDArray[np.int64], dict[str, bytes], int]:
    """Token counts, prefixes for the compressor and number of documents, held-out ones passed over."""
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    prefixes = PrefixText(config.xz_bytes)
    read = 0
    pending: list[str] = []

    def count() -> None:
        for ids in tokenizer.encode(pending):
            counts[:] += np.bincount(ids, minlength=tokenizer.vocab_size)
        pending.clear()

    with Progress("reading training documents") as progress:
        for document in read_documents(config.documents, tally):
            progress.advance()
            if (document.source, document.id) in held_out:
                continue
            read += 1
            prefixes.add(document)
            pending.append(document.text)
            if len(pending) == BATCH:
                count()
        count()
    return counts, prefixes.prefixes() if config.xz_bytes else {}, read


def write_unigram(
    path: Path, tokenizer: LoadedTokenizer, smoothing: float, counts: NDArray[np.int64], read: int
) -> None:
    manifest = {
        "artifact": "unigram",
        "format_version": FORMAT_VERSION,
        "tokenizer_digest": tokenizer.digest,
        "vocab_size": tokenizer.vocab_size,
        "smoothing": smoothing,
        "counts": counts.tolist(),
        "documents": read,
        "tokens": int(counts.sum()),
    }
    with atomic_write(path) as stream:
        stream.write(json.dumps(manifest).encode() + b"\n")


def window_sums(
    documents: Sequence[SuiteDocument],
    ids: Sequence[Ids],
    values: Sequence[Floats],
    tokenizer: LoadedTokenizer,
    length: int,
) -> dict[Key, WindowSums]:
    """Sums of ``values``, log-probabilities [tokens] of each document, by windows of those alone in their domain."""
    singles = SingleDocuments(tokenizer.tokenizer, length)
    for document, tokens, value in zip(documents, ids, values, strict=True):
        singles.read(document, tokens)
        for number, begin in enumerate(range(0, len(value), length)):
            singles.add((document.source, document.domain), number, value[begin : begin + length])
    return singles.finished(dict.fromkeys((document.source, document.domain) for document in documents))


def check(config: BaselineConfig) -> None:
    check_confidence(config.confidence)
    if not 0 < config.smoothing < math.inf:
        raise UserError(f"smoothing of {config.smoothing}", where="smoothing", fix="give a number above 0")
    if config.max_length is not None and config.max_length < 1:
        raise UserError(f"a maximum length of {config.max_length}", where="max_length", fix="give 1 or more")
    if config.xz_bytes < 0:
        raise UserError(f"a prefix of {config.xz_bytes} bytes", where="xz_bytes", fix="give 0 or more")
    if config.processes < 1:
        raise UserError(f"{config.processes} processes", where="processes", fix="give 1 or more")
    document_files(config.documents)


def baseline(config: BaselineConfig) -> dict[str, dict[str, Any]]:
    """Write ``unigram.json``, ``unigram/`` and ``xz/``; returns each one's ``results.json`` by name."""
    check(config)
    tokenizer = load_tokenizer(config.tokenizer)
    suite = open_suite(config.suite)
    documents = list(read_split(suite, config.split, config.limit))
    check_encodable(documents, tokenizer)
    held_out = {(source, identity) for source, identity, _ in read_held_out(suite)}
    results = {}
    inputs: list[str | Path] = [config.suite, tokenizer.path, config.documents]
    with (
        recorded("paloma-ppl", "baseline", folder=config.output, config=config, inputs=inputs) as record,
        atomic_artifact(config.output, "unigram", manifest_name=UNIGRAM_FILE) as folder,
    ):
        tally = Tally()
        counts, prefixes, read = read_training(config, tokenizer, held_out, tally)
        tally.settle(config.output.with_name(config.output.name + ".quarantine.jsonl"), config.max_failed)
        if not read:
            raise UserError("no training documents are left", where=config.documents, fix="give documents not held out")
        write_unigram(folder / UNIGRAM_FILE, tokenizer, config.smoothing, counts, read)
        total = float(counts.sum()) + config.smoothing * tokenizer.vocab_size
        table = np.log((counts + config.smoothing) / total)
        ids = encode_documents(documents, tokenizer)
        values = [table[document] for document in ids]
        unigram_scores = [
            document_score(document, len(value), math.fsum(value))
            for document, value in zip(documents, values, strict=True)
        ]
        common: dict[str, Any] = {"model": None, "suite": suite.name, "suite_digest": suite.digest}
        common |= {"split": config.split, "format": "paloma", "maximum_length": None, "limit": config.limit}
        unigram = Description(
            method="unigram",
            tokenizer_digest=tokenizer.digest,
            dtype="float64",
            vocab_size=tokenizer.vocab_size,
            **(common | {"maximum_length": config.max_length}),
        )
        vocabulary = vocabulary_sums(ids, values, tokenizer.vocab_size)
        windows = None
        if config.max_length is not None:
            windows = window_sums(documents, ids, values, tokenizer, config.max_length)
        results["unigram"] = write_results(
            folder / "unigram", unigram, unigram_scores, vocabulary, config.confidence, windows=windows
        )
        xz = Description(method="xz", tokenizer_digest=None, dtype="bytes", vocab_size=None, **common)
        scores = xz_scores(documents, prefixes, config.processes)
        results["xz"] = write_results(folder / "xz", xz, scores, None, config.confidence)
        record.outputs = [config.output / name for name in ("unigram", UNIGRAM_FILE, "xz")]
        record.counts = {"read": tally.read, "used": read, "failed": tally.failed, "documents": len(documents)}
    return results
