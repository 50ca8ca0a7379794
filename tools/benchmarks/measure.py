"""Time and memory of whole commands, as a user sees them."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Run:
    """Wall seconds, processor seconds (user and system, children too) and peak memory of the process tree in bytes."""

    wall: float
    processor: float
    memory: int


def run(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end, its output into ``log``; a failing command is a RuntimeError with the log's end."""
    before = os.times()
    started = time.perf_counter()
    with open(log, "ab") as stream:
        process = subprocess.Popen(
            list(command), stdout=stream, stderr=stream, env=dict(os.environ) | dict(environment or {})
        )
        peak = Peak(process.pid)
        peak.start()
        status = process.wait()
        wall = time.perf_counter() - started
        peak.stop()
    after = os.times()
    if status != 0:
        end = log.read_text(encoding="utf-8", errors="replace")[-1500:]
        raise RuntimeError(f"{' '.join(command)} ended with status {status}:\n{end}")
    processor = after.children_user - before.children_user + after.children_system - before.children_system
    return Run(wall, processor, peak.bytes)


class Peak(threading.Thread):
    """Samples the proportional set size of a process and all its descendants (Linux; 0 elsewhere)."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.bytes = 0
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, sum(proportional_size(pid) for pid in descendants(self.root)))

    def stop(self) -> None:
        self._end.set()
        self.join()


def descendants(root: int) -> list[int]:
    """``root`` and every process below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += children.get(pid, [])
    return found


def proportional_size(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
