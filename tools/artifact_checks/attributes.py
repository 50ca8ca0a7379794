"""Attributes: row by row beside their documents; matches of deduplication and decontamination; histograms."""

from __future__ import annotations

import math
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from artifact_checks.documents import document_files
from artifact_checks.identities import Identities, key
from artifact_checks.reading import (
    DOCUMENT_SUFFIXES,
    check_counts,
    close,
    complaint,
    files_under,
    lines,
    listed,
    load,
    parse,
    rows,
)
from artifact_checks.recognition import is_remains
from artifact_checks.report import Options, Report

MATCHES = "matches.jsonl.gz"


class Aligned:
    """What the attribute rows of one artifact gave: for the totals and for ``matches.jsonl.gz``.

    A document is its file and line with its source and id, a span its file and line with its ends.
    """

    def __init__(self) -> None:
        self.documents = Identities()
        self.spans = Identities()
        self.keys: set[str] = set()


def check_attributes(folder: Path, report: Report, options: Options) -> str:
    """Check ``X/attributes/NAME/`` against ``X/documents/``."""
    manifest_path = folder / "manifest.json"
    root = folder.parent.parent
    beside_ours = folder.parent.name == "attributes" and (root / "manifest.json").exists()
    ours = manifest_path.exists() or beside_ours or is_remains(folder, "attributes")
    manifest = load(manifest_path, "attributes_manifest", report) if ours else None
    if options.documents is not None and not (root / "documents").is_dir():
        root = options.documents
    documents = {path.relative_to(root / "documents").as_posix(): path for path in document_files(root)}
    if not documents:
        report.problem(folder, f"no documents in {root / 'documents'} to hold the attributes against")
    own = {
        relative: path
        for path in files_under(folder)
        if path.name.endswith(DOCUMENT_SUFFIXES)
        and (relative := path.relative_to(folder).as_posix()) not in (MATCHES, "manifest.json")
    }
    for path in files_under(folder):
        relative = path.relative_to(folder).as_posix()
        if relative not in own and relative not in (MATCHES, "manifest.json"):
            report.problem(path, "this file is no part of the artifact")
    for relative in sorted(documents.keys() - own.keys()):
        report.problem(folder / relative, f"missing: {documents[relative]} has no attributes")
    aligned = Aligned()
    found: dict[str, tuple[int, int]] = {}
    for relative, path in own.items():
        if relative not in documents and documents:
            report.problem(path, f"there is no file of documents {root / 'documents' / relative}")
        found[relative] = check_rows(path, relative, documents.get(relative), manifest is not None, aligned, report)
    if manifest is not None:
        check_manifest(manifest, manifest_path, folder, found, aligned.keys, report)
    if (folder / MATCHES).exists():
        check_matches(folder / MATCHES, own, aligned, report)
    return f"{sum(count for count, _ in found.values()):,} rows, {len(aligned.spans):,} spans"


def check_rows(
    path: Path, relative: str, documents: Path | None, ours: bool, aligned: Aligned, report: Report
) -> tuple[int, int]:
    """(rows, tombstones) of one file. Row k belongs to row k: same id and source, spans inside its text."""
    count = tombstones = 0
    quiet = Report(quiet=True)
    theirs = iter(()) if documents is None else lines(documents, quiet, ours=False)
    for own, other in zip_longest(lines(path, report, ours=ours), theirs):
        if own is None:
            report.problem(path, f"ends after {count} rows, but {documents} goes on", count + 1)
            break
        number, line = own
        if other is None and documents is not None:
            if not (quiet.last.startswith("damaged") and b"quarantined" in line):  # damage takes the place of a row
                report.problem(path, f"goes on after the last row of {documents}", number)
            documents = None
        count += 1
        row, wrong = parse(line)
        wrong = wrong or complaint("attributes", row)
        if wrong is not None:
            report.problem(path, wrong, number)
            continue
        tombstones += "quarantined" in row
        document = None
        if other is not None:
            document, unreadable = parse(other[1])
            unreadable = unreadable or complaint("document", document)
            if "quarantined" in row and unreadable is None:
                report.problem(path, f"a tombstone, but the line of {documents} can be read", number)
            if unreadable is not None:
                if "quarantined" not in row and not isinstance(document, dict):
                    report.problem(
                        path, f"line {number} of {documents} cannot be read, so a tombstone belongs here", number
                    )
                continue
            aligned.documents.add(relative, number, document["source"], document["id"])
        if "quarantined" in row:
            continue
        if document is not None and (row["id"], row["source"]) != (document["id"], document["source"]):
            report.problem(
                path,
                f"id {row['id']!r} of {row['source']!r}, but this row of the documents is {document['id']!r} of "
                f"{document['source']!r}",
                number,
            )
            document = None
        check_spans(row, None if document is None else len(document["text"]), aligned, path, relative, number, report)
    return count, tombstones


