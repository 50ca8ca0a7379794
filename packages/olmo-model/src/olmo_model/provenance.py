"""An immutable record beside every output: what ran, on what, with which settings and result."""

from __future__ import annotations

import json
import platform
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .files import atomic_write, digest

FORMAT_VERSION = 1


@dataclass
class Record:
    """What a command fills in while it runs: ``outputs`` it wrote, ``counts`` in and out, ``digests`` of files
    among inputs and outputs that it knows already, by path (the others are digested at the end)."""

    outputs: list[Path] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


@contextmanager
def recorded(
    package: str,
    command: str,
    *,
    folder: str | Path,
    config: object,
    inputs: Sequence[str | Path] = (),
    seed: int | None = None,
    spell: Callable[[str], str] = str,
) -> Iterator[Record]:
    """Write ``folder/provenance/TIME-COMMAND-RANDOM.json`` when the block ends without an exception.

    ``folder`` is the root of the artifact that is written; inputs and outputs are digested by content. ``spell`` is
    given the whole record as JSON and returns it as it is written, with other names for paths, say.
    """
    record = Record()
    started = datetime.now(UTC)
    yield record
    row = {
        "format_version": FORMAT_VERSION,
        "package": package,
        "package_version": version(package),
        "command": command,
        "arguments": sys.argv[1:],
        "config": asdict(config) if is_dataclass(config) and not isinstance(config, type) else config,
        "seed": seed,
        "inputs": {str(path): digest(path, record.digests) for path in inputs if Path(path).exists()},
        "outputs": {str(path): digest(path, record.digests) for path in record.outputs},
        "counts": record.counts,
        "started": started.isoformat(timespec="milliseconds"),
        "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "python": platform.python_version(),
        "machine": platform.platform(),
    }
    target = Path(folder) / "provenance" / f"{started:%Y%m%dT%H%M%S}-{command}-{secrets.token_hex(4)}.json"
    with atomic_write(target) as stream:
        stream.write(spell(json.dumps(row, indent=2, ensure_ascii=False, default=str) + "\n").encode())
