"""Where the time of a tagger goes: Python's own profiler around the work."""

from __future__ import annotations

import cProfile
import io
import pstats
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .config.tag import ProfileConfig
from .errors import UserError
from .files import atomic_write

SORT_KEYS = tuple(pstats.SortKey._value2member_map_)


def check_profile(config: ProfileConfig) -> None:
    """Refuse an order that the profiler does not know, and settings of a report that is not wanted."""
    if config.sort_key not in SORT_KEYS:
        raise UserError(f"profile.sort_key is {config.sort_key!r}", fix=f"give one of {', '.join(map(str, SORT_KEYS))}")
    if config.steps is not None and config.steps < 1:
        raise UserError(f"profile.steps is {config.steps}", fix="give 1 or more")
    if not config.enable and config != ProfileConfig():
        raise UserError("profile has settings, but profile.enable is not set", fix="set it, or leave them out")


@contextmanager
def profiled(config: ProfileConfig) -> Iterator[None]:
    """Profile the block, where that is wanted, and write the report."""
    if not config.enable:
        yield
        return
    profile = cProfile.Profile()
    with profile:
        yield
    if config.output is None:
        pstats.Stats(profile, stream=sys.stdout).sort_stats(config.sort_key).print_stats(config.lines)
        return
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats(config.sort_key).print_stats(config.lines)
    with atomic_write(config.output) as stream:
        stream.write(text.getvalue().encode())
