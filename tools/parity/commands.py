"""The two commands, dolma and dolma-data, on the same configuration in folders of their own."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

USER_ERROR = 2  # exit status of dolma-data where it refuses
ROOT = "ROOT"  # stands in settings for the folder that the command works in


@dataclass(frozen=True)
class Command:
    """A command and the folder in which it works."""

    words: tuple[str, ...]
    root: Path


def commands(dolma: Path, ours: Path, work: Path) -> dict[str, Command]:
    """dolma, and dolma-data by default and under compat, by name."""
    return {
        "dolma": Command((str(dolma),), work / "dolma"),
        "default": Command((str(ours),), work / "default"),
        "compat": Command((str(ours), "--compat", "dolma"), work / "compat"),
    }


def run(command: Command, step: str, settings: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run a step with ``settings``, in which ROOT stands for the command's folder."""
    command.root.mkdir(parents=True, exist_ok=True)
    path = command.root / f"{step}.yaml"
    own = {**settings, "work_dir": {"input": f"{ROOT}/temporary/input", "output": f"{ROOT}/temporary/output"}}
    path.write_text(yaml.safe_dump(own).replace(ROOT, str(command.root.absolute())), encoding="utf-8")
    words = [*command.words, "-c", str(path), step]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def must_run(command: Command, step: str, settings: dict[str, Any]) -> None:
    """As :func:`run`; SystemExit with the end of the output where it fails."""
    done = run(command, step, settings)
    if done.returncode:
        raise SystemExit(f"{command.words[0]} {step} failed:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def read_rows(paths: Path | Sequence[Path]) -> list[dict[str, Any]]:
    """The rows of one file or of several, in their order."""
    found = []
    for path in [paths] if isinstance(paths, Path) else paths:
        with gzip.open(path, "rb") as stream:
            found += [json.loads(line) for line in stream]
    return found
