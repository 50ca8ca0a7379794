"""``dolma-data tokens``: documents in a seeded order as raw token ids, as Dolma writes and OLMo reads them.

Two passes. The first encodes the documents file by file into scratch files and notes for every document how many
tokens it has and where they lie. The second takes the documents in the order of a seeded permutation of the whole
corpus, cuts that order into files, and copies. So the order does not depend on the number of processes, and memory
grows with the number of documents (some 50 bytes each), not with their text.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.tokens import TokensConfig
from .documents import (
    QUARANTINE,
    DocumentFile,
    Failure,
    check_failures,
    common_root,
    find_documents,
    is_blank,
    read_rows,
    write_quarantine,
)
from .errors import UserError
from .execute import map_ordered
from .files import PARTIAL, atomic_artifact, atomic_write, digest_file, write_json
from .progress import Progress
from .provenance import recorded
from .tokenizer import TOKENIZER_FILE, SpecialIds, load_tokenizer, special_ids, tokenizer_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.integer[Any]]

log = logging.getLogger(__name__)

ARTIFACT = "tokens"
SMALL_VOCABULARY = 1 << 16  # ids that fit into uint16
BATCH_BYTES = 4 << 20  # of text encoded at a time
UNIT_BYTES = 8 << 20  # of input files a unit of work takes at least
MOST_UNITS = 256  # each has one scratch file open in the second pass
INDEX_TYPE = [("hash", "<u8"), ("file", "<u4"), ("row", "<u4"), ("offset", "<u8")]


@dataclass(frozen=True)
class Unit:
    """Consecutive document files that are encoded together; ``first`` is the number of the first."""

    number: int
    first: int
    files: tuple[DocumentFile, ...]


@dataclass(frozen=True)
class Encoded:
    """What the first pass says about a unit."""

    read: int
    kept: int
    tokens: int
    text_bytes: int
    failures: list[Failure]


def tokens(config: TokensConfig) -> dict[str, Any]:
    """Write the tokens artifact; returns its manifest.

    Raises UserError for a tokenizer that cannot be used, a ``dtype`` that is not the vocabulary's, no document at all
    and more than ``max_failed`` unreadable ones.
    """
    tokenizer_path, special, dtype = check(config)
    files = find_documents(config.documents)
    units = plan(files)
    inputs = [tokenizer_path, *(file.path for file in files)]
    with recorded(
        "dolma-data", "tokens", folder=config.destination, config=config, inputs=inputs, seed=config.seed
    ) as record:
        with atomic_artifact(config.destination, ARTIFACT) as folder:
            scratch = folder / f"scratch{PARTIAL}"
            scratch.mkdir()
            encoded = _encode_all(units, config, tokenizer_path, special, dtype, scratch)
            failures = [failure for unit in encoded for failure in unit.failures]
            check_failures(failures, config.max_failed, config.destination)
            if failures:
                write_quarantine(folder / QUARANTINE, failures)
            counts = {
                "read": sum(unit.read for unit in encoded),
                "kept": sum(unit.kept for unit in encoded),
                "dropped": sum(unit.read - unit.kept - len(unit.failures) for unit in encoded),
                "failed": len(failures),
            }
            if not counts["kept"]:
                raise UserError("no document has any text", where=", ".join(config.documents), fix="check the input")
            written = _write_parts(_Corpus(scratch, units, dtype), files, config, folder)
            shutil.rmtree(scratch)
            shutil.copyfile(tokenizer_path, folder / TOKENIZER_FILE)
            manifest = {
                "artifact": ARTIFACT,
                "format_version": 1,
                "dtype": dtype,
                "vocab_size": special.vocab_size,
                "eos_token_id": special.eos,
                "pad_token_id": special.pad,
                "bos_token_id": None,
                "tokenizer_digest": digest_file(folder / TOKENIZER_FILE),
                "files": written,
                "tokens": sum(file["tokens"] for file in written),
                "documents": counts["kept"],
                "counts": counts,
                "fingerprint": fingerprint(folder, written),
            }
            write_json(folder / "manifest.json", manifest)
        record.outputs.append(config.destination)
        record.counts.update(counts, tokens=manifest["tokens"])
    log.info(
        "tokens: %d tokens of %d documents in %d files; %d dropped, %d failed",
        manifest["tokens"],
        counts["kept"],
        len(written),
        counts["dropped"],
        counts["failed"],
    )
    return manifest


def check(config: TokensConfig) -> tuple[Path, SpecialIds, str]:
    """The tokenizer's file, its special ids and the type of the ids; UserError where they do not go together."""
    path = tokenizer_file(config.tokenizer.name_or_path)
    special = special_ids(load_tokenizer(path), config.tokenizer)
    dtype = "uint16" if special.vocab_size <= SMALL_VOCABULARY else "uint32"
    if config.dtype not in (None, dtype):
        raise UserError(
            f"dtype {config.dtype} does not go with a vocabulary of {special.vocab_size} ids",
            where="--dtype",
            fix=f"leave it out or give {dtype}",
        )
    if config.max_size < 1:
        raise UserError(f"max_size is {config.max_size}", where="--max-size", fix="give 1 or more tokens")
    return path, special, dtype


