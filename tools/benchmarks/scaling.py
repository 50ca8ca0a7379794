"""How a second worker helps: each command with one process and with two, beside two plain copies of it.

The aim of a command with two workers is what the machine gives to two copies of the same command, each with one process
and a corpus of its own, that run at the same time: memory and caches are shared there too. With ``once`` the seconds of
one process, ``copies`` those of the slower copy and ``both`` those of two workers on the same corpus, twice the work
takes ``copies`` and so half of it ``copies / 2``; the ratio is ``(copies / 2) / both``. All three are what is added by
a corpus four times as large, which leaves start-up out; the ratio of the whole runs on it stands beside.

The corpus lies in several files, as it mostly does, or in one ordinary ``.gz``, which one process unpacks for all.
"""

from __future__ import annotations

import shutil
import statistics
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.corpus import make_corpus
from benchmarks.dolma import Tools, dedupe, fresh, minhash, mix, prepare_mix, tag, tokens
from benchmarks.measure import Run, run

SCALING = "scaling"
COPIES = (1, 4)  # of the texts, with other ids
FILES = (8, 1)
AIM = 0.95


@dataclass(frozen=True)
class Command:
    """A command on the folder that holds ``documents/``."""

    name: str
    lines: Callable[[Tools, Path], list[list[str]]]
    prepare: Callable[[Tools, Path], None] = lambda tools, folder: None


def commands() -> list[Command]:
    """Commands whose work is divided."""
    return [
        Command("tag gopher_v2", tag("gopher_v2")[0]),
        Command("dedupe paragraphs", lambda tools, folder: dedupe(tools, folder, tools.ours, bloom=False)),
        Command("dedupe minhash", minhash),
        Command("mix", lambda tools, folder: mix(tools, folder, tools.ours), prepare_mix),
        Command("tokens", lambda tools, folder: tokens(tools, folder, tools.ours)),
    ]


def run_all(lines: Sequence[Sequence[str]], log: Path) -> Run:
    """Run commands one after the other."""
    runs = [run(line, log) for line in lines]
    return Run(sum(each.wall for each in runs), sum(each.processor for each in runs), max(each.memory for each in runs))


def run_beside(groups: Sequence[Sequence[Sequence[str]]], work: Path) -> float:
    """Run groups of commands at the same time; seconds of the slowest."""
    walls: list[float] = []
    failures: list[Exception] = []

    def one(number: int) -> None:
        try:
            walls.append(run_all(groups[number], work / f"copy-{number}.log").wall)
        except RuntimeError as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(groups))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return max(walls)


def measure(command: Command, tools: Tools, work: Path, files: int, repeat: int) -> dict[str, Any]:
    """Run a command in the three ways in turn, ``repeat`` times; returns the row of the table."""
    single, double = replace(tools, processes=1), replace(tools, processes=2)
    seconds: dict[str, dict[int, list[float]]] = {name: {} for name in ("once", "both", "copies")}
    memory = 0
    for _ in range(repeat):
        for size in COPIES:
            corpus = work / f"{SCALING}-{size}"
            command.prepare(double, corpus)
            folder = fresh(corpus, work / "alone")
            once = run_all(command.lines(single, folder), work / "alone.log")
            folder = fresh(corpus, work / "alone")
            both = run_all(command.lines(double, folder), work / "alone.log")
            memory = max(memory, both.memory)
            folders = [fresh(corpus, work / f"copy-{number}") for number in range(2)]
            slower = run_beside([command.lines(single, folder) for folder in folders], work)
            for name, wall in (("once", once.wall), ("both", both.wall), ("copies", slower)):
                seconds[name].setdefault(size, []).append(wall)
    small, large = COPIES
    whole = {name: statistics.median(runs[large]) for name, runs in seconds.items()}
    slope = {name: whole[name] - statistics.median(runs[small]) for name, runs in seconds.items()}
    return {
        "job": f"scaling: {command.name}",
        "files": files,
        "ratio": round(slope["copies"] / 2 / slope["both"], 3),
        "ratio_of_whole_runs": round(whole["copies"] / 2 / whole["both"], 3),
        "target": AIM,
        "speed_up": round(slope["once"] / slope["both"], 2),
        "speed_up_of_copies": round(2 * slope["once"] / slope["copies"], 2),
        "memory_mib": memory >> 20,
        "all_seconds": seconds,
    }


def bench_scaling(data: Path, work: Path, tools: Tools, names: Sequence[str], repeat: int) -> list[dict[str, Any]]:
    """Measure all commands whose names hold one of ``names`` (all of them without); prints and returns the rows."""
    rows = []
    for files in FILES:
        for size in COPIES:
            folder = work / f"{SCALING}-{size}"
            shutil.rmtree(folder, ignore_errors=True)
            _, text = make_corpus(data / "corpora", folder, files=files, copies=size)
            print(f"{SCALING}: {text / 1e6:.1f} MB of text, files: {files}", flush=True)
        for command in commands():
            if names and not any(name in command.name for name in names):
                continue
            try:
                row = measure(command, tools, work, files, repeat)
            except RuntimeError as error:
                print(f"scaling: {command.name}: FAILED: {error}", flush=True)
                rows.append({"job": f"scaling: {command.name}", "files": files, "failed": str(error)})
                continue
            rows.append(row)
            print(
                f"{row['job']:28} {row['ratio']:6.3f} of two copies (aim {row['target']}); {row['speed_up']} times one "
                f"process, the copies {row['speed_up_of_copies']}; whole runs {row['ratio_of_whole_runs']}; "
                f"{row['memory_mib']} MiB",
                flush=True,
            )
    return rows
