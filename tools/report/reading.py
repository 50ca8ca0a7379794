"""Reading what a recipe run left: a part that is not there is one thing, a damaged one another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from shared.errors import UserError
from shared.files import read_json, read_lines

Value = TypeVar("Value")


class StageNotRunError(Exception):
    """The stage whose files a part of the page shows has not run; the text is the line that says so."""


@dataclass(frozen=True)
class Part(Generic[Value]):
    """What a section shows: its value, or the one line that says why there is none."""

    value: Value | None = None
    missing: str | None = None


@dataclass
class Output:
    """The folder of one recipe run; ``problems`` gathers what lies there and cannot be used."""

    root: Path
    problems: list[str] = field(default_factory=list)

    def has(self, path: str) -> bool:
        return (self.root / path).exists()

    def need(self, path: str, what: str) -> Path:
        """The path of a file that has to be there, else ``StageNotRunError``."""
        found = self.root / path
        if not found.exists():
            raise StageNotRunError(f"{what}: there is no {path} in this folder.")
        return found

    def json(self, path: str, what: str) -> dict[str, Any]:
        """A JSON mapping, else ``StageNotRunError`` (not there) or ``UserError`` (damaged)."""
        found = self.need(path, what)
        value = read_json(found)
        if not isinstance(value, dict):
            raise UserError("not a JSON mapping", where=path, fix="make the file again")
        return value

    def json_or_empty(self, path: str) -> dict[str, Any]:
        """Like ``json`` where the absence of the file only leaves a detail out."""
        return self.json(path, path) if self.has(path) else {}

    def rows(self, path: str, what: str) -> Iterator[dict[str, Any]]:
        """The rows of a JSON Lines file, compressed or not."""
        for number, line in read_lines(self.need(path, what)):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise UserError("not valid JSON", where=path, line=number, fix="make the file again") from error
            if not isinstance(row, dict):
                raise UserError("not a JSON mapping", where=path, line=number, fix="make the file again")
            yield row

    def attempt(self, what: str, build: Callable[[Output], Value]) -> Part[Value]:
        """Build a part of the page; what cannot be read or keeps no contract is noted and leaves one line."""
        try:
            return Part(build(self))
        except StageNotRunError as absent:
            return Part(missing=str(absent))
        except UserError as error:
            problem = str(error)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            problem = f"the files of this part are not as docs/artifacts.md says ({type(error).__name__}: {error})"
        problem = f"{what}: {problem}"
        self.problems.append(problem)
        return Part(missing=f"Could not be shown. {problem}")
