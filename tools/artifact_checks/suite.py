"""Evaluation text: perplexity suites, decontamination sets, tokenised windows."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import regex  # type: ignore[import-untyped]

from artifact_checks.documents import report_repeated
from artifact_checks.identities import Identities, key
from artifact_checks.reading import check_counts, digest_file, listed, load, only, rows
from artifact_checks.report import Options, Report
from artifact_checks.vocabulary import check_tokenizer

WORD_BOUNDARY = regex.compile(r"(?w)\b")  # word boundaries of UAX 29
LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")
SPLITS = ("val", "test")


def check_suite(folder: Path, report: Report, options: Options) -> str:
    """Check ``S/``: digests, totals, and that no group is in two places."""
    path = folder / "suite.json"
    suite = load(path, "suite", report)
    if suite is None:
        return "unreadable"
    release = (
        suite["held_out_documents"] is None
    )  # an indexed release: rows as published, no list of held-out documents
    held_out, groups = (
        (Identities(), {}) if release else check_held_out(folder / "held_out.jsonl.gz", suite, path, report)
    )
    identities = Identities()
    split_of_group: dict[int, str] = {}
    total = 0
    files: list[str] = []
    for source, splits in suite["sources"].items():
        for split in SPLITS:
            stated = splits[split]
            documents = size = 0
            domains: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "bytes": 0})
            for file in stated["files"]:
                files.append(file["path"])
                if unquote(Path(file["path"]).parent.as_posix()) != f"{source}/{split}":
                    report.problem(path, f"{file['path']} does not lie in {source}/{split}")
                file_documents, file_size = check_suite_file(
                    folder / file["path"],
                    source,
                    split,
                    file,
                    domains,
                    identities,
                    groups,
                    split_of_group,
                    path,
                    report,
                    release,
                )
                documents += file_documents
                size += file_size
            total += documents
            report.equal(path, f"{source}, {split}: documents", stated["documents"], documents)
            report.equal(path, f"{source}, {split}: bytes", stated["bytes"], size)
            for domain in sorted(domains.keys() | stated["domains"].keys()):
                row = stated["domains"].get(domain)
                counts = row and {name: row[name] for name in ("documents", "bytes")}
                report.equal(path, f"{source}, {split}: domain {domain}", counts, domains.get(domain))
    listed(folder, files, path, report)
    only(folder, {"suite.json", "held_out.jsonl.gz", *files}, report)
    report_repeated(
        [folder / file for file in files if (folder / file).is_file()], identities, report, "suite_document"
    )
    lost = 0 if release else identities.missing_from(held_out)
    if lost:
        report.problem(folder / "held_out.jsonl.gz", f"{len(lost)} documents of the suite do not stand there")
    check_counts(suite["counts"], path, report)
    counts = suite["counts"]
    total_kept = (
        total - counts.get("passages", 0) + counts.get("cut", 0)
    )  # documents that are there as passages count once
    report.equal(path, "counts.kept", counts["kept"], total_kept)
    return f"{total:,} documents, {len(held_out):,} held out"


def check_held_out(path: Path, suite: Any, manifest: Path, report: Report) -> tuple[Identities, dict[int, int]]:
    """The held-out identities, and the key of the group of each."""
    held_out = Identities()
    groups: dict[int, int] = {}
    for number, row in rows(path, "held_out", report):
        identity = key(row["source"], row["id"])
        if identity in groups:
            report.problem(path, f"{row['id']!r} of {row['source']!r} stands there twice", number)
        held_out.add(row["source"], row["id"])
        groups[identity] = key(row["group"])
    report.equal(manifest, "held_out_documents", suite["held_out_documents"], len(held_out))
    return held_out, groups


def check_suite_file(
    path: Path,
    source: str,
    split: str,
    stated: Any,
    domains: dict[str, dict[str, int]],
    identities: Identities,
    groups: dict[int, int],
    split_of_group: dict[int, str],
    manifest: Path,
    report: Report,
    release: bool,
) -> tuple[int, int]:
    """(documents, bytes) of one file."""
    if not path.is_file():
        report.problem(path, "suite.json lists this file, but it is missing")
        return 0, 0
    report.equal(manifest, f"digest of {stated['path']}", stated["digest"], digest_file(path))
    documents = size = 0
    for number, row in rows(path, "suite_document", report):
        length = len(row["text"].encode())
        documents += 1
        size += length
        if row["source"] != source and not release:
            report.problem(path, f"source {row['source']!r} in the folder of {source!r}", number)
        named = row.get("subdomain")
        domain = domains[source if named is None else str(named)]
        domain["documents"] += 1
        domain["bytes"] += length
        identities.add(source, str(row["id"]))
        group = groups.get(key(source, str(row["id"])))
        if group is not None and split_of_group.setdefault(group, split) != split:
            report.problem(path, f"the group of {row['id']!r} is in {split_of_group[group]} and in {split}", number)
    report.equal(manifest, f"documents of {stated['path']}", stated["documents"], documents)
    report.equal(manifest, f"bytes of {stated['path']}", stated["bytes"], size)
    return documents, size


def count_words(text: str) -> int:
    """UAX 29 words that hold a letter or digit."""
    return sum(1 for word in WORD_BOUNDARY.split(text) if LETTER_OR_DIGIT.search(word))


def check_decontamination_set(folder: Path, report: Report, options: Options) -> str:
    """Check ``D/``: units by their rule, and the counts."""
    path = folder / "manifest.json"
    manifest = load(path, "decontamination_set", report)
    if manifest is None:
        return "unreadable"
    units = folder / "paragraphs.jsonl.gz"
    only(folder, {"manifest.json", units.name}, report)
    rule = manifest["rule"]
    counts = {"paragraphs": 0, "documents": 0}
    exempt = set(rule["exempt_sources"])
    for number, row in rows(units, "decontamination_unit", report):
        counts[row["kind"] + "s"] += 1
        text = row["text"]
        if row["kind"] == "document":
            continue
        if row["source"] in exempt:
            report.problem(units, f"source {row['source']!r} is exempt, its lines are left out", number)
        if "\n" in text or text != text.strip():
            report.problem(units, "the text is not one line without white space at its ends", number)
        if (words := count_words(text)) < rule["minimum_words"]:
            report.problem(units, f"{words} words, fewer than minimum_words {rule['minimum_words']}", number)
    report.equal(path, "counts", manifest["counts"], counts)
    return f"{counts['paragraphs']:,} paragraphs, {counts['documents']:,} documents"


def check_windows(folder: Path, report: Report, options: Options) -> str:
    """Check ``W/``: every token of a document scored once, windows that continue each other, bytes that add up."""
    path = folder / "manifest.json"
    manifest = load(path, "windows", report)
    if manifest is None:
        return "unreadable"
    windows = folder / "windows.jsonl.gz"
    only(folder, {"manifest.json", "tokenizer.json", windows.name}, report)
    check_tokenizer(folder / "tokenizer.json", manifest["tokenizer_digest"], manifest["vocab_size"], path, report)
    totals = {"documents": 0, "windows": 0, "tokens": 0, "bytes": 0}
    identities = Identities()
    before: Any = None
    for number, row in rows(windows, "window", report):
        check_window(row, before, manifest, windows, number, report)
        if before is None or (row["source"], row["document"]) != (before["source"], before["document"]):
            totals["documents"] += 1
            identities.add(row["source"], row["document"])
        totals["windows"] += 1
        totals["tokens"] += len(row["scored"])
        totals["bytes"] += row["bytes"]
        before = row
    if repeated := identities.repeated():
        report.problem(windows, f"the windows of {len(repeated)} documents do not stand together")
    for name, total in totals.items():
        report.equal(path, name, manifest[name], total)
    return f"{totals['windows']:,} windows, {totals['tokens']:,} scored tokens"


def check_window(row: Any, before: Any, manifest: Any, path: Path, number: int, report: Report) -> None:
    """One window, and how it goes on from the one before."""
    ids, scored = row["ids"], row["scored"]
    same = before is not None and (row["source"], row["document"]) == (before["source"], before["document"])
    expected = before["window"] + 1 if same else 0
    if row["window"] != expected:
        report.problem(path, f"window {row['window']} of {row['document']!r}, but {expected} comes next", number)
    if same and row["domain"] != before["domain"]:
        report.problem(path, f"domain {row['domain']!r}, but the window before has {before['domain']!r}", number)
    if len(ids) > manifest["maximum_length"] + 1:
        report.problem(path, f"{len(ids)} ids, more than maximum_length + 1 = {manifest['maximum_length'] + 1}", number)
    if (highest := max(ids)) >= manifest["vocab_size"]:
        report.problem(path, f"id {highest} is not below vocab_size {manifest['vocab_size']}", number)
    if scored != list(range(scored[0], len(ids))) or (scored[0] != 1 and (same or manifest["format"] == "paloma")):
        first_scored = "1" if same or manifest["format"] == "paloma" else "its first token"
        report.problem(
            path, f"scored does not run from {first_scored} to {len(ids) - 1}: a token counts twice or never", number
        )
    elif same and ids[0] != before["ids"][-1]:
        report.problem(
            path, f"begins with {ids[0]}, not with {before['ids'][-1]}, the last id of the window before", number
        )
    elif not same and ids[scored[0] - 1] != manifest["prefix_token_id"]:
        prefix = manifest["prefix_token_id"]
        report.problem(path, f"{ids[scored[0] - 1]} stands before the document, not the prefix token {prefix}", number)
    if same and row["bytes"] != 0:
        report.problem(path, f"bytes {row['bytes']} in a window that is not the first of its document", number)
    if not same and row["bytes"] == 0:
        report.problem(path, "bytes 0 in the first window of a document", number)
