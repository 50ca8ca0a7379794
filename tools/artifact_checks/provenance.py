"""Provenance records: what commands did."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from artifact_checks.reading import load
from artifact_checks.report import Options, Report

NAME = re.compile(r"\d{8}T\d{6}-(?P<command>[a-z][a-z-]*)-[0-9a-f]{8}\.json")


def check_provenance(folder: Path, report: Report, options: Options) -> str:
    """Check every record of a ``provenance/`` folder."""
    records = sorted(folder.iterdir())
    for path in records:
        name = NAME.fullmatch(path.name)
        if name is None:
            report.problem(path, "the name is not TIME-COMMAND-RANDOM.json")
        record = load(path, "provenance", report)
        if record is None:
            continue
        if name is not None:
            report.equal(path, "command", record["command"], name["command"])
        try:
            started, finished = (datetime.fromisoformat(record[key]) for key in ("started", "finished"))
        except ValueError as error:
            report.problem(path, f"started, finished: {error}")
            continue
        if finished < started:
            report.problem(path, f"finished {record['finished']} before it started {record['started']}")
    return f"{len(records)} records"
