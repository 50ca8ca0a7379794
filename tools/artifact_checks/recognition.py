"""What a folder or file is: by its manifest, by Dolma's plain layout, or by the files of an artifact that lost its own.

An artifact without its manifest would pass for something foreign, and nothing would be checked. So every kind has
fingerprints: files that together belong to nothing else. What they give away is checked, and the missing manifest is
its first problem. Foreign folders, Dolma's plain layout among them, hold no fingerprint.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifact_checks.reading import DOCUMENT_SUFFIXES, PARTIAL, lines
from artifact_checks.report import Report

MANIFESTS = ("manifest.json", "suite.json", "task.json")
CHECKPOINT_NAME = re.compile(r"step\d+")
LARGEST_LOOSE_JSON = 1 << 26
BESIDE = ".mix"  # ends the name of the folder in which a mix in Dolma's places leaves its account
COMPARISON_KEYS = {"format_version", "a", "b", "confidence", "rows"}

# command: kind of the artifact whose root takes its provenance record; commands that write something else as well,
# or whose name two packages share, are not among them
COMMANDS = {
    **dict.fromkeys(("extract", "mix"), "documents"),
    **dict.fromkeys(("tag", "dedupe", "decontaminate"), "attributes"),
    "decontamination-set": "decontamination_set",
    "tokens": "tokens",
    "train-tokenizer": "tokenizer",
    "prepare": "suite",
    "windows": "windows",
    "make-cloze": "task",
    "requests": "requests",
    "train": "run",
}


@dataclass(frozen=True)
class Fingerprint:
    """Files by which an artifact is known whose manifest is gone or names no kind."""

    kind: str
    files: tuple[str, ...]
    """Patterns: each leads to a file; those that begin with ``*/`` lead into one and the same folder."""
    keys: tuple[str, ...] = ()
    """What the first row of the first file holds. A row that cannot be read does not speak for another origin."""

    def fits(self, folder: Path) -> bool:
        found = [sorted(folder.glob(pattern)) for pattern in self.files]
        if not all(found):
            return False
        below = [
            {path.parent for path in paths}
            for pattern, paths in zip(self.files, found, strict=True)
            if pattern.startswith("*/")
        ]
        if below and not set.intersection(*below):
            return False
        return not self.keys or any(could_hold(path, self.keys) for path in found[0])


FINGERPRINTS = (
    *(Fingerprint(kind, (f"provenance/*-{command}-????????.json",)) for command, kind in COMMANDS.items()),
    Fingerprint("documents", ("funnel.json", "documents"), ("read", "kept", "rules")),
    Fingerprint("attributes", ("matches.jsonl.gz",), ("id", "source", "start", "end")),
    Fingerprint("decontamination_set", ("paragraphs.jsonl.gz",), ("kind", "domain", "text")),
    Fingerprint("tokens", ("part-*.npy", "part-*.csv.gz")),
    Fingerprint("tokens", ("part-*.npy", "documents.idx")),
    Fingerprint("tokens", ("part-*.csv.gz", "documents.idx")),
    Fingerprint("suite", ("held_out.jsonl.gz",), ("source", "id", "group")),
    Fingerprint("windows", ("windows.jsonl.gz",), ("document", "ids", "scored")),
    Fingerprint("perplexity_results", ("documents.jsonl.gz", "results.json"), ("domain", "log_probability")),
    Fingerprint("perplexity_results", ("documents.jsonl.gz", "vocabulary.jsonl.gz"), ("domain", "log_probability")),
    Fingerprint("perplexity_results", ("vocabulary.jsonl.gz", "results.json"), ("token_id", "log_probability")),
    Fingerprint("task", ("task.json", "source/validation.jsonl*"), ("builder", "choices_field")),
    Fingerprint("requests", ("*/requests.jsonl.gz", "*/task.json"), ("request_type", "doc_id")),
    Fingerprint("requests", ("*/tokenized.jsonl.gz",), ("context_ids", "continuation_ids")),
    Fingerprint("predictions", ("*/predictions.jsonl.gz", "*/task.json"), ("native_id", "log_probability")),
    Fingerprint("predictions", ("*/predictions.jsonl.gz", "metrics.json"), ("native_id", "log_probability")),
    Fingerprint("run", ("data_order.jsonl",), ("first_step", "first_instance")),
    Fingerprint("run", ("metrics.jsonl", "step[0-9]*"), ("step", "time")),
    Fingerprint("checkpoint", ("model.safetensors", "train/.metadata")),
)


def could_hold(path: Path, keys: tuple[str, ...]) -> bool:
    """Whether the first row of a JSON Lines file, or the value of a JSON file, has the keys, or cannot be read."""
    if path.suffix == ".json":
        row = read_json(path)
    else:
        row = next((parse(line) for _, line in lines(path, Report(quiet=True))), None)
    return row is None or (isinstance(row, dict) and row.keys() >= set(keys))


def parse(text: bytes) -> Any:
    """The value of a JSON text, or None."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def read_json(path: Path) -> Any:
    """The value of a JSON file, or None."""
    try:
        return parse(path.read_bytes())
    except OSError:
        return None


