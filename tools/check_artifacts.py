"""Verify artifacts: recognise and check everything that docs/artifacts.md names.

`python tools/check_artifacts.py PATH…`: a PATH is a folder with artifacts at any depth, or one file. Every problem is a
line `PATH:LINE: what is wrong`, every artifact ends with a line `ok: KIND PATH (…)` or `failed: KIND PATH (…)`. In the
folder of a recipe it also holds the artifacts against each other: no evaluation text is in the training documents.
Exit status 0: all is well; 1: problems; 2: a usage error, or nothing was recognised.

Needs fastjsonschema, jsonschema, numpy, orjson and zstandard; by what it meets also pyyaml, regex, safetensors,
tokenizers, torch and transformers.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from artifact_checks.recognition import find
    from artifact_checks.report import Options, Report
except ModuleNotFoundError as missing:
    print(f"error: the checks need the Python library {missing.name}; install it, or use nox", file=sys.stderr)
    sys.exit(2)

# kind: (module, function); the modules are imported only when such an artifact is met
CHECKS = {
    "documents": ("documents", "check_documents"),
    "funnel": ("documents", "check_funnel_beside"),
    "attributes": ("attributes", "check_attributes"),
    "summaries": ("attributes", "check_summaries"),
    "decontamination_set": ("suite", "check_decontamination_set"),
    "classifier": ("classifier", "check_classifier"),
    "tokens": ("tokens", "check_tokens"),
    "tokenizer": ("vocabulary", "check_tokenizer_folder"),
    "suite": ("suite", "check_suite"),
    "windows": ("suite", "check_windows"),
    "perplexity_results": ("perplexity", "check_perplexity_results"),
    "unigram": ("perplexity", "check_unigram"),
    "perplexity_comparison": ("perplexity", "check_comparison"),
    "perplexity_curves": ("perplexity", "check_curves"),
    "task": ("downstream", "check_task"),
    "requests": ("downstream", "check_requests"),
    "predictions": ("predictions", "check_predictions"),
    "predictions_comparison": ("predictions", "check_comparison"),
    "run": ("run", "check_run"),
    "checkpoint": ("checkpoint", "check_checkpoint"),
    "provenance": ("provenance", "check_provenance"),
    "recipe": ("recipe_folder", "check_recipe_folder"),
}


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
