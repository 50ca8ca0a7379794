"""What was run and on what: commands with their times, provenance records, digests that have to agree."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from shared.errors import UserError

from . import charts, words
from .reading import Output, StageNotRunError

TOKENIZER, TOKENS, SUITE = "tokenizer", "training tokens", "perplexity suite"
MODEL = "evaluated model folder"
DIGESTS = (
    ("tokenizer/manifest.json", (("digest", TOKENIZER),)),
    ("tokens/manifest.json", (("tokenizer_digest", TOKENIZER), ("fingerprint", TOKENS))),
    ("requests/manifest.json", (("tokenizer_digest", TOKENIZER),)),
    ("windows/manifest.json", (("tokenizer_digest", TOKENIZER), ("suite_digest", SUITE))),
    ("baseline/unigram.json", (("tokenizer_digest", TOKENIZER),)),
    ("baseline/unigram/manifest.json", (("tokenizer_digest", TOKENIZER), ("suite_digest", SUITE))),
    ("baseline/xz/manifest.json", (("suite_digest", SUITE),)),
    ("decontamination/manifest.json", (("suite_digest", SUITE),)),
    ("run/manifest.json", (("tokenizer_digest", TOKENIZER), ("tokens_fingerprint", TOKENS))),
    ("CHECKPOINT", (("tokenizer_digest", TOKENIZER),)),
    ("perplexity/manifest.json", (("tokenizer_digest", TOKENIZER), ("suite_digest", SUITE), ("model.digest", MODEL))),
    ("predictions/manifest.json", (("tokenizer_digest", TOKENIZER), ("model.digest", MODEL))),
    ("predictions-core/manifest.json", (("tokenizer_digest", TOKENIZER), ("model.digest", MODEL))),
)


@dataclass(frozen=True)
class Stage:
    """One command of the recipe."""

    name: str
    description: str
    command: str
    seconds: float | None
    state: str
    memory: float | None
    bar: Markup
    config: str | None


@dataclass(frozen=True)
class Commands:
    """All commands in order and the sum of their times."""

    recipe: str
    started: str
    finished: str | None
    seconds: float
    stages: Sequence[Stage]


def commands(output: Output) -> Commands:
    """What ``recipe.json`` tells."""
    data = output.json("recipe.json", "No recipe was run")
    rows = data["stages"]
    known = [float(row["seconds"]) for row in rows if row.get("seconds") is not None]
    longest = max(known, default=0.0)
    stages = [
        Stage(
            row["name"],
            row.get("description") or "",
            shlex.join(str(word) for word in row["command"]),
            row.get("seconds"),
            state(row),
            row.get("peak_memory_bytes"),
            charts.share_bar(longest, float(row.get("seconds") or 0)),
            configuration(output, row),
        )
        for row in rows
    ]
    name, started = (str(data.get(key) or "") for key in ("recipe", "started"))
    return Commands(name, started, data.get("finished"), sum(known), stages)


def state(row: Mapping[str, Any]) -> str:
    if row.get("seconds") is None:
        return "not finished"
    return "unchanged, time of an earlier run" if row.get("skipped") else ""


def configuration(output: Output, row: Mapping[str, Any]) -> str | None:
    """The configuration file that the recipe wrote for a stage, where the command names it."""
    name = f"configs/{row['name']}.yaml"
    named = any(str(word).endswith(name) for word in row["command"])
    inside = "/" not in str(row["name"]) and "\0" not in str(row["name"])
    file = output.root / name if named and inside else None
    if file is None or not file.is_file():
        return None
    return words.clip(file.read_text(encoding="utf-8", errors="replace"), 20_000)


@dataclass(frozen=True)
class Digest:
    """A digest and the artifacts that name it."""

    what: str
    value: str
    named_by: Sequence[str]

    @property
    def shared(self) -> bool:
        return len(self.named_by) > 1


@dataclass(frozen=True)
class Agreement:
    """All digests, and of what there are several where there has to be one."""

    digests: Sequence[Digest]
    conflicts: Sequence[str]


def digests(output: Output) -> Agreement:
    """The digests that the manifests name, gathered by value."""
    found: dict[tuple[str, str], list[str]] = {}
    for path, fields in DIGESTS:
        actual = checkpoint_manifest(output) if path == "CHECKPOINT" else path
        manifest = output.json_or_empty(actual) if actual else {}
        for field, what in fields:
            value = look_up(manifest, field)
            if value is not None:
                found.setdefault((what, str(value)), []).append(actual.removesuffix("/manifest.json"))
    if not found:
        raise StageNotRunError("No artifact with a digest is in this folder.")
    rows = [Digest(what, value, by) for (what, value), by in sorted(found.items())]
    several = [what for what in dict.fromkeys(row.what for row in rows) if sum(row.what == what for row in rows) > 1]
    return Agreement(rows, several)


def look_up(manifest: Mapping[str, Any], field: str) -> object:
    """The value of ``a.b``, None where there is none."""
    value: object = manifest
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def checkpoint_manifest(output: Output) -> str:
    """Path of the newest checkpoint's manifest, empty where there is none."""
    latest = output.root / "run" / "latest"
    name = latest.read_text(encoding="utf-8", errors="replace").strip() if latest.is_file() else ""
    safe = name and "/" not in name and "\\" not in name and name not in (".", "..") and name.isprintable()
    return f"run/{name}/manifest.json" if safe else ""


@dataclass(frozen=True)
class Record:
    """A provenance record."""

    folder: str
    package: str
    version: str
    command: str
    started: str
    seed: str
    counts: str
    arguments: str
    config: str
    inputs: Sequence[tuple[str, str]]
    outputs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Provenance:
    """Versions and machines of all records, the records themselves in order of time."""

    packages: Sequence[tuple[str, Sequence[str]]]
    pythons: Sequence[str]
    machines: Sequence[str]
    records: Sequence[Record]


def provenance(output: Output) -> Provenance:
    """Every ``provenance/*.json`` of the artifacts in the folder."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for file in sorted(output.root.rglob("provenance/*.json")):
        relative = file.relative_to(output.root)
        if any(part.endswith(".partial") for part in relative.parts):
            continue
        try:
            row = json.loads(file.read_bytes())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError("not valid JSON", where=relative, fix="make the artifact again") from error
        rows.append((relative.parent.parent.as_posix(), row))
    if not rows:
        raise StageNotRunError("No command has left a provenance record in this folder.")
    rows.sort(key=lambda item: (str(item[1]["started"]), item[0]))
    packages: dict[str, set[str]] = {}
    for _, row in rows:
        packages.setdefault(str(row["package"]), set()).add(str(row["package_version"]))
    return Provenance(
        [(name, sorted(versions)) for name, versions in sorted(packages.items())],
        sorted({str(row["python"]) for _, row in rows}),
        sorted({str(row["machine"]) for _, row in rows}),
        [record(folder, row) for folder, row in rows],
    )


def record(folder: str, row: Mapping[str, Any]) -> Record:
    return Record(
        folder,
        str(row["package"]),
        str(row["package_version"]),
        str(row["command"]),
        str(row["started"]),
        "" if row.get("seed") is None else str(row["seed"]),
        ", ".join(
            f"{key} {count(value)}" for key, value in row["counts"].items() if not isinstance(value, (dict, list))
        ),
        shlex.join(str(word) for word in row["arguments"]),
        words.clip(json.dumps(row["config"], indent=2, ensure_ascii=False), 20_000),
        list(row["inputs"].items()),
        list(row["outputs"].items()),
    )


def count(value: object) -> str:
    return words.significant(value, 4) if isinstance(value, (int, float)) else str(value)
