"""Log-probability of every token of a split, batch by batch, so that an interrupted run goes on where it stopped.

The batch plan is a pure function of the lengths of all windows. The results of a batch are appended, as they come, to
one file beside the output; its first line says what they belong to (weights, tokenizer, suite, settings), and every
batch ends in a checksum.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import UserError
from .model import LanguageModel, log_probabilities
from .progress import Progress
from .windows import Window

log = logging.getLogger(__name__)


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of each batch: longest first, padded size at most ``batch_tokens`` (a longer one stands alone)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def scored_tokens(window: Window) -> int:
    return sum(part.stop - part.start for part in window.parts)


class Ledger:
    """The file of finished batches."""

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self.path = path
        self.header = json.dumps(key, sort_keys=True).encode() + b"\n"

    def finished(self, sizes: Sequence[int]) -> list[NDArray[np.float32]]:
        """Results of the leading batches that are whole; anything after them is cut off."""
        done: list[NDArray[np.float32]] = []
        if not self.path.is_file():
            return done
        with open(self.path, "r+b") as stream:
            if stream.readline() != self.header:
                log.info("%s belongs to other settings and is started anew", self.path)
                stream.close()
                self.path.unlink()
                return done
            end = stream.tell()
            for size in sizes:
                data, check = stream.read(4 * size), stream.read(4)
                if len(check) < 4 or zlib.crc32(data).to_bytes(4, "little") != check:
                    break
                done.append(np.frombuffer(data, dtype="<f4"))
                end = stream.tell()
            stream.truncate(end)
        return done

    def open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(self.path, "ab")
        if stream.tell() == 0:
            stream.write(self.header)
        return stream

    def append(self, stream: BinaryIO, results: NDArray[np.float32]) -> None:
        data = results.astype("<f4").tobytes()
        stream.write(data + zlib.crc32(data).to_bytes(4, "little"))
        stream.flush()


def score_windows(
    model: LanguageModel, windows: Sequence[Window], batch_tokens: int, ledger: Ledger
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield ``(index of the window, log-probabilities of its scored tokens)``, in the order of the batch plan."""
    batches = plan_batches([len(window.ids) - 1 for window in windows], batch_tokens)
    sizes = [sum(scored_tokens(windows[index]) for index in batch) for batch in batches]
    done = ledger.finished(sizes)
    if done:
        log.info("%d of %d batches were done before", len(done), len(batches))
    with ledger.open() as stream, Progress("scoring", total=sum(sizes), unit="tokens") as progress:
        for number, batch in enumerate(batches):
            if number < len(done):
                flat = done[number]
            else:
                flat = np.concatenate(list(score_batch(model, [windows[index] for index in batch])))
                ledger.append(stream, flat)
            ends = np.cumsum([scored_tokens(windows[index]) for index in batch])
            yield from zip(batch, np.split(flat, ends[:-1]), strict=True)
            progress.advance(sizes[number])


def score_batch(model: LanguageModel, batch: Sequence[Window]) -> Iterator[NDArray[np.float32]]:
    ranges = [[(part.start, part.stop) for part in window.parts] for window in batch]
    try:
        yield from log_probabilities(model, [window.ids for window in batch], ranges)
    except torch.OutOfMemoryError as error:
        raise UserError("the batch does not fit into memory", where="batch_tokens", fix="give less") from error


def token_log_probabilities(
    model: LanguageModel, windows: Sequence[Window], lengths: Sequence[int], batch_tokens: int, ledger: Ledger
) -> list[NDArray[np.float32]]:
    """For each document, of ``lengths`` tokens, the log-probability of each of its tokens."""
    result = [np.full(length, np.nan, dtype=np.float32) for length in lengths]
    for index, values in score_windows(model, windows, batch_tokens, ledger):
        begin = 0
        for part in windows[index].parts:
            size = part.stop - part.start
            result[part.document][part.first_token : part.first_token + size] = values[begin : begin + size]
            begin += size
    return result
