"""``dolma-data stat``: a histogram of the scores and of the span lengths of every key of attributes."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..attributes import AttributeRow, decode_rows, encode_json, find_attributes, read_attribute_rows
from ..config.stat import StatConfig
from ..errors import UserError
from ..execute import map_ordered
from ..files import atomic_write
from ..progress import Progress
from ..reading import SMALL_FILE_BYTES, Block, lines_of, read_blocks
from ..records import recorded
from .histograms import Summary, Tally, render

SUMMARIES, PAGE = "summaries.jsonl.gz", "index.html"
BATCH_VALUES = 200_000
PIECE_BYTES = 4 << 20  # of lines that a worker takes at a time
PERCENTILES = (0.1, 0.5, 0.9)
LABEL = "__label__"  # keys of fastText probabilities, which may exceed 1 a little
Extremes = tuple[float, float]
Result = TypeVar("Result")
log = logging.getLogger(__name__)


@dataclass
class Range:
    """First pass over one property: number of values, exact parts of their sum, smallest and largest."""

    total: int = 0
    sum: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Take values in, [V] with V of 1 or more."""
        self.total += len(values)
        self.sum = math.fsum((self.sum, *values.tolist()))
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

    def merge(self, other: Range) -> None:
        """Take in what another part of the same property gave."""
        self.total += other.total
        self.sum += other.sum
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)


@dataclass
class Counted:
    """Second pass over one property."""

    bins: npt.NDArray[np.int64]
    tally: Tally = field(default_factory=Tally)

    def merge(self, other: Counted) -> None:
        """Take in what another part of the same property gave."""
        self.bins += other.bins
        self.tally.merge(other.tally)


@dataclass(frozen=True)
class Piece:
    """A unit of work: some lines of an attribute file, or with no ``block`` a small file as a whole."""

    path: Path
    block: Block | None = None

    def rows(self) -> Iterator[tuple[int, AttributeRow]]:
        """Rows of the piece with their line numbers from 1; a line that is none is a UserError."""
        if self.block is None:
            return read_attribute_rows(self.path)
        return decode_rows(self.path, lines_of(self.path, self.block))


def cut_pieces(files: Sequence[Path]) -> Iterator[Piece]:
    """The files in pieces that workers take, which depend on the files alone."""
    for path in files:
        if path.stat().st_size <= SMALL_FILE_BYTES:
            yield Piece(path)
        else:
            yield from (Piece(path, block) for block in read_blocks(path, PIECE_BYTES))


def read_values(piece: Piece, pattern: str = "") -> Iterator[dict[str, npt.NDArray[np.float64]]]:
    """Yield values of ``KEY/score`` and ``KEY/length`` of a piece, a bounded number at a time.

    Taken are the keys in which ``pattern`` is found. A key without spans counts as one zero, as in allenai/dolma.
    """
    wanted = re.compile(pattern).search
    values: dict[str, list[float]] = {}
    count = 0
    for _, row in piece.rows():
        for key, spans in row.attributes.items():
            if not wanted(key):
                continue
            scores = values.setdefault(f"{key}/score", [])
            lengths = values.setdefault(f"{key}/length", [])
            for start, end, score in spans or ((0, 0, 0.0),):
                scores.append(min(score, 1.0) if LABEL in key else score)
                lengths.append(end - start)
            count += 2 * max(len(spans), 1)
        if count >= BATCH_VALUES:
            yield {name: np.array(found, dtype=np.float64) for name, found in values.items()}
            values, count = {}, 0
    if values:
        yield {name: np.array(found, dtype=np.float64) for name, found in values.items()}


def find_ranges(pattern: str, piece: Piece) -> dict[str, Range]:
    """First pass over a piece."""
    ranges: dict[str, Range] = {}
    for values in read_values(piece, pattern):
        for name, found in values.items():
            ranges.setdefault(name, Range()).add(found)
    return ranges


