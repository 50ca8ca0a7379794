"""The unigram scorer: how probable a continuation is to somebody who knows only how frequent tokens are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from .errors import UserError
from .files import read_json


class Unigram:
    """Token log-probabilities from ``unigram.json``: (count + smoothing) / (total + smoothing × vocabulary)."""

    def __init__(self, counts: Sequence[int], smoothing: float, where: Path) -> None:
        self.where = where
        normaliser = math.log(sum(counts) + smoothing * len(counts))
        self.log_probabilities = [math.log(count + smoothing) - normaliser for count in counts]

    @classmethod
    def load(cls, path: Path, tokenizer_digest: str) -> Unigram:
        """Read the file; counts of another tokenizer are a UserError."""
        row = read_json(path)
        if not isinstance(row, dict) or row.get("artifact") != "unigram" or row.get("format_version") != 1:
            raise UserError("not unigram counts of format 1", where=path, fix="make them with `paloma-ppl baseline`")
        if row.get("tokenizer_digest") != tokenizer_digest:
            raise UserError(
                "the counts were made with another tokenizer than the model's",
                where=path,
                fix="count with the model's tokenizer.json",
            )
        counts, smoothing = row.get("counts"), row.get("smoothing")
        if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
            raise UserError("counts is no list of whole numbers from 0", where=path, fix="count again")
        if (
            not isinstance(smoothing, int | float)
            or not 0 < smoothing < math.inf
            or len(counts) != row.get("vocab_size")
        ):
            raise UserError(
                "counts and vocab_size disagree, or smoothing is not positive", where=path, fix="count again"
            )
        return cls(counts, float(smoothing), path)

    def log_probability(self, ids: Sequence[int]) -> float:
        """Summed log-probability of ``ids``."""
        if max(ids) >= len(self.log_probabilities):
            raise UserError(f"token {max(ids)} is not counted", where=self.where, fix="count again")
        return math.fsum(self.log_probabilities[token] for token in ids)
