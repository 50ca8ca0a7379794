"""Domains of a single document: its windows, and blocks of them that are resampled in its place.

Losses of neighbouring windows go together, so that windows drawn one by one would give too narrow an interval. Blocks
of consecutive windows are drawn instead (Carlstein 1986, The Annals of Statistics 14), of about the cube root of the
number of windows, at least ten. Blocks as short as that miss part of the dependence. How much, an autoregression of the
first order says (coefficient ρ with the correction of Marriott and Pope 1954, Biometrika 41): blocks of l windows hold
the share (1 + 2 Σ (1 − k/l) ρ^k) (1 − ρ) / (1 + ρ) of the variance of a sum, so that a block's residual x − r b is
stretched by one over its root. The same is done with blocks for windows, which sees dependence that dies slowly, and
the larger factor is taken. The ratio r = Σx / Σb stays what it is.

The interval is one for the text that this document could have been, not for other documents of its kind.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .errors import UserError
from .files import atomic_write, read_lines
from .statistics import Floats, indices_of
from .suite import SuiteDocument
from .tokenizer import Ids

WINDOWS_FILE = "single_documents.jsonl.gz"
MINIMUM_WINDOWS = 20
MINIMUM_BLOCKS = 10
LARGEST_CORRELATION = {"windows": 0.95, "blocks": 0.8}
Key = tuple[str, str]  # source and domain


@dataclass(frozen=True)
class WindowSums:
    """Tokens, bytes and summed log-probability (nats) of each window of a document that is alone in its domain."""

    source: str
    domain: str
    id: str
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]
    log_probabilities: tuple[float, ...]

    def row(self) -> dict[str, Any]:
        names = {"source": self.source, "domain": self.domain, "id": self.id}
        lists = {"tokens": self.tokens, "bytes": self.bytes, "log_probabilities": self.log_probabilities}
        return {**names, **{name: list(values) for name, values in lists.items()}}


def write_window_sums(path: Path, sums: Iterable[WindowSums]) -> None:
    with atomic_write(path) as stream:
        for document in sums:
            stream.write(json.dumps(document.row(), ensure_ascii=False).encode() + b"\n")


def read_window_sums(folder: Path) -> dict[Key, WindowSums]:
    """What ``write_window_sums`` wrote, nothing where results have no such file; a damaged row is a UserError."""
    path = folder / WINDOWS_FILE
    found = {}
    for line, data in read_lines(path) if path.is_file() else ():
        try:
            row = json.loads(data)
            tokens, sizes, values = (tuple(row[name]) for name in ("tokens", "bytes", "log_probabilities"))
            if not all(type(count) is int and count >= 0 for count in (*tokens, *sizes)):
                raise ValueError("a count that is none")
            if not all(isinstance(value, float) and math.isfinite(value) for value in values):
                raise ValueError("no number")
            if not all(isinstance(row[name], str) for name in ("source", "domain", "id")) or not values:
                raise ValueError("no name")
            if not len(tokens) == len(sizes) == len(values):
                raise ValueError("lists of two lengths")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError("not a row of sums by window", where=path, line=line, fix="run it again") from error
        found[row["source"], row["domain"]] = WindowSums(row["source"], row["domain"], row["id"], tokens, sizes, values)
    return found


def block_length(windows: int) -> int:
    """Windows in a block."""
    return max(1, min(round(math.cbrt(windows)), windows // MINIMUM_BLOCKS))


def block_sums(columns: Floats) -> Floats:
    """Sums [k, m] over blocks of the windows ``columns`` [W, m], stretched for dependence.

    The last column is what the others are divided by.
    """
    length = block_length(len(columns))
    count = len(columns) // length
    starts = np.linspace(0, len(columns), count + 1).round().astype(np.int64)[:-1]
    sums = np.add.reduceat(columns, starts, axis=0)
    size = sums[:, -1]
    ratios = sums[:, :-1].sum(axis=0) / size.sum()
    factor = 1.0
    for top in range(sums.shape[1] - 1):
        for below in range(top + 1, sums.shape[1]):
            factor = max(factor, stretch(residuals(columns, top, below), residuals(sums, top, below), length))
    stretched = ratios * size[:, None] + factor * (sums[:, :-1] - ratios * size[:, None])
    return np.concatenate([stretched, size[:, None]], axis=1)


def residuals(columns: Floats, top: int, below: int) -> Floats:
    found: Floats = columns[:, top] - columns[:, top].sum() / columns[:, below].sum() * columns[:, below]
    return found


def stretch(of_windows: Floats, of_blocks: Floats, length: int) -> float:
    """By how much residuals of blocks of ``length`` windows fall short of the spread that their dependence gives."""
    rho = correlation(of_windows, LARGEST_CORRELATION["windows"])
    lags = np.arange(1, length)
    held = (1 + 2 * float(np.sum((1 - lags / length) * rho**lags))) * (1 - rho) / (1 + rho)
    beyond = correlation(of_blocks, LARGEST_CORRELATION["blocks"])
    return max(1.0, 1 / math.sqrt(held), math.sqrt((1 + beyond) / (1 - beyond)))


def correlation(values: Floats, largest: float) -> float:
    """Correlation of neighbours, corrected for its bias, from 0 to ``largest``."""
    around = values - values.mean()
    spread = float(np.sum(around * around))
    if not spread > 0:
        return 0.0
    rho = float(np.sum(around[1:] * around[:-1])) / spread
    return min(max(rho + (1 + 3 * rho) / len(values), 0.0), largest)


@dataclass(frozen=True)
class Singles:
    """Domains of a single document: by how many windows each that can be resampled by blocks, and why the others
    cannot."""

    windows: Mapping[Key, int]
    reasons: Mapping[Key, str]


def singles_of(keys: Sequence[Key], sums: Sequence[Mapping[Key, WindowSums]]) -> Singles:
    """Which domains of the documents' ``keys`` have a single one, and windows alike in all results' ``sums``."""
    counts = Counter(keys)
    windows, reasons = {}, {}
    for key in (key for key, count in counts.items() if count == 1):
        found = [each[key] for each in sums if key in each]
        if len(found) < len(sums):
            continue
        if any((one.tokens, one.bytes) != (found[0].tokens, found[0].bytes) for one in found):
            reasons[key] = "none: 1 document, cut into other windows in other results"
        elif len(found[0].tokens) < MINIMUM_WINDOWS:
            count = len(found[0].tokens)
            counted = "1 window" if count == 1 else f"{count} windows"
            reasons[key] = f"none: 1 document of {counted}, at least {MINIMUM_WINDOWS} are needed for blocks"
        else:
            windows[key] = len(found[0].tokens)
    return Singles(windows, reasons)


def blocked(keys: Sequence[Key], columns: Floats, singles: Singles) -> tuple[list[Key], Floats]:
    """Keys and columns [n, m] of what is resampled: documents, and blocks where ``singles`` has windows of a domain.

    The windows of a domain stand together.
    """
    if not singles.windows:
        return list(keys), columns
    parts, names = [], []
    for key, members in indices_of(keys).items():
        part = columns[members]
        parts.append(block_sums(part) if key in singles.windows else part)
        names += [key] * len(parts[-1])
    return names, np.concatenate(parts)


class SingleDocuments:
    """Collects the windows of each domain's document for as long as it is the only one."""

    def __init__(self, tokenizer: Tokenizer, maximum_length: int) -> None:
        self.tokenizer, self.maximum_length = tokenizer, maximum_length
        self.token_bytes = token_bytes(tokenizer)
        self.domains: dict[Key, WindowSums | None] = {}
        self.sums: dict[Key, list[float]] = {}

    def read(self, document: SuiteDocument, ids: Ids) -> None:
        """A document comes. The first of a domain begins a stream, so that its windows are known before."""
        key = (document.source, document.domain)
        if key in self.domains:
            self.domains[key] = None
            self.sums.pop(key, None)
            return
        starts = range(0, len(ids), self.maximum_length)
        cut = tuple(min(self.maximum_length, len(ids) - start) for start in starts)
        sizes = window_bytes(self.tokenizer, self.token_bytes, document.text, ids, self.maximum_length)
        self.domains[key] = WindowSums(*key, document.id, cut, sizes, ())
        self.sums[key] = [0.0] * len(cut)

    def add(self, key: Key, window: int, values: NDArray[np.floating[Any]]) -> None:
        """Log-probabilities of a window's tokens."""
        if key in self.sums:
            self.sums[key][window] = min(0.0, float(np.sum(values, dtype=np.float64)))

    def finished(self, order: Iterable[Key]) -> dict[Key, WindowSums]:
        found = {key: self.domains[key] for key in order}
        return {
            key: replace(sums, log_probabilities=tuple(self.sums[key]))
            for key, sums in found.items()
            if sums is not None
        }


def token_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Bytes of each token [ids] of a byte-level tokenizer, which writes a byte as a character; of another tokenizer,
    numbers that mean nothing."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    found = np.zeros(max(vocabulary.values(), default=-1) + 1, np.int64)
    for token, number in vocabulary.items():
        found[number] = len(token)
    return found


def window_bytes(tokenizer: Tokenizer, sizes: NDArray[np.int64], text: str, ids: Ids, length: int) -> tuple[int, ...]:
    """UTF-8 bytes of the text behind each window of ``length`` tokens; with ``sizes`` those of ``token_bytes``.

    Where these do not add up to the text, the tokenizer is not byte-level: a character belongs to the window in which
    its last token stands.
    """
    starts = np.arange(0, len(ids), length)
    sums = np.add.reduceat(sizes[ids], starts)
    if int(sums.sum()) == len(text.encode()):
        return tuple(sums.tolist())
    ends = np.maximum.accumulate([end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets])
    places = [*(int(ends[start - 1]) for start in starts[1:]), len(text)]
    return tuple(len(text[begin:end].encode()) for begin, end in pairwise([0, *places]))
