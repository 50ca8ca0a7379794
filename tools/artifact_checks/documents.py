"""Documents: rows, totals, quarantine, and the funnel of a mix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from artifact_checks.identities import Identities, key
from artifact_checks.reading import (
    DOCUMENT_SUFFIXES,
    check_counts,
    files_under,
    listed,
    load,
    rows,
)
from artifact_checks.recognition import is_remains
from artifact_checks.report import Options, Report


def document_files(folder: Path) -> list[Path]:
    """The files of ``X/documents``, sorted."""
    return [path for path in files_under(folder / "documents") if path.name.endswith(DOCUMENT_SUFFIXES)]


def check_documents(folder: Path, report: Report, options: Options) -> str:
    """Check ``X/``, with a manifest or in Dolma's plain layout."""
    manifest_path = folder / "manifest.json"
    ours = manifest_path.exists() or is_remains(folder, "documents")
    manifest = load(manifest_path, "documents", report) if ours else None
    present = document_files(folder)
    for path in files_under(folder / "documents"):
        if path not in present:
            report.problem(path, "not a JSON Lines file: readers of documents pass over it")
    stated = {} if manifest is None else {file["path"]: file for file in manifest["files"]}
    identities = Identities()
    sources: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    total = 0
    for path in present:
        relative = path.relative_to(folder).as_posix()
        count, text_bytes = check_file(path, manifest is not None, identities, sources, report)
        total += count
        if manifest is None:
            continue
        if relative not in stated:
            report.problem(path, "manifest.json does not list this file")
        else:
            report.equal(manifest_path, f"documents of {relative}", stated[relative]["documents"], count)
            report.equal(manifest_path, f"text_bytes of {relative}", stated[relative]["text_bytes"], text_bytes)
    report_repeated(present, identities, report)
    if manifest is not None:
        listed(folder, [file["path"] for file in manifest["files"]], manifest_path, report)
        for relative in stated:
            if not (folder / relative).is_file():
                report.problem(folder / relative, "manifest.json lists this file, but it is missing")
        found = {source: {"documents": n, "text_bytes": size} for source, (n, size) in sources.items()}
        for source in sorted(found.keys() | manifest["sources"].keys()):
            report.equal(manifest_path, f"sources: {source}", manifest["sources"].get(source), found.get(source))
        check_counts(manifest["counts"], manifest_path, report)
        report.equal(manifest_path, "counts.kept", manifest["counts"]["kept"], total)
    check_quarantine(folder, manifest, report)
    if (folder / "funnel.json").exists():
        check_funnel(folder / "funnel.json", manifest, sources, report)
    elif not present and manifest is None:
        report.problem(folder / "documents", "holds no JSON Lines file")
    return f"{total:,} rows"


def check_file(
    path: Path, ours: bool, identities: Identities, sources: dict[str, list[int]], report: Report
) -> tuple[int, int]:
    """(rows, UTF-8 bytes of text) of one file; every row against the schema."""
    count = size = 0
    for _, row in rows(path, "document", report, ours=ours):
        length = len(row["text"].encode())
        count += 1
        size += length
        of_source = sources[row["source"]]
        of_source[0] += 1
        of_source[1] += length
        identities.add(row["source"], row["id"])
    return count, size


def report_repeated(present: list[Path], identities: Identities, report: Report, schema: str = "document") -> None:
    """Name every later row whose (source, id) an earlier row has already; reads again only where there are any."""
    suspects = identities.repeated()
    if not suspects:
        return
    first: dict[tuple[str, str], str] = {}
    for path, number, row in all_rows(present, schema):
        identity = (row["source"], row["id"])
        if key(*identity) in suspects:
            if identity in first:
                report.problem(
                    path, f"id {row['id']!r} of source {row['source']!r} stands at {first[identity]} too", number
                )
            else:
                first[identity] = f"{path}:{number}"


def all_rows(present: list[Path], schema: str) -> Iterator[tuple[Path, int, Any]]:
    """Rows that keep the schema; complaints were made at the first reading."""
    for path in present:
        for number, row in rows(path, schema, Report(quiet=True)):
            yield path, number, row


def check_quarantine(folder: Path, manifest: dict[str, Any] | None, report: Report) -> None:
    """Rows of quarantine.jsonl = counts.failed."""
    path = folder / "quarantine.jsonl"
    failed = 0
    if path.exists():
        failed = sum(1 for _ in rows(path, "quarantined", report))
        if failed == 0:
            report.problem(path, "empty: it is only there where records failed")
    if manifest is not None:
        report.equal(folder / "manifest.json", "counts.failed", manifest["counts"]["failed"], failed)


def check_funnel_beside(folder: Path, report: Report, options: Options) -> str:
    """Check ``FOLDER.mix/`` of a mix in Dolma's places: others may have written to FOLDER too, so sums alone count."""
    funnel = load(folder / "funnel.json", "funnel", report)
    if funnel is None:
        return "unreadable"
    check_sums(folder / "funnel.json", funnel, report)
    return f"{sum(funnel['read'].values()):,} documents read, {sum(funnel['kept'].values()):,} kept"


def check_funnel(path: Path, manifest: dict[str, Any] | None, sources: dict[str, list[int]], report: Report) -> None:
    """The sums, and kept is what lies in the artifact."""
    funnel = load(path, "funnel", report)
    if funnel is None:
        return
    check_sums(path, funnel, report)
    for source in sorted({*funnel["kept"], *funnel["text_bytes"]["kept"], *sources}):
        number, size = sources.get(source, (0, 0))
        report.equal(path, f"kept of {source}", funnel["kept"].get(source, 0), number)
        report.equal(path, f"text_bytes.kept of {source}", funnel["text_bytes"]["kept"].get(source, 0), size)
    if manifest is not None:
        counts = manifest["counts"]
        report.equal(path, "Σ read", sum(funnel["read"].values()), counts["read"] - counts["failed"])
        dropped = sum(number for rule in funnel["rules"] for number in rule["dropped"].values())
        report.equal(path, "Σ dropped", dropped, counts["dropped"])


def check_sums(path: Path, funnel: Any, report: Report) -> None:
    """read − Σ dropped = kept for every source; nothing is dropped by a rule that it does not match."""
    sizes = funnel["text_bytes"]
    dropping = {source for rule in funnel["rules"] for source in rule["dropped"]}
    for source in sorted({*funnel["read"], *funnel["kept"], *dropping}):
        read, kept = funnel["read"].get(source, 0), funnel["kept"].get(source, 0)
        dropped = sum(rule["dropped"].get(source, 0) for rule in funnel["rules"])
        if read - dropped != kept:
            report.problem(path, f"{source}: read {read} - dropped {dropped} = {read - dropped}, but kept = {kept}")
        more = sizes["kept"].get(source, 0) > sizes["read"].get(source, 0)
        if more and not any(funnel["replaced_spans"].values()):
            report.problem(path, f"text_bytes of {source}: more kept than read, though no span was replaced")
    for rule in funnel["rules"]:
        for source, number in rule["dropped"].items():
            matched = rule["matched"].get(source, 0)
            if number > matched:
                report.problem(path, f"rule {rule['rule']!r}: dropped {number} of {source}, but matched only {matched}")
