"""Where the checks say what is wrong: one line per problem, one last line per artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LINES_PER_FILE = 20  # a file with one systematic mistake must not drown the others
TEXT_LENGTH = 300


@dataclass
class Options:
    """What the command line asks of the checks beyond the paths."""

    documents: Path | None = None
    """Documents artifact that tokens were made from, or that attributes lying elsewhere belong to."""
    sample: int = 200
    """Documents tokenised again when `documents` is given."""


@dataclass
class Report:
    """Collects and prints problems; `problems` counts all of them, printed or not."""

    quiet: bool = False
    """For a second reading of what was reported at the first."""
    last: str = ""
    problems: int = 0
    artifacts: int = 0
    per_file: Counter[str] = field(default_factory=Counter)

    def problem(self, path: Path, what: str, line: int | None = None) -> None:
        """Print `PATH:LINE: what` (at most ``LINES_PER_FILE`` for one file)."""
        self.problems += 1
        self.last = what
        self.per_file[str(path)] += 1
        if self.quiet or self.per_file[str(path)] > LINES_PER_FILE:
            return
        text = " ".join(what.split())
        if len(text) > TEXT_LENGTH:
            text = text[: TEXT_LENGTH - 1] + "…"
        print(f"{path}{'' if line is None else f':{line}'}: {text}")

    def equal(self, path: Path, name: str, found: object, expected: object, line: int | None = None) -> bool:
        """A problem where a stated value (`found`) is not the one that the content gives (`expected`)."""
        if found == expected:
            return True
        self.problem(path, f"{name} is {found!r}, but the content gives {expected!r}", line)
        return False

    @contextmanager
    def artifact(self, kind: str, path: Path) -> Iterator[list[str]]:
        """Yield a list for the detail in the last line; whatever goes wrong inside is a problem, never a traceback."""
        before = self.problems
        self.artifacts += 1
        self.per_file.clear()
        detail: list[str] = []
        try:
            yield detail
        except Exception as error:
            self.problem(path, f"the check cannot go on: {type(error).__name__}: {error}")
        for name, number in self.per_file.items():
            if number > LINES_PER_FILE:
                print(f"{name}: {number - LINES_PER_FILE:,} more problems in this file")
        found = self.problems - before
        if found:
            print(f"failed: {kind} {path} ({found:,} problem{'s' if found > 1 else ''})")
        else:
            print(f"ok: {kind} {path} ({', '.join(detail)})")