def quoted(path: Path) -> dict[str, None]:
    """What would be the keys of a JSON file that cannot be parsed: all names in it before a colon, at any depth."""
    try:
        return dict.fromkeys(re.findall(r'"(\w+)"\s*:', path.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return {}


def is_remains(folder: Path, kind: str) -> bool:
    """Whether the files of a folder are those of one of our artifacts of this kind, with or without its manifest."""
    return any(fingerprint.fits(folder) for fingerprint in FINGERPRINTS if fingerprint.kind == kind)


def kind_of_remains(folder: Path) -> str | None:
    """What a folder is by the files it holds."""
    return next((fingerprint.kind for fingerprint in FINGERPRINTS if fingerprint.fits(folder)), None)


def kind_of_folder(folder: Path) -> str | None:
    """What a folder is by its manifest, by its place in another artifact, or by Dolma's plain layout."""
    for name in MANIFESTS:
        if (folder / name).is_file():
            manifest = read_json(folder / name)
            if manifest is None:
                return f"{name} that is not JSON"
            if isinstance(manifest, dict) and isinstance(manifest.get("artifact"), str):
                return str(manifest["artifact"])
    if folder.name == "provenance" and any(folder.glob("*.json")):
        return "provenance"
    if folder.name.endswith(BESIDE) and (folder / "funnel.json").is_file() and not (folder / "documents").exists():
        return "funnel"
    if folder.parent.name == "attributes" and (folder.parent.parent / "documents").is_dir():
        return "attributes"
    if CHECKPOINT_NAME.fullmatch(folder.name) and "run" in (
        kind_of_folder(folder.parent),
        kind_of_remains(folder.parent),
    ):
        return "checkpoint"
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
    if value is None:
        value = quoted(path)
    if not isinstance(value, dict):
        return None
    if value.get("artifact") == "unigram" or {"smoothing", "counts", "vocab_size"} <= value.keys():
        return "unigram"
    if value.get("artifact") == "perplexity_curves" or {"rate_from", "rate_to", "rows"} <= value.keys():
        return "perplexity_curves"
    if len({"models", "metric", "comparisons"} & value.keys()) > 1:  # one damaged key hides no comparison
        return "perplexity_comparison"
    own = COMPARISON_KEYS & value.keys()
    if {"runs", "suites"} <= value.keys():
        return "predictions_comparison"
    if {"a", "b", "rows"} <= own or len(own) == len(COMPARISON_KEYS) - 1:  # one damaged key hides no comparison
        return "predictions_comparison" if "metric" not in value or "p_value_holm" in value else "perplexity_comparison"
    return None


def is_recipe_folder(folder: Path) -> bool:
    """Whether a recipe was run into a folder: it has stamps of the stages, or a log of them."""
    if (folder / ".recipe").is_dir():
        return True
    log = read_json(folder / "recipe.json")
    return isinstance(log, dict) and log.keys() >= {"recipe", "stages"}


def named_by_file(path: Path) -> tuple[str | None, Path]:
    """(kind, artifact) that a file given as a path stands for: the folder of a manifest, or the file itself."""
    folder = path.parent
    if path.name == "recipe.json" and is_recipe_folder(folder):
        return "recipe", folder
    if path.name in MANIFESTS:
        return kind_of_folder(folder) or kind_of_remains(folder), folder
    return kind_of_file(path), path


def find(path: Path) -> Iterator[tuple[str, Path]]:
    """Every artifact at or below a path; files inside an artifact that its contract names are left to its check."""
    if path.is_file():
        kind, artifact = named_by_file(path)
        if kind is not None:
            yield kind, artifact
        return
    roots: list[Path] = []
    freely_named: list[Path] = []
    for place, folders, files in os.walk(path):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if not name.endswith(PARTIAL) and not name.startswith("."))
        if is_recipe_folder(folder):
            yield "recipe", folder
        kind = kind_of_folder(folder)
        if kind is None and not any(folder.is_relative_to(place) for place in freely_named):
            kind = kind_of_remains(folder)
        if kind is not None:
            roots.append(folder)
            yield kind, folder
        if kind in ("documents", "attributes"):
            freely_named.append(folder / "documents" if kind == "documents" else folder)
        if not any(folder.is_relative_to(root) for root in roots):
            for name in sorted(files):
                found = kind_of_file(folder / name)
                if found is not None:
                    yield found, folder / name
