"""``dolma-data analyze``: what a corpus holds, by source, language, domain and length; duplicates; frequent n-grams.

The analyses are those of Elazar et al. 2024 (What's in my big data?, arXiv 2310.20707) that a corpus alone answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from ..annotate import Chunk, read_chunks
from ..batch import Batch
from ..config.analyze import AnalyzeConfig
from ..documents import DocumentFile, Failure, check_failures, check_so_far, find_documents
from ..errors import UserError
from ..execute import map_ordered
from ..files import atomic_write, write_json
from ..hashes import as_hashes, first_copies, hash_texts
from ..kernels.hashing import hash_ranges
from ..progress import Progress
from ..records import recorded
from ..taggers import PreparedTagger, TaggerOptions, find_tagger
from .ngrams import CellCounts, Found, NgramCounters, TopNgrams, best, count_cells, follow
from .page import render

ANALYSIS, PAGE = "analysis.json", "analysis.html"
FORMAT_VERSION = 1
LANGUAGE_TAGGER = "ft_lang_id_1e2"
NO_LANGUAGE, NO_DOMAIN = "none told", "none given"
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
MOST_GROUPS = 1000  # of languages and sources that are listed
log = logging.getLogger(__name__)
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A chunk, analysed: lists and columns have an entry for each document."""

    sources: list[str]
    languages: list[str]
    domains: list[str]
    sizes: Integers  # [D, 3] characters, bytes, words
    digests: bytes  # of the texts
    identities: bytes  # digests of source and id
    cells: list[CellCounts]
    failures: list[tuple[int, str]]
    file: int


@cache
def _language_tagger() -> PreparedTagger:
    return find_tagger(LANGUAGE_TAGGER).prepare(TaggerOptions())


def analyze_chunk(domain_field: str, language: bool, ngrams: Sequence[int], chunk: Chunk) -> Part:
    """First pass over a chunk."""
    rows, documents = chunk.documents()
    batch = Batch(documents)
    sizes = np.stack([batch.lengths, np.diff(batch.offsets), batch.word_counts], axis=1)
    identities = (f"{document['source']}\0{document['id']}".encode() for document in documents)
    languages = likeliest_languages(batch) if language and documents else []
    batch.let_texts_go()
    return Part(
        sources=[document["source"] for document in documents],
        languages=languages,
        domains=[domain_of(document, domain_field) for document in documents],
        sizes=sizes,
        digests=hash_ranges(batch.buffer, batch.offsets[:-1], batch.offsets[1:]).astype(">u8").tobytes(),
        identities=hash_texts(identities).astype(">u8").tobytes(),
        cells=count_cells(batch, ngrams) if documents else [],
        failures=[(chunk.first_line + k, row) for k, row in enumerate(rows) if isinstance(row, str)],
        file=chunk.file,
    )


def likeliest_languages(batch: Batch) -> list[str]:
    """The language of each document that has the highest probability."""
    languages = [NO_LANGUAGE] * len(batch)
    scores = np.zeros(len(batch))
    for spans in _language_tagger().score(batch):
        for document, score in zip(spans.documents.tolist(), spans.scores.tolist(), strict=True):
            if score > scores[document]:
                languages[document], scores[document] = spans.type, score
    return languages


def domain_of(document: dict[str, Any], path: str) -> str:
    """The host where the field at ``path`` (names joined by points) is an address, else the field's text."""
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None or value == "":
        return NO_DOMAIN
    text = str(value)
    try:
        host = urlsplit(text if "//" in text else f"//{text}").hostname if "/" in text or "." in text else None
    except ValueError:
        host = None
    return host.removeprefix("www.") if host else text


def follow_chunk(chosen: Sequence[tuple[int, tuple[int, ...]]], chunk: Chunk) -> list[dict[int, Found]]:
    """Second pass over a chunk; ``chosen`` are ``(n, cells)``."""
    _, documents = chunk.documents()
    batch = Batch(documents)
    batch.let_texts_go()
    return [follow(batch, n, cells) if documents else {} for n, cells in chosen]


@dataclass
class Groups:
    """Documents by some property: the names, and for each document the number of its name."""

    names: dict[str, int] = field(default_factory=dict)
    members: list[npt.NDArray[np.int32]] = field(default_factory=list)

    def add(self, values: Sequence[str]) -> None:
        """Put documents, in their order, into the groups named."""
        numbers = [self.names.setdefault(value, len(self.names)) for value in values]
        self.members.append(np.array(numbers, dtype=np.int32))

    def column(self) -> npt.NDArray[np.int32]:
        """Number of the group of each document, [D]."""
        return np.concatenate(self.members) if self.members else np.empty(0, dtype=np.int32)

    def table(self, sizes: Integers, most: int) -> list[dict[str, Any]]:
        """Documents, characters, bytes and words of each name, the one with the most words first."""
        column = self.column()
        documents = np.bincount(column, minlength=len(self.names))
        sums = np.zeros((len(self.names), 3), dtype=np.int64)
        np.add.at(sums, column, sizes)
        rows: list[dict[str, Any]] = [
            {"name": name, "documents": int(documents[k])}
            | dict(zip(("characters", "bytes", "words"), sums[k].tolist(), strict=True))
            for name, k in self.names.items()
        ]
        return sorted(rows, key=lambda row: (-row["words"], -row["documents"], row["name"]))[:most]


