"""Exceptions of users' own taggers, told in a line: which one, where in their code and at which document."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..batch import Batch, Spans, TooManySpansError
from ..errors import UserError
from .registry import PreparedTagger

PACKAGE = Path(__file__).resolve().parent.parent
CALLERS = {PACKAGE / "tag.py", PACKAGE / "taggers" / "raised.py", PACKAGE / "taggers" / "registry.py"}


class FailedTaggerError(Exception):
    """A user's tagger raised an exception at ``document`` of the batch; None where it does not at each by itself."""

    def __init__(self, what: str, document: int | None) -> None:
        super().__init__(what, document)
        self.what = what
        self.document = document


def describe(error: Exception) -> str | None:
    """``ValueError: too short (rules.py, line 12)`` where code of a user's raised it, None where this package's did."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    told = " ".join(f"{type(error).__name__}: {error}".split())
    called = next((frame.filename for frame in frames if Path(frame.filename) not in CALLERS), None)
    if called is None:  # the call itself
        return told
    if Path(called).is_relative_to(PACKAGE):
        return None
    line = [frame.lineno for frame in frames if frame.filename == called][-1]
    return f"{told} ({called}, line {line})"


def spans_of(tagger: PreparedTagger, batch: Batch, debug: bool) -> Iterator[Spans]:
    """What a tagger gives; an exception of a user's code is a FailedTaggerError, or with ``debug`` stays as it is."""
    try:
        found = tagger.score(batch)
        if not isinstance(found, Iterable):
            raise UserError(
                f"the tagger {tagger.name!r} gives {type(found).__name__}, not spans of one type after the other",
                fix="yield them, or return a list",
            )
        yield from found
    except (UserError, TooManySpansError):
        raise
    except Exception as error:
        what = None if debug else describe(error)
        if what is None:
            raise
        raise FailedTaggerError(f"the tagger {tagger.name!r} raised {what}", _first_failing(tagger, batch)) from error


def _first_failing(tagger: PreparedTagger, batch: Batch) -> int | None:
    for number, document in enumerate(batch.documents):
        try:
            list(tagger.score(Batch([document])))
        except Exception:  # whatever it is, it is told already
            return number
    return None