def count_values(extremes: dict[str, Extremes], bins: int, pattern: str, piece: Piece) -> dict[str, Counted]:
    """Second pass over a piece: counts in equal bins between the extremes, and of the values themselves."""
    counts: dict[str, Counted] = {}
    for values in read_values(piece, pattern):
        for name, found in values.items():
            edges = bin_edges(extremes[name], bins)
            places = np.clip(np.searchsorted(edges, found, side="right") - 1, 0, len(edges) - 2)
            total = counts.setdefault(name, Counted(np.zeros(len(edges) - 1, dtype=np.int64)))
            total.bins += np.bincount(places, minlength=len(edges) - 1)
            total.tally.add(found)
    return counts


def bin_edges(extremes: Extremes, bins: int) -> npt.NDArray[np.float64]:
    """Edges of equal bins from the smallest to the largest value; of one bin where these are equal."""
    low, high = extremes
    return np.linspace(low, high, bins + 1) if high > low else np.array([low, high])


def summarise(files: Sequence[Path], bins: int, processes: int = 1, pattern: str = "") -> list[Summary]:
    """Summaries of attribute files, sorted by name; memory does not depend on the size of the files."""
    ranges: dict[str, Range] = {}
    found_ranges = map_ordered(partial(find_ranges, pattern), cut_pieces(files), processes)
    for found in _with_progress("stat: ranges", found_ranges):
        for name, part in found.items():
            ranges.setdefault(name, Range()).merge(part)
    extremes = {name: (part.low, part.high) for name, part in ranges.items()}
    counts: dict[str, Counted] = {}
    work = map_ordered(partial(count_values, extremes, bins, pattern), cut_pieces(files), processes)
    for counted in _with_progress("stat: counts", work):
        for name, numbers in counted.items():
            if name in counts:
                counts[name].merge(numbers)
            else:
                counts[name] = numbers
    return [
        Summary(
            name,
            counts[name].bins.tolist(),
            bin_edges(extremes[name], bins).tolist(),
            ranges[name].total,
            ranges[name].sum,
            *extremes[name],
            counts[name].tally,
        )
        for name in sorted(ranges)
    ]


def _with_progress(what: str, results: Iterator[Result]) -> Iterator[Result]:
    with Progress(what, unit="pieces") as progress:
        for result in results:
            yield result
            progress.advance()


def format_table(summaries: Sequence[Summary], total: bool = False) -> str:
    """A table to read: number of values, mean, extremes and percentiles of every property, with ``total`` its sum."""
    header = (
        "attribute",
        "values",
        "mean",
        "least",
        *(f"{share:.0%}" for share in PERCENTILES),
        "most",
        *(["sum"] if total else []),
    )
    rows = [header]
    for summary in summaries:
        numbers = (summary.sum / summary.total, summary.low, *map(summary.percentile, PERCENTILES), summary.high)
        numbers += (summary.sum,) if total else ()
        rows.append((summary.name, f"{summary.total:,}", *(f"{number:.5g}" for number in numbers)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def stat(config: StatConfig) -> list[Summary]:
    """Run ``stat``: write ``summaries.jsonl.gz`` and a page of plots to the report folder, if one is given."""
    if config.bins < 1:
        raise UserError(f"bins is {config.bins}", fix="give 1 or more")
    try:
        re.compile(config.regex or "")
    except re.error as error:
        raise UserError(f"no regular expression: {error}", where="regex", fix="mend it") from error
    files = find_attributes(config.attributes)
    if config.report is None:
        return _summaries(config, files)
    with recorded("dolma-data", "stat", folder=config.report, config=asdict(config), inputs=files) as record:
        summaries = _summaries(config, files)
        with atomic_write(config.report / SUMMARIES) as stream:
            for summary in summaries:
                stream.write(encode_json(summary.row()) + b"\n")
        with atomic_write(config.report / PAGE) as stream:
            stream.write(render(summaries).encode())
        record.outputs += [config.report / SUMMARIES, config.report / PAGE]
        record.counts["summaries"] = len(summaries)
    return summaries


def _summaries(config: StatConfig, files: Sequence[Path]) -> list[Summary]:
    summaries = summarise(files, config.bins, config.processes, config.regex or "")
    if not summaries:
        which = f" in which {config.regex!r} is found" if config.regex else " at all"
        raise UserError(f"the attributes hold no key{which}", where=config.attributes[0], fix="give other attributes")
    return summaries
