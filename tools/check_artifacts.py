"""Verify artifacts: recognise and check everything that docs/artifacts.md names.

`python tools/check_artifacts.py PATH…`: a PATH is a folder with artifacts at any depth, or one file. Every problem is a
line `PATH:LINE: what is wrong`, every artifact ends with a line `ok: KIND PATH (…)` or `failed: KIND PATH (…)`.
Exit status 0: all is well; 1: problems; 2: a usage error, or nothing was recognised.

Needs fastjsonschema, jsonschema, numpy, orjson and zstandard; by what it meets also pyyaml, regex, safetensors,
tokenizers, torch and transformers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from artifact_checks.reading import DOCUMENT_SUFFIXES, PARTIAL
    from artifact_checks.report import Options, Report
except ModuleNotFoundError as missing:
    print(f"error: the checks need the Python library {missing.name}; install it, or use nox", file=sys.stderr)
    sys.exit(2)

# kind: (module, function); the modules are imported only when such an artifact is met
CHECKS = {
    "documents": ("documents", "check_documents"),
    "attributes": ("attributes", "check_attributes"),
    "summaries": ("attributes", "check_summaries"),
    "decontamination_set": ("suite", "check_decontamination_set"),
    "tokens": ("tokens", "check_tokens"),
    "tokenizer": ("vocabulary", "check_tokenizer_folder"),
    "suite": ("suite", "check_suite"),
    "windows": ("suite", "check_windows"),
    "perplexity_results": ("perplexity", "check_perplexity_results"),
    "unigram": ("perplexity", "check_unigram"),
    "perplexity_comparison": ("perplexity", "check_comparison"),
    "task": ("downstream", "check_task"),
    "requests": ("downstream", "check_requests"),
    "predictions": ("predictions", "check_predictions"),
    "predictions_comparison": ("predictions", "check_comparison"),
    "run": ("run", "check_run"),
    "checkpoint": ("checkpoint", "check_checkpoint"),
    "provenance": ("provenance", "check_provenance"),
}
MANIFESTS = ("manifest.json", "suite.json", "task.json")
LARGEST_LOOSE_JSON = 1 << 26


def read_json(path: Path) -> Any:
    """The value of a JSON file, or None."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def kind_of_folder(folder: Path) -> str | None:
    """What a folder is by its manifest, or by Dolma's plain layout."""
    for name in MANIFESTS:
        if (folder / name).is_file():
            manifest = read_json(folder / name)
            if manifest is None:
                return f"{name} that is not JSON"
            if isinstance(manifest, dict) and isinstance(manifest.get("artifact"), str):
                return str(manifest["artifact"])
    if folder.name == "provenance" and any(folder.glob("*.json")):
        return "provenance"
    if folder.parent.name == "attributes" and (folder.parent.parent / "documents").is_dir():
        return "attributes"
    if any(path.name.endswith(DOCUMENT_SUFFIXES) for path in (folder / "documents").rglob("*")):
        return "documents"
    return None


def kind_of_file(path: Path) -> str | None:
    """What a single file is: an artifact of one file, or a report of `stat`."""
    if path.name == "summaries.jsonl.gz":
        return "summaries"
    if path.suffix != ".json" or path.stat().st_size > LARGEST_LOOSE_JSON:
        return None
    value = read_json(path)
    if not isinstance(value, dict):
        return None
    if value.get("artifact") == "unigram":
        return "unigram"
    if {"a", "b", "rows"} <= value.keys():
        return "perplexity_comparison" if "metric" in value else "predictions_comparison"
    return None


def find(path: Path) -> Iterator[tuple[str, Path]]:
    """Every artifact at or below a path; files inside an artifact that its contract names are left to its check."""
    if path.is_file():
        kind = kind_of_folder(path.parent) if path.name in MANIFESTS else kind_of_file(path)
        if kind is not None:
            yield kind, path.parent if path.name in MANIFESTS else path
        return
    roots: list[Path] = []
    for place, folders, files in os.walk(path):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if not name.endswith(PARTIAL) and not name.startswith("."))
        kind = kind_of_folder(folder)
        if kind is not None:
            roots.append(folder)
            yield kind, folder
        if not any(folder.is_relative_to(root) for root in roots):
            for name in sorted(files):
                found = kind_of_file(folder / name)
                if found is not None:
                    yield found, folder / name


def check(kind: str, path: Path, report: Report, options: Options) -> None:
    """Check one artifact."""
    with report.artifact(kind, path) as detail:
        if kind not in CHECKS:
            report.problem(path, f"unknown kind of artifact: {kind}")
            return
        module, function = CHECKS[kind]
        run: Callable[[Path, Report, Options], str] = getattr(
            importlib.import_module(f"artifact_checks.{module}"), function
        )
        detail.append(run(path, report, options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="check_artifacts.py", description="Verify artifacts by docs/artifacts.md.")
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="folder with artifacts at any depth, or a file"
    )
    parser.add_argument("--documents", type=Path, metavar="X", help="documents artifact that tokens were made from")
    parser.add_argument(
        "--sample", type=int, default=200, metavar="N", help="documents tokenised again with --documents (default 200)"
    )
    options = parser.parse_args(arguments)
    for path in [*options.paths, *([options.documents] if options.documents else [])]:
        if not path.exists():
            parser.error(f"no such file or folder: {path}")
    if options.sample < 1:
        parser.error("--sample must be at least 1")
    report = Report()
    for path in options.paths:
        for kind, artifact in find(path):
            check(kind, artifact, report, Options(options.documents, options.sample))
    if report.artifacts == 0:
        print(
            f"error: nothing in {' '.join(map(str, options.paths))} is an artifact of docs/artifacts.md",
            file=sys.stderr,
        )
        return 2
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
