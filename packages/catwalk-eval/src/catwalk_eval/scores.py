"""Scorings: what a choice is worth, as pure functions of a stored prediction; and the credit for choosing.

Every scoring is a function of one prediction row, so that a new one needs no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

Row = Mapping[str, Any]
Score = Callable[[Row], float]


def raw(row: Row) -> float:
    """Summed log-probability of the choice."""
    return float(row["log_probability"])


def per_token(row: Row) -> float:
    """Log-probability per token (Brown et al. 2020, arXiv 2005.14165, section 2.4)."""
    return float(row["log_probability"]) / int(row["tokens"])


def per_char(row: Row) -> float:
    """Log-probability per character, the leading space counted (allenai/catwalk, OLMES arXiv 2406.08446)."""
    return float(row["log_probability"]) / int(row["characters"])


def per_byte(row: Row) -> float:
    """Log-probability per UTF-8 byte, the leading space counted."""
    return float(row["log_probability"]) / int(row["bytes"])


def uncond(row: Row) -> float:
    """Log-probability less that under the context ``Answer:``: what the context adds.

    Pointwise mutual information as a difference (Holtzman et al. 2021, arXiv 2104.08315); their ratio, which some
    code uses, prefers the choice that the context made less likely.
    """
    return float(row["log_probability"]) - float(row["log_probability_answer"])


ACCURACIES: dict[str, Score] = {
    "acc_raw": raw,
    "acc_per_token": per_token,
    "acc_per_char": per_char,
    "acc_per_byte": per_byte,
    "acc_uncond": uncond,
}


def length(row: Row) -> float:
    """Characters of the choice: the choose-the-longest baseline."""
    return float(row["characters"])


def unigram(metric: str) -> Score:
    """The scorer that knows how frequent tokens are and nothing else, normalised as ``metric`` is.

    It reads no context, so its ``acc_uncond`` would be zero for every choice; the plain sum stands in there.
    """
    score = ACCURACIES["acc_raw" if metric == "acc_uncond" else metric]
    return lambda row: score({**row, "log_probability": row["log_probability_unigram"]})


def applies(metric: str, rows: Sequence[Row]) -> bool:
    """Whether the rows hold what ``metric`` needs."""
    return metric != "acc_uncond" or all(row["log_probability_answer"] is not None for row in rows)


def credit(rows: Sequence[Row], score: Score) -> Fraction:
    """Credit for one instance: 1/k where k choices are best and the right one is among them, else 0."""
    return tie(rows, score)[0]


def tie(rows: Sequence[Row], score: Score) -> tuple[Fraction, int]:
    """``(credit, number of best choices)`` of one instance."""
    values = [score(row) for row in rows]
    best = max(values)
    count = values.count(best)
    return (Fraction(1, count) if values[int(rows[0]["label"])] == best else Fraction(0)), count


def gold_bits_per_byte(rows: Sequence[Row]) -> float:
    """Bits per UTF-8 byte of the right choice."""
    gold = rows[int(rows[0]["label"])]
    return -float(gold["log_probability"]) / (math.log(2) * int(gold["bytes"]))
