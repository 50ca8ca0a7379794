"""Progress with rate and time left: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

SECONDS_BETWEEN_LINES = 10.0
log = logging.getLogger(__name__)


class Progress:
    """Count work done; use as a context manager and call ``advance``.

    On a terminal this is a tqdm bar on standard error. Elsewhere it logs a line at most every
    ``SECONDS_BETWEEN_LINES``, so that a log stays readable.
    """

    def __init__(self, what: str, total: float | None = None, unit: str = "documents") -> None:
        self.what = what
        self.total = total
        self.unit = unit
        self.done = self.earlier = 0.0
        self.started = self.last_line = time.monotonic()
        self.bar = _make_bar(what, total, unit) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, amount: float = 1, earlier: bool = False) -> None:
        """Say that ``amount`` more units are done; what an ``earlier`` run did says nothing about the rate."""
        self.done += amount
        self.earlier += amount * earlier
        if self.bar is not None:
            if earlier:  # beyond the rate, of which `update` keeps an average
                self.bar.initial += amount
                self.bar.last_print_n += amount
                self.bar.n += amount
                self.bar.refresh()
            else:
                self.bar.update(amount)
            return
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            log.info("%s", self.line(now - self.started))

    def expect(self, total: float) -> None:
        """Say how much work there is, where that is known better on the way."""
        self.total = total
        if self.bar is not None:
            self.bar.total = total

    def line(self, seconds: float) -> str:
        """One line of state after ``seconds`` of work."""
        rate = (self.done - self.earlier) / seconds if seconds > 0 else 0.0
        if not self.total:
            return f"{self.what}: {self.done:,.0f} {self.unit}, {rate:,.1f}/s"
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        share = 100 * self.done / self.total
        done = f"{self.done:,.0f}/{self.total:,.0f} {self.unit} ({share:.0f}%)"
        return f"{self.what}: {done}, {rate:,.1f}/s, {left:,.0f} s left"


def _make_bar(what: str, total: float | None, unit: str) -> Any:
    from tqdm import tqdm  # here, so that a run without a terminal does not pay for it

    # miniters instead of the thread that tqdm keeps for slow bars: with a thread beside it a process cannot be forked
    threadless = type("Bar", (tqdm,), {"monitor_interval": 0})
    return threadless(desc=what, total=total, unit=" " + unit, unit_scale=True, leave=False, miniters=1)