def check_spans(
    row: Any, length: int | None, aligned: Aligned, path: Path, relative: str, number: int, report: Report
) -> None:
    """Offsets are code points of the text; scores are finite."""
    aligned.keys |= row["attributes"].keys()
    for name, spans in row["attributes"].items():
        for span in spans:
            start, end, score = span
            if type(start) is not int or type(end) is not int or start < 0 or isinstance(score, bool):
                report.problem(path, f"{name}: {span!r} is not [start, end, score]", number)
                continue
            if start > end or (length is not None and end > length):
                report.problem(
                    path, f"{name}: span {start}..{end} is not inside the text of {length} code points", number
                )
            if not math.isfinite(score):
                report.problem(path, f"{name}: score {score} is not finite", number)
            aligned.spans.add(relative, number, start, end)


def check_manifest(
    manifest: Any, path: Path, folder: Path, found: dict[str, tuple[int, int]], keys: set[str], report: Report
) -> None:
    """Name, files, keys and counts."""
    report.equal(path, "name", manifest["name"], folder.name)
    listed(folder, [file["path"] for file in manifest["files"]], path, report)
    stated = {file["path"]: (file["rows"], file["quarantined"]) for file in manifest["files"]}
    for relative in sorted(stated.keys() | found.keys()):
        if relative not in found:
            report.problem(folder / relative, "manifest.json lists this file, but it is missing")
        elif relative not in stated:
            report.problem(folder / relative, "manifest.json does not list this file")
        else:
            report.equal(path, f"(rows, quarantined) of {relative}", stated[relative], found[relative])
    declared = {name for tagger in manifest["taggers"] for name in tagger["keys"]}
    for name in sorted(keys - declared):
        report.problem(path, f"the rows hold the key {name}, which no tagger declares")
    check_counts(manifest["counts"], path, report)
    report.equal(path, "counts.read", manifest["counts"]["read"], sum(count for count, _ in found.values()))
    report.equal(path, "counts.failed", manifest["counts"]["failed"], sum(tombs for _, tombs in found.values()))


def check_matches(path: Path, own: dict[str, Path], aligned: Aligned, report: Report) -> None:
    """Every match names documents that exist and a span of the rows; every span has its match."""
    matched = Identities()
    kind: str | None = None
    for number, line in lines(path, report):
        row, wrong = parse(line)
        if kind is None:
            kind = "duplicate_match" if isinstance(row, dict) and "first_id" in row else "contamination_match"
        wrong = wrong or complaint(kind, row)
        if wrong is not None:
            report.problem(path, wrong, number)
            continue
        at, names, span = (row["file"], row["line"]), (row["source"], row["id"]), (row["start"], row["end"])
        matched.add(*at, *span)
        if key(*at, *names) not in aligned.documents:
            report.problem(path, _no_document(*at, *names), number)
        elif key(*at, *span) not in aligned.spans:
            report.problem(path, f"{row['id']!r} has no span {row['start']}..{row['end']}", number)
        if kind == "contamination_match" or row["first_id"] is None or "first_corpus" in row:
            continue  # held by a filter of an earlier run, or in a corpus that lies elsewhere
        first = (row["first_file"], row["first_line"], row["first_source"], row["first_id"])
        if key(*first) not in aligned.documents:
            report.problem(path, _no_document(*first), number)
    unmatched = aligned.spans.missing_from(matched)
    if not unmatched:
        return
    for relative, file in own.items():
        for number, row in rows(file, "attributes", Report(quiet=True)):
            for spans in row["attributes"].values():
                for start, end, _ in spans:
                    if key(relative, number, start, end) in unmatched:
                        report.problem(file, f"{MATCHES} does not say what the span {start}..{end} matches", number)


def _no_document(file: str, line: int, source: str, name: str) -> str:
    return f"{file} has no document {name!r} of source {source!r} in line {line}"


def check_summaries(path: Path, report: Report, options: Options) -> str:
    """Check a report of `stat`: histograms whose bins and totals agree."""
    count = 0
    names: set[str] = set()
    for number, row in rows(path, "summary", report):
        count += 1
        if row["name"] in names:
            report.problem(path, f"{row['name']} stands there twice", number)
        names.add(row["name"])
        bins = row["bins"]
        if len(bins) != len(row["counts"]) + 1:
            report.problem(path, f"{len(bins)} bins for {len(row['counts'])} counts", number)
        if any(b < a for a, b in pairwise(bins)):
            report.problem(path, "the bins do not rise", number)
        report.equal(path, "total", row["total"], sum(row["counts"]), number)
        if row["total"] and not bins[0] * row["total"] <= row["sum"] <= bins[-1] * row["total"]:
            low, high = bins[0] * row["total"], bins[-1] * row["total"]
            if not (close(row["sum"], low, 1e-6, 1e-6) or close(row["sum"], high, 1e-6, 1e-6)):
                report.problem(
                    path, f"sum {row['sum']} of {row['total']} values between {bins[0]} and {bins[-1]}", number
                )
    return f"{count:,} histograms"
