"""``dolma-data reshard``: token folders mixed by ratio into one, in a new order over all of them.

Sources are those that ``tokens`` or Dolma wrote. No token is encoded again and no document divided: the tables beside
the token files become the units of :mod:`parts`, with a row for every copy.
"""

from __future__ import annotations

import csv
import logging
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..config.reshard import ReshardConfig
from ..config.tokens import TokenizerSettings
from ..documents import refuse_own_input
from ..errors import UserError
from ..execute import map_ordered
from ..files import PARTIAL, atomic_artifact, digest_file, read_json, write_json, writing
from ..progress import Progress
from ..reading import MAX_LINE_BYTES, read_lines
from ..records import recorded
from ..resuming import save_array, write_buffers
from .parts import RANGE_DOCUMENTS, cut_into_files, lengths_of_ranges, order_documents, write_parts
from .pieces import Merge
from .tokenizer import TOKENIZER_FILE, load_tokenizer, special_ids, tokenizer_file
from .units import ROW, name_rows, order_keys, unit_paths
from .writer import ARTIFACT, SMALL_VOCABULARY

log = logging.getLogger(__name__)

DTYPES = ("uint16", "uint32")
MOST_COPIES = 10_000  # of a document: a rate beyond is a slip, and would fill any disk
FROM_TOKENIZER = ("vocab_size", "dtype", "eos_token_id", "pad_token_id", "bos_token_id", "tokenizer_digest")


@dataclass(frozen=True)
class TokenFile:
    """A file of token ids; ``first`` documents of its source come before it."""

    number: int
    source: int
    path: Path
    rate: float


@dataclass(frozen=True)
class Prepared:
    """A source file as a unit: its documents once, the rows taken of them, the paths that its table names."""

    documents: int
    taken: int
    tokens: int
    longest: int
    names: tuple[str, ...]