def analyze(config: AnalyzeConfig) -> dict[str, Any]:
    """Run ``analyze``; writes ``analysis.json`` and ``analysis.html`` and returns the former's content."""
    if config.top < 1:
        raise UserError(f"top is {config.top}", where="--top", fix="give 1 or more")
    for n in config.ngrams:
        if n < 1:
            raise UserError(f"n-grams of {n} words", where="--ngrams", fix="give 1 or more")
    files = find_documents(config.documents)
    inputs = [file.path for file in files]
    with recorded("dolma-data", "analyze", folder=config.output, config=config, inputs=inputs) as record:
        analysis = analyze_files(files, config)
        write_json(config.output / ANALYSIS, analysis)
        with atomic_write(config.output / PAGE) as stream:
            stream.write(render(analysis).encode())
        record.outputs += [config.output / ANALYSIS, config.output / PAGE]
        record.counts.update(analysis["counts"])
    log.info("analyze: %d documents, %s", analysis["total"]["documents"], config.output / PAGE)
    return analysis


def analyze_files(files: Sequence[DocumentFile], config: AnalyzeConfig) -> dict[str, Any]:
    """The analysis of ``files`` as it stands in ``analysis.json``."""
    sources, languages, domains = Groups(), Groups(), Groups()
    counters = NgramCounters(config.ngrams)
    sizes: list[Integers] = []
    digests, identities = bytearray(), bytearray()
    failures: list[Failure] = []
    first = partial(analyze_chunk, config.domain_field, config.language, config.ngrams)
    for part in _pass("analyze", first, files, config.processes):
        sources.add(part.sources)
        languages.add(part.languages)
        domains.add(part.domains)
        sizes.append(part.sizes)
        digests += part.digests
        identities += part.identities
        counters.add(part.cells)
        failures += (Failure(str(files[part.file].path), line, reason) for line, reason in part.failures)
        check_so_far(failures, config.max_failed, config.output)
    check_failures(failures, config.max_failed, config.output)
    table = np.concatenate(sizes) if sizes else np.empty((0, 3), dtype=np.int64)
    if not len(table):
        raise UserError("no document in the input", where=", ".join(config.documents), fix="check the paths")
    totals = dict(zip(("characters", "bytes", "words"), table.sum(axis=0).tolist(), strict=True))
    read = len(table) + len(failures)
    return {
        "format_version": FORMAT_VERSION,
        "counts": {"read": read, "kept": len(table), "dropped": 0, "failed": len(failures)},
        "total": {"documents": len(table)} | totals,
        "sources": sources.table(table, MOST_GROUPS),
        "languages": languages.table(table, MOST_GROUPS) if config.language else None,
        "domains": {
            "field": config.domain_field,
            "number": len(domains.names),
            "top": domains.table(table, config.top),
        },
        "lengths": {name: describe_lengths(table[:, k]) for k, name in enumerate(("characters", "bytes", "words"))},
        "duplicates": describe_duplicates(bytes(digests), bytes(identities), sources, table),
        "ngrams": [
            {"n": result.n, "total": total, "exact": result.exact, "top": result.rows}
            for result, total in zip(_top_ngrams(files, config, counters), counters.totals, strict=True)
        ],
    }


def _pass(what: str, work: Callable[[Chunk], Any], files: Sequence[DocumentFile], processes: int) -> Iterator[Any]:
    with Progress(what, unit="chunks") as progress:
        for result in map_ordered(work, read_chunks(list(enumerate(files))), processes):
            progress.advance()
            yield result


def _top_ngrams(files: Sequence[DocumentFile], config: AnalyzeConfig, counters: NgramCounters) -> list[TopNgrams]:
    chosen = counters.largest(config.top)
    counters.let_go()
    totals: list[dict[int, Found]] = [{} for _ in config.ngrams]
    second = partial(follow_chunk, [(n, cells) for n, (cells, _) in zip(config.ngrams, chosen, strict=True)])
    for found in _pass("analyze: n-grams", second, files, config.processes) if config.ngrams else ():
        for total, part in zip(totals, found, strict=True):
            for value, entry in part.items():
                known = total.get(value)
                total[value] = entry if known is None else Found(known.times + entry.times, known.text)
    return [
        best(n, total, most_left, config.top)
        for n, total, (_, most_left) in zip(config.ngrams, totals, chosen, strict=True)
    ]


def describe_lengths(values: Integers) -> dict[str, Any]:
    """Quantiles, and a histogram over powers of two: bin k holds lengths from 2^(k-1) to below 2^k, bin 0 the zeros."""
    places = np.zeros(len(values), dtype=np.int64)
    positive = values > 0
    places[positive] = np.floor(np.log2(values[positive])).astype(np.int64) + 1
    quantiles = np.quantile(values, QUANTILES, method="inverted_cdf").tolist()
    return {
        "mean": float(values.mean()),
        "quantiles": {f"{share:g}": int(value) for share, value in zip(QUANTILES, quantiles, strict=True)},
        "counts_by_power_of_two": np.bincount(places).tolist(),
    }


def describe_duplicates(digests: bytes, identities: bytes, sources: Groups, sizes: Integers) -> dict[str, Any]:
    """Documents whose whole text stands earlier, in all and by pairs of sources, and repeated ids."""
    first = first_copies(as_hashes(digests))
    repeated = first != np.arange(len(first))
    same_id = first_copies(as_hashes(identities)) != np.arange(len(first))
    column = sources.column()
    names = list(sources.names)
    pairs, counts = np.unique(np.stack([column[repeated], column[first[repeated]]], axis=1), axis=0, return_counts=True)
    return {
        "documents": int(repeated.sum()),
        "bytes": int(sizes[repeated, 1].sum()),
        "repeated_ids": int(same_id.sum()),
        "by_source": [
            {"source": names[a], "first_in": names[b], "documents": int(count)}
            for (a, b), count in zip(pairs.tolist(), counts.tolist(), strict=True)
        ],
    }
