"""Dry-run every configuration file below given folders, as somebody with a checkout of allenai/dolma has them.

    python tools/check_dolma_configs.py PATH...

Each YAML or JSON file goes to the command that its keys belong to; variables of the environment that it asks for are
given a stand-in value. Files and tokenizers that are not there are no failure: a dry run lists them. Prints a line for
every file that does not pass and a table at the end; the exit status says whether all passed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from dolma_data.cli import app, execute

KINDS = {
    "mix": {"streams"},
    "dedupe": {"dedupe", "bloom_filter"},
    "tag": {"taggers"},
    "tokens": {"tokenizer", "tokenizer_name_or_path"},
    "stat": {"attributes", "report"},
    "warc": {"source_name", "linearizer"},
    "reshard": {"source_prefixes"},
}
VARIABLE = re.compile(r"\$\{oc\.env:\s*(\w+)\s*\}")


def kind_of(settings: Any) -> str | None:
    """The command whose keys a configuration has; None for files that are none."""
    if not isinstance(settings, dict):
        return None
    return next((kind for kind, keys in KINDS.items() if keys & settings.keys()), None)


def dry_run(path: Path, command: str) -> tuple[int, str]:
    """Exit status and error output of a dry run."""
    for name in VARIABLE.findall(path.read_text(encoding="utf-8")):
        os.environ.setdefault(name, "1")
    errors = io.StringIO()
    handler = logging.StreamHandler(errors)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            status = execute([command, "-c", str(path), "--dry-run"])
    finally:
        logging.getLogger().removeHandler(handler)
        app.config = ()
    return status, errors.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--notes", action="store_true", help="print what the lint says about every file")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tokenizers that are not here are listed as missing
    commands = {name for name in app if not name.startswith("-")}
    counts: Counter[tuple[str, str]] = Counter()
    for root in arguments.paths:
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in files:
            if path.suffix not in (".yaml", ".yml", ".json"):
                continue
            try:
                kind = kind_of(yaml.safe_load(path.read_text(encoding="utf-8")))
            except yaml.YAMLError as error:
                print(f"{path}: no YAML: {' '.join(str(error).split())}")
                counts["none", "no YAML"] += 1
                continue
            if kind is None or kind not in commands:
                counts[kind or "none", "no configuration of a command"] += 1
                continue
            status, errors = dry_run(path, kind)
            counts[kind, "passed" if status == 0 else "failed"] += 1
            if status or arguments.notes:
                print(f"{path}: {' / '.join(errors.strip().splitlines())}")
    for (kind, result), number in sorted(counts.items()):
        print(f"{kind:8} {result:30} {number:5}")
    return int(any(result in ("failed", "no YAML") for _, result in counts))


if __name__ == "__main__":
    sys.exit(main())
