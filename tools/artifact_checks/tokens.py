"""Tokens: sizes, gapless documents that each end in one EOS, fingerprint, look-up table, the way back to the text."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from artifact_checks.documents import check_quarantine, document_files
from artifact_checks.identities import key
from artifact_checks.reading import (
    check_counts,
    complaint,
    digest_file,
    lines,
    listed,
    load,
    only,
    parse,
)
from artifact_checks.report import Options, Report
from artifact_checks.vocabulary import check_tokenizer

SEGMENT = re.compile(r"(^\n*|\n+)[^\n]*")  # a line with the newlines before it
CHUNK = 1 << 22  # token ids looked at together
INDEX_RECORD = np.dtype([("hash", "<u8"), ("file", "<u4"), ("row", "<u4"), ("offset", "<u8")])
SOURCE_RECORD = np.dtype(
    [("src", "u4"), ("loc", "u4"), ("id", "u8"), ("file", "u4"), ("row", "u4"), ("start", "u8"), ("end", "u8")]
)


@dataclass
class Table:
    """What the CSV files say, in compact form."""

    index: list[npt.NDArray[Any]] = field(default_factory=list)
    """``INDEX_RECORD`` of every document."""
    sources: list[npt.NDArray[Any]] = field(default_factory=list)
    """``SOURCE_RECORD`` of every document; filled only where the documents are at hand."""
    paths: dict[str, int] = field(default_factory=dict)
    """Number of every `src`."""


def check_tokens(folder: Path, report: Report, options: Options) -> str:
    """Check ``T/``; with ``--documents`` also that `src` and `loc` lead to the document and encode to its ids."""
    path = folder / "manifest.json"
    manifest = load(path, "tokens", report)
    if manifest is None:
        return "unreadable"
    files = [file["path"] for file in manifest["files"]]
    listed(folder, files, path, report)
    tables = [name.removesuffix(".npy") + ".csv.gz" for name in files]
    only(folder, {"manifest.json", "tokenizer.json", "documents.idx", "quarantine.jsonl", *files, *tables}, report)
    vocab_size = manifest["vocab_size"]
    tokenizer = check_tokenizer(folder / "tokenizer.json", manifest["tokenizer_digest"], vocab_size, path, report)
    report.equal(path, "dtype", manifest["dtype"], "uint16" if vocab_size <= 1 << 16 else "uint32")
    for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
        if manifest[name] is not None and manifest[name] >= vocab_size:
            report.problem(path, f"{name} {manifest[name]} is not below vocab_size {vocab_size}")
    table = Table()
    largest = 0
    fingerprint = hashlib.sha256()
    for number, (file, csv_name) in enumerate(zip(manifest["files"], tables, strict=True)):
        ids = folder / file["path"]
        if not ids.is_file():
            report.problem(ids, "manifest.json lists this file, but it is missing")
            continue
        fingerprint.update(f"{file['path']}\0{file['tokens']}\0{digest_file(ids)}\n".encode())
        ends = check_table(folder / csv_name, number, file, table, options.documents is not None, report)
        largest = max(largest, check_ids(ids, file, ends, manifest, report))
    if "max_token_id" in manifest:
        report.equal(path, "max_token_id", manifest["max_token_id"], largest)
    report.equal(path, "fingerprint", manifest["fingerprint"], "sha256:" + fingerprint.hexdigest())
    for name in ("tokens", "documents"):
        report.equal(path, name, manifest[name], sum(file[name] for file in manifest["files"]))
    check_counts(manifest["counts"], path, report)
    report.equal(path, "counts.kept", manifest["counts"]["kept"], manifest["documents"])
    check_index(folder / "documents.idx", table, report)
    check_quarantine(folder, manifest, report)
    if options.documents is not None and tokenizer is not None:
        check_sources(folder, manifest, table, tokenizer, options, report)
    return f"{manifest['documents']:,} documents, {manifest['tokens']:,} tokens"


def check_table(
    path: Path, number: int, file: Any, table: Table, keep_sources: bool, report: Report
) -> npt.NDArray[np.int64]:
    """The end offsets of one CSV: rows without gaps from 0 to the number of tokens."""
    ends: list[int] = []
    index: list[tuple[int, int, int, int]] = []
    sources: list[tuple[int, int, int, int, int, int, int]] = []
    end = 0
    decoded = (line.decode("utf-8") + "\n" for _, line in lines(path, report))
    reader = csv.reader(decoded)
    for row in reader:
        line = reader.line_num
        try:
            first, last, identity, src, location = row
            start, stop, loc = int(first), int(last), int(location)
        except ValueError:
            report.problem(path, f"{row!r} is not start,end,id,src,loc", line)
            continue
        if start != end:
            report.problem(path, f"starts at {start}, but the document before ends at {end}", line)
        if stop < start + 2:
            report.problem(path, f"{start}..{stop} holds no token besides its EOS", line)
        if loc < 1:
            report.problem(path, f"loc {loc} is not a line number from 1", line)
        end = stop
        hashed = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "little")
        index.append((hashed, number, len(ends), max(start, 0)))
        if keep_sources:
            place = table.paths.setdefault(src, len(table.paths))
            sources.append((place, max(loc, 0), key(identity), number, len(ends), max(start, 0), max(stop, 0)))
        ends.append(stop)
    table.index.append(np.array(index, dtype=INDEX_RECORD))
    table.sources.append(np.array(sources, dtype=SOURCE_RECORD))
    report.equal(path, "the number of rows", len(ends), file["documents"])
    report.equal(path, "the last end", end, file["tokens"])
    return np.array(ends, dtype=np.int64)


def check_ids(path: Path, file: Any, ends: npt.NDArray[np.int64], manifest: Any, report: Report) -> int:
    """Size, range, and EOS at the last place of every document and nowhere else; returns the largest id."""
    dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
    size = path.stat().st_size
    if size != file["tokens"] * dtype.itemsize:
        what = f"{file['tokens']} tokens of {manifest['dtype']}"
        report.problem(path, f"{size} bytes, but {what} are {file['tokens'] * dtype.itemsize}")
        return 0
    if size == 0:
        return 0
    largest = 0
    ids = np.memmap(path, dtype=dtype, mode="r")
    for start in range(0, len(ids), CHUNK):
        part = np.asarray(ids[start : start + CHUNK])
        largest = max(largest, int(part.max()))
        beyond = np.flatnonzero(part >= manifest["vocab_size"])
        if len(beyond):
            place = int(beyond[0])
            report.problem(
                path, f"token {start + place} is {part[place]}, not below {manifest['vocab_size']} ({len(beyond)} such)"
            )
        found = np.flatnonzero(part == manifest["eos_token_id"]) + start
        low, high = np.searchsorted(ends, [start + 1, start + len(part) + 1])
        expected = ends[low:high] - 1
        inside = np.setdiff1d(found, expected) if "compat" not in manifest else expected[:0]
        for place in inside[:3]:
            report.problem(
                path, f"token {place} is an EOS inside the document that ends at {next_end(ends, int(place))}"
            )
        for place in np.setdiff1d(expected, found)[:3]:
            row = int(np.searchsorted(ends, place + 1))
            report.problem(
                path,
                f"token {place} is {ids[place]}, not the EOS of the document in row {row + 1} of the CSV",
            )
    return largest


def next_end(ends: npt.NDArray[np.int64], place: int) -> int | None:
    """End of the document that holds a token."""
    row = int(np.searchsorted(ends, place, side="right"))
    return int(ends[row]) if row < len(ends) else None


def check_index(path: Path, table: Table, report: Report) -> None:
    """``documents.idx`` holds one record a document, sorted."""
    if not path.is_file():
        report.problem(path, "missing")
        return
    size = path.stat().st_size
    expected = np.concatenate(table.index) if table.index else np.empty(0, INDEX_RECORD)
    if size != len(expected) * INDEX_RECORD.itemsize:
        report.problem(
            path, f"{size} bytes, but {len(expected)} documents take {len(expected) * INDEX_RECORD.itemsize}"
        )
        return
    found = np.fromfile(path, dtype=INDEX_RECORD)
    order = np.lexsort([found[name] for name in reversed(INDEX_RECORD.names or ())])
    if (order != np.arange(len(found))).any():
        place = int(np.flatnonzero(order != np.arange(len(found)))[0])
        report.problem(path, f"record {place} is not in order")
        found = found[order]
    expected = expected[np.lexsort([expected[name] for name in reversed(INDEX_RECORD.names or ())])]
    different = np.flatnonzero(found != expected)
    if len(different):
        place = int(different[0])
        report.problem(
            path, f"record {place} is {found[place].tolist()}, but the CSV files give {expected[place].tolist()}"
        )


def check_sources(folder: Path, manifest: Any, table: Table, tokenizer: Any, options: Options, report: Report) -> None:
    """Every `src`, `loc` leads to the document of that id; a sample encodes to the very ids on disk."""
    root = cast(Path, options.documents)
    path = folder / "manifest.json"
    records = np.concatenate(table.sources) if table.sources else np.empty(0, SOURCE_RECORD)
    records = records[np.lexsort([records["loc"], records["src"]])]
    step = max(1, len(records) // options.sample)
    rows_read = 0
    known = {file.relative_to(root).as_posix(): file for file in document_files(root)}
    for name in sorted(table.paths.keys() - known.keys()):
        report.problem(path, f"src {name} is no file of documents in {root}")
    for name, file in known.items():
        if name not in table.paths:
            rows_read += sum(1 for _ in lines(file, report, ours=False))
            continue
        mine = np.flatnonzero(records["src"] == table.paths[name])
        place = number = 0
        for number, line in lines(file, report, ours=False):
            rows_read += 1
            while place < len(mine) and records["loc"][mine[place]] == number:
                at = int(mine[place])
                place += 1
                csv_path = folder / (manifest["files"][records["file"][at]]["path"].removesuffix(".npy") + ".csv.gz")
                row = int(records["row"][at]) + 1
                document, wrong = parse(line)
                if wrong is None and "fields" in manifest:
                    document, wrong = at_fields(document, manifest["fields"])
                wrong = wrong or complaint("document", document)
                if wrong is not None:
                    report.problem(csv_path, f"{name}, line {number} is no document: {wrong}", row)
                elif document["id"] and key(document["id"]) != int(records["id"][at]):
                    report.problem(csv_path, f"{name}, line {number} has id {document['id']!r}", row)
                elif at % step == 0:
                    check_encoding(folder, manifest, records[at], document, tokenizer, csv_path, row, report)
        if place < len(mine):
            at = int(mine[place])
            report.problem(path, f"loc {records['loc'][at]} is beyond the {number} lines of {name}")
    if not any((folder / "provenance").glob("*-reshard-????????.json")):  # that one counts copies
        report.equal(path, "counts.read", manifest["counts"]["read"], rows_read)


def check_encoding(
    folder: Path, manifest: Any, record: Any, document: Any, tokenizer: Any, csv_path: Path, row: int, report: Report
) -> None:
    """The ids on disk are those of the text and one EOS, after a BOS where there is one."""
    dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
    ids = np.memmap(folder / manifest["files"][record["file"]]["path"], dtype=dtype, mode="r")
    found = ids[int(record["start"]) : int(record["end"])].tolist()
    text = document["text"] if "compat" not in manifest else document["text"].strip()
    pieces = [match[0] for match in SEGMENT.finditer(text)] if "segment_before_tokenization" in manifest else [text]
    expected = with_ends(encode(tokenizer, pieces), manifest)
    if found != expected and "compat" in manifest:
        tokenizer.encode_special_tokens = False
        expected = with_ends(encode(tokenizer, pieces), manifest)
        tokenizer.encode_special_tokens = True
    if found != expected:
        place = next(
            (k for k, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), min(len(found), len(expected))
        )
        report.problem(
            csv_path,
            f"the text of {document['id']!r} gives {len(expected)} ids; {len(found)} here, other from token {place} on",
            row,
        )


def encode(tokenizer: Any, pieces: list[str]) -> list[int]:
    """The ids of the pieces, one after the other."""
    return [number for piece in pieces for number in tokenizer.encode(piece, add_special_tokens=False).ids]


def at_fields(row: Any, fields: Any) -> tuple[Any, str | None]:
    """A document of the row's text and id where the manifest says they stand (no id where it is null), or a reason."""
    found = {"source": "", "id": ""}
    for name in ("text", "id"):
        value = row
        for part in (fields[name] or "").split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if fields[name] is not None and value is None:
            return None, f"no {fields[name]}"
        if value is not None:
            found[name] = value if isinstance(value, str) else json.dumps(value)
    return found, None


def with_ends(ids: list[int], manifest: Any) -> list[int]:
    """The ids with BOS and EOS where they are not there already."""
    bos, eos = manifest["bos_token_id"], manifest["eos_token_id"]
    begin = [bos] if bos is not None and ids[:1] != [bos] else []
    return [*begin, *ids, *([eos] if ids[-1:] != [eos] else [])]
