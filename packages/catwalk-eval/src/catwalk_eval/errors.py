"""The one exception for mistakes that a user can mend."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """A mistake in input, configuration or command: shown as one line, never as a traceback.

    ``what`` says what is wrong, ``where`` names the file (and line or key), ``fix`` says what to do.
    The command line prints ``what (where); fix`` and exits with status 2.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        line: int | None = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.line = line
        self.fix = fix
        place = self.where
        if place is not None and line is not None:
            place = f"{place}, line {line}"
        text = what if place is None else f"{what} ({place})"
        super().__init__(text if fix is None else f"{text}; {fix}")