def plan(files: Sequence[DocumentFile]) -> list[Unit]:
    """Divide the files into at most ``MOST_UNITS`` units, the same for any number of processes."""
    sizes = [file.path.stat().st_size for file in files]
    limit = max(UNIT_BYTES, -(-sum(sizes) // (MOST_UNITS // 2)))
    groups: list[list[int]] = []
    total = limit
    for number, size in enumerate(sizes):
        if total + size > limit:
            groups.append([])
            total = 0
        groups[-1].append(number)
        total += size
    return [
        Unit(number, group[0], tuple(files[group[0] : group[-1] + 1])) for number, group in enumerate(groups) if group
    ]


def fingerprint(folder: Path, files: Sequence[dict[str, Any]]) -> str:
    """Digest of the lines ``path NUL tokens NUL digest-of-file LF`` in reading order."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file['path']}\0{file['tokens']}\0{digest_file(folder / file['path'])}\n".encode())
    return "sha256:" + total.hexdigest()


def _encode_all(
    units: Sequence[Unit], config: TokensConfig, tokenizer: Path, special: SpecialIds, dtype: str, scratch: Path
) -> list[Encoded]:
    workers = max(1, min(config.processes, len(units)))
    work = partial(encode_unit, tokenizer_path=tokenizer, eos=special.eos, dtype=dtype, scratch=scratch)
    encoded = []
    with _tokenizer_threads(max(1, config.processes // workers)), Progress("tokens", unit="bytes of text") as progress:
        for result in map_ordered(work, units, workers):
            encoded.append(result)
            progress.advance(result.text_bytes)
    return encoded


@contextmanager
def _tokenizer_threads(threads: int) -> Iterator[None]:
    """Have the tokenizers library use ``threads`` threads in this process and those it starts."""
    settings = {"TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false", "RAYON_NUM_THREADS": str(threads)}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def encode_unit(unit: Unit, tokenizer_path: Path, eos: int, dtype: str, scratch: Path) -> Encoded:
    """Encode the documents of a unit in order into scratch files, one EOS after each.

    ``N.tokens`` holds the ids, ``N.rows.npy`` a row ``(tokens, file, line, end of id)`` for each document [D, 4],
    ``N.ids`` the document ids as UTF-8, one after another.
    """
    import numpy as np

    tokenizer = load_tokenizer(tokenizer_path)
    read = text_bytes = id_end = 0
    failures: list[Failure] = []
    rows: list[tuple[int, int, int, int]] = []
    ids = []
    with open(scratch / f"{unit.number}.tokens", "wb") as output:
        for batch in _batches(unit, failures):
            read += batch.read
            text_bytes += batch.size
            encodings = tokenizer.encode_batch_fast(batch.texts, add_special_tokens=False)
            for encoding, (file, line, identifier) in zip(encodings, batch.places, strict=True):
                id_end += len(identifier)
                ids.append(identifier)
                rows.append((len(encoding) + 1, file, line, id_end))
            flat = chain.from_iterable(chain(encoding.ids, (eos,)) for encoding in encodings)
            np.fromiter(flat, dtype="<u2" if dtype == "uint16" else "<u4").tofile(output)
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    np.save(scratch / f"{unit.number}.rows.npy", table)
    (scratch / f"{unit.number}.ids").write_bytes(b"".join(ids))
    return Encoded(read + len(failures), len(rows), int(table[:, 0].sum()), text_bytes, failures)


class _Batch:
    """Texts to encode together; ``read`` counts the blank ones too."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.places: list[tuple[int, int, bytes]] = []
        self.read = self.size = 0


def _batches(unit: Unit, failures: list[Failure]) -> Iterator[_Batch]:
    batch = _Batch()
    for number, file in enumerate(unit.files, unit.first):
        for row in read_rows(file.path):
            if row.document is None:
                failures.append(Failure(str(file.path), row.line, row.reason or ""))
                continue
            batch.read += 1
            text = row.document["text"]
            if is_blank(text):
                continue
            batch.texts.append(text)
            batch.places.append((number, row.line, row.document["id"].encode()))
            batch.size += len(text.encode())
            if batch.size >= BATCH_BYTES:
                yield batch
                batch = _Batch()
    if batch.read:
        yield batch


class _Corpus:
    """The scratch files of all units as one corpus of documents in reading order."""

    def __init__(self, scratch: Path, units: Sequence[Unit], dtype: str) -> None:
        import numpy as np

        tables = [np.load(scratch / f"{unit.number}.rows.npy") for unit in units]
        table = np.concatenate(tables)
        self.lengths, self.files, self.lines, self.id_ends = (np.ascontiguousarray(column) for column in table.T)
        self.units = np.repeat(np.arange(len(units)), [len(rows) for rows in tables])
        starts = [np.cumsum(rows[:, 0]) - rows[:, 0] for rows in tables]
        self.starts = np.concatenate(starts)
        self.first_of_unit = np.concatenate([[True] + [False] * (len(rows) - 1) for rows in tables if len(rows)])
        kind = "<u2" if dtype == "uint16" else "<u4"
        self.tokens = [self._map(scratch / f"{unit.number}.tokens", kind) for unit in units]
        self.ids = [self._map(scratch / f"{unit.number}.ids", "u1") for unit in units]

    @staticmethod
    def _map(path: Path, kind: str) -> Integers:
        import numpy as np

        return np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.empty(0, dtype=kind)

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens_of(self, document: int) -> Integers:
        start = self.starts[document]
        found: Integers = self.tokens[self.units[document]][start : start + self.lengths[document]]
        return found

    def id_of(self, document: int) -> bytes:
        start = 0 if self.first_of_unit[document] else self.id_ends[document - 1]
        identifier: bytes = self.ids[self.units[document]][start : self.id_ends[document]].tobytes()
        return identifier


def cut_into_files(lengths: Integers, max_size: int) -> list[slice]:
    """Cut documents of these many tokens, in order, into files of at most ``max_size`` tokens.

    A document is never divided; one that is longer than ``max_size`` has a file of its own.
    """
    import numpy as np

    ends = np.cumsum(lengths)
    cuts = []
    start = 0
    while start < len(lengths):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + max_size, side="right")))
        cuts.append(slice(start, end))
        start = end
    return cuts