def reshard(config: ReshardConfig) -> dict[str, Any]:
    """Write the mixed tokens artifact; returns its manifest.

    Raises UserError for sources that are missing, damaged or of different tokenizers, and for settings that do not go
    together.
    """
    files = find_files(config)
    tokenizer, known = describe(config)
    refuse_own_input(config.destination_prefix, [file.path for file in files])
    inputs = [path for file in files for path in (file.path, _table(file.path))]
    with recorded(
        "dolma-data",
        "reshard",
        folder=config.destination_prefix,
        config=config,
        inputs=inputs,
        seed=config.random_seed,
    ) as record:
        with atomic_artifact(config.destination_prefix, ARTIFACT) as folder, ExitStack() as stack:
            if config.local_tempdir is None:
                scratch = folder / f"scratch{PARTIAL}"
                scratch.mkdir()
            else:
                config.local_tempdir.mkdir(parents=True, exist_ok=True)
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=config.local_tempdir)))
            prepared = _prepare_all(files, config, known["dtype"], scratch)
            counts = {
                "read": sum(unit.documents * math.ceil(file.rate) for file, unit in zip(files, prepared, strict=True)),
                "kept": sum(unit.taken for unit in prepared),
                "dropped": 0,
                "failed": 0,
            }
            counts["dropped"] = counts["read"] - counts["kept"]
            if not counts["kept"]:
                raise UserError("no document is taken", where="--source-prefixes", fix="give higher sample rates")
            merge = Merge(
                scratch=scratch,
                units=tuple(file.number for file in files),
                ranges=-(-counts["kept"] // RANGE_DOCUMENTS),
                dtype=known["dtype"],
                names=tuple(name for unit in prepared for name in unit.names),
                folder=folder,
            )
            order_documents(merge, config.max_workers)
            size = _tokens_of_file(config, prepared, merge)
            parts = write_parts(merge, sum(unit.tokens for unit in prepared), size, config.max_workers)
            if parts.largest >= known["vocab_size"]:
                raise UserError(
                    f"the sources hold id {parts.largest}, and the tokenizer has {known['vocab_size']}",
                    where=tokenizer,
                    fix="give the tokenizer that they were made with",
                )
            shutil.rmtree(scratch, ignore_errors=True)
            with writing(folder / TOKENIZER_FILE):
                shutil.copyfile(tokenizer, folder / TOKENIZER_FILE)
            manifest = {
                "artifact": ARTIFACT,
                "format_version": 1,
                **known,
                "max_token_id": parts.largest,
                "files": parts.files,
                "tokens": sum(file["tokens"] for file in parts.files),
                "documents": counts["kept"],
                "counts": counts,
                "fingerprint": parts.fingerprint(),
            }
            write_json(folder / "manifest.json", manifest)
        record.outputs.append(config.destination_prefix)
        record.digests.update(parts.digests_in(config.destination_prefix))
        record.counts.update(counts, tokens=manifest["tokens"])
    log.info("reshard: %d tokens of %d documents in %d files", manifest["tokens"], counts["kept"], len(parts.files))
    return manifest


def plan(config: ReshardConfig) -> dict[str, Any]:
    """The files of all sources and what is ``missing``, for a dry run."""
    missing = [str(source.prefix) for source in config.source_prefixes if not source.prefix.is_dir()]
    if missing:
        return {"files": [], "missing": missing}
    return {"files": [str(file.path) for file in find_files(config)], "missing": []} | describe(config)[1]


def find_files(config: ReshardConfig) -> list[TokenFile]:
    """The token files of all sources, in order; UserError for impossible settings and sources without files."""
    if (config.max_size_bytes is None) == (config.max_num_files is None):
        raise UserError("give max_size_bytes or max_num_files, one of them", where="--max-size-bytes", fix="give one")
    limit = config.max_size_bytes if config.max_num_files is None else config.max_num_files
    if limit is None or limit < 1:
        raise UserError(f"files of at most {limit}", where="--max-size-bytes", fix="give 1 or more")
    files: list[TokenFile] = []
    for number, source in enumerate(config.source_prefixes):
        if not 0 < source.sample_rate <= MOST_COPIES:
            fix = f"give more than 0, at most {MOST_COPIES:,}"
            raise UserError(f"sample_rate is {source.sample_rate}", where=source.prefix, fix=fix)
        found = sorted(path for path in source.prefix.rglob("*.npy") if PARTIAL not in path.as_posix())
        if not found:
            raise UserError("no token files (*.npy) here", where=source.prefix, fix="give a folder that tokens wrote")
        for path in found:
            if not _table(path).is_file():
                raise UserError("the table of this file is missing", where=path, fix=f"restore {_table(path).name}")
            files.append(TokenFile(len(files), number, path, source.sample_rate))
    if not files:
        raise UserError("no sources are given", where="--source-prefixes", fix="name folders of tokens")
    return files


def _is_manifest(manifest: Any) -> bool:
    if not isinstance(manifest, dict) or not set(FROM_TOKENIZER) <= set(manifest) or manifest["dtype"] not in DTYPES:
        return False
    ids = (manifest[name] for name in ("eos_token_id", "pad_token_id", "bos_token_id"))
    return type(manifest["vocab_size"]) is int and all(each is None or type(each) is int for each in ids)


def describe(config: ReshardConfig) -> tuple[Path, dict[str, Any]]:
    """The tokenizer of all sources and what a manifest says of it; UserError where sources differ or none says."""
    manifests = {
        source.prefix: read_json(source.prefix / "manifest.json")
        for source in config.source_prefixes
        if (source.prefix / "manifest.json").is_file()
    }
    for prefix, manifest in manifests.items():
        if not _is_manifest(manifest):
            fix = "make the tokens again"
            raise UserError("not a manifest of tokens", where=prefix / "manifest.json", fix=fix)
    if config.tokenizer_name_or_path is not None:
        tokenizer = tokenizer_file(config.tokenizer_name_or_path)
    elif manifests:
        tokenizer = tokenizer_file(next(iter(manifests)) / TOKENIZER_FILE)
    else:
        raise UserError(
            "no source says which tokenizer it was made with",
            where="--tokenizer-name-or-path",
            fix="give the tokenizer",
        )
    digest = digest_file(tokenizer)
    for prefix, manifest in manifests.items():
        if manifest.get("tokenizer_digest") != digest:
            raise UserError("the tokens are of another tokenizer", where=prefix, fix="mix sources of one tokenizer")
    if manifests:
        first = next(iter(manifests.values()))
        known = {name: first[name] for name in FROM_TOKENIZER}
        for prefix, manifest in manifests.items():
            if any(manifest[name] != known[name] for name in FROM_TOKENIZER):
                raise UserError("the tokens have other special ids", where=prefix, fix="mix sources of one setting")
        for name in ("segment_before_tokenization", "fields"):
            if any(manifest.get(name) != first.get(name) for manifest in manifests.values()):
                raise UserError(f"the sources differ in {name}", where=name, fix="mix sources of one setting")
            if name in first:
                known[name] = first[name]
        if len(manifests) < len({source.prefix for source in config.source_prefixes}) or any(
            "compat" in one for one in manifests.values()
        ):
            known["compat"] = "dolma"
        return tokenizer, known
    special = special_ids(load_tokenizer(tokenizer), TokenizerSettings(name_or_path=str(tokenizer)))
    return tokenizer, {
        "vocab_size": special.vocab_size,
        "dtype": "uint16" if special.vocab_size <= SMALL_VOCABULARY else "uint32",
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
        "bos_token_id": None,
        "tokenizer_digest": digest,
        "compat": "dolma",
    }


def _prepare_all(files: list[TokenFile], config: ReshardConfig, dtype: str, scratch: Path) -> list[Prepared]:
    work = partial(prepare, seed=config.random_seed, dtype=dtype, scratch=scratch)
    prepared = []
    with Progress("reshard", len(files)) as progress:
        for unit in map_ordered(work, files, max(1, min(config.max_workers, len(files)))):
            prepared.append(unit)
            progress.advance()
    first = 0
    for file, unit in zip(files, prepared, strict=True):
        rows = np.load(unit_paths(scratch, file.number)[1], mmap_mode="r+")
        rows["file"] += first  # numbers of paths, so far within the file
        rows.flush()
        first += len(unit.names)
    return prepared


def prepare(file: TokenFile, seed: int, dtype: str, scratch: Path) -> Prepared:
    """Make a unit of a token file: the file itself, a row for each copy of its documents, their ids."""
    width = np.dtype(dtype).itemsize
    size = file.path.stat().st_size
    names: dict[str, int] = {}
    rows: list[tuple[int, int, int, int]] = []  # start, end, path, line
    identifiers: list[bytes] = []
    for line, (start, end, identifier, source, location) in _read_table(_table(file.path)):
        if start != (rows[-1][1] if rows else 0) or end <= start or end * width > size:
            raise UserError(
                f"{start}..{end} does not go on from the row before, or ends after the file",
                where=_table(file.path),
                line=line,
                fix="make the tokens again",
            )
        rows.append((start, end, names.setdefault(source, len(names)), location))
        identifiers.append(identifier.encode())
    table = np.zeros(len(rows), dtype=ROW)
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    table["start"], table["tokens"], table["file"], table["line"] = (columns[0], columns[1] - columns[0], *columns[2:])
    name_rows(table, identifiers)
    taken = np.concatenate(list(_copies(len(table), file, seed)))
    table = table[taken[:, 0]]
    table["key"] = order_keys(seed, np.full(len(taken), file.number), taken[:, 0] * (1 << 20) + taken[:, 1])
    table = table[np.argsort(table["key"], kind="stable")]
    tokens_path, rows_path, ids_path = unit_paths(scratch, file.number)
    tokens_path.unlink(missing_ok=True)  # of a worker that was lost
    tokens_path.symlink_to(file.path.absolute())
    save_array(rows_path, table)
    write_buffers(ids_path, *identifiers)
    lengths = table["tokens"].astype(np.int64)
    return Prepared(len(rows), len(table), int(lengths.sum()), int(lengths.max(initial=0)), tuple(names))


def _copies(documents: int, file: TokenFile, seed: int) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """Pairs (document, copy) that are taken, [N, 2]: whole copies, and for the fraction documents by chance."""
    whole = math.floor(file.rate)
    for copy in range(whole):
        yield np.stack([np.arange(documents), np.full(documents, copy)], axis=1)
    generator = np.random.Generator(np.random.PCG64([seed, file.number]))
    drawn = np.flatnonzero(generator.random(documents) < file.rate - whole)
    yield np.stack([drawn, np.full(len(drawn), whole)], axis=1)


def _read_table(path: Path) -> Iterator[tuple[int, tuple[int, int, str, str, int]]]:
    numbers: list[int] = []

    def lines() -> Iterator[str]:
        for number, line in read_lines(path):
            numbers[:] = [number]
            yield line.decode() + "\n"

    csv.field_size_limit(MAX_LINE_BYTES)  # ids may be as long as a line of documents
    table = csv.reader(lines())
    while True:
        row: list[str] | None = []
        try:
            row = next(table, None)
            if row is None:
                return
            start, end, identifier, source, location = row
            entry = int(start), int(end), identifier, source, int(location)
            if entry[-1] >= 1 << 63:
                raise ValueError("no line")
        except (ValueError, csv.Error) as error:
            shown = ",".join(row or ())[:100]
            raise UserError(
                f"{shown!r} is not start,end,id,src,loc", where=path, line=numbers[0], fix="make it again"
            ) from error
        yield numbers[0], entry


def _table(path: Path) -> Path:
    return path.with_suffix(".csv.gz")


def _tokens_of_file(config: ReshardConfig, prepared: list[Prepared], merge: Merge) -> int:
    """Tokens that a file holds at most."""
    if config.max_size_bytes is not None:
        return max(1, config.max_size_bytes // np.dtype(merge.dtype).itemsize)
    assert config.max_num_files is not None
    size = -(-sum(unit.tokens for unit in prepared) // config.max_num_files)
    if len(cut_into_files(lengths_of_ranges(merge), size)) <= config.max_num_files:
        return size
    return size + max(unit.longest for unit in prepared)  # then every file but the last holds its share