def _write_parts(
    corpus: _Corpus, files: Sequence[DocumentFile], config: TokensConfig, folder: Path
) -> list[dict[str, Any]]:
    import numpy as np

    order = np.random.Generator(np.random.PCG64(config.seed)).permutation(len(corpus))
    root = common_root(files)
    names = [file.path.absolute().relative_to(root).as_posix() for file in files]
    index = np.empty(len(corpus), dtype=INDEX_TYPE)
    written = []
    with Progress("tokens: writing", len(corpus)) as progress:
        for number, cut in enumerate(cut_into_files(corpus.lengths[order], config.max_size)):
            documents = order[cut]
            ends = np.cumsum(corpus.lengths[documents])
            starts = ends - corpus.lengths[documents]
            path = f"part-0-{number:05d}.npy"
            ids = []
            csv_path = (folder / path).with_suffix(".csv.gz")
            with atomic_write(folder / path) as output, atomic_write(csv_path) as packed:
                table = csv.writer(codecs.getwriter("utf-8")(packed))
                for document, start, end in zip(documents.tolist(), starts.tolist(), ends.tolist(), strict=True):
                    output.write(corpus.tokens_of(document).data)
                    identifier = corpus.id_of(document)
                    ids.append(hashlib.sha256(identifier).digest()[:8])
                    name, line = names[corpus.files[document]], int(corpus.lines[document])
                    table.writerow((start, end, identifier.decode(), name, line))
            rows = index[cut]
            rows["hash"] = np.frombuffer(b"".join(ids), dtype="<u8")
            rows["file"], rows["row"], rows["offset"] = number, np.arange(len(documents)), starts
            written.append({"path": path, "tokens": int(ends[-1]), "documents": len(documents)})
            progress.advance(len(documents))
    index.sort(order=["hash", "file", "row"])
    with atomic_write(folder / "documents.idx") as output:
        output.write(index.tobytes())
    return written
