"""Scorings: what each choice is worth, and what choosing by it earns, for all instances of a task at once.

Every scoring is a function of stored columns, so that a new one needs no model. A choice's score is one number; the
choices with the highest share the prediction, and an instance earns 1/k where the right one is among k best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The prediction rows of a task as columns: I instances, R rows, those of an instance together and in order."""

    doc_id: Ints  # [I]
    native_id: Sequence[str | int | None]  # [I]
    domain: Sequence[str | None]  # [I]
    cluster: Sequence[str | None]  # [I]
    label: Ints  # [I], index of the right choice within its instance
    starts: Ints  # [I], where the rows of an instance begin
    log_probability: Floats  # [R]
    tokens: Ints  # [R]
    characters: Ints  # [R], the leading space counted
    bytes: Ints  # [R]
    characters_bare: Ints  # [R], without the leading space
    bytes_bare: Ints  # [R]
    greedy: Bools  # [R]
    truncated: Bools  # [R]
    answer: Floats | None  # [R], log-probability under the context ``Answer:``; None where a row has none
    empty: Floats | None  # [R], under an empty context
    unigram: Floats | None  # [R], of the unigram scorer

    def __len__(self) -> int:
        return len(self.label)

    @property
    def counts(self) -> Ints:
        """Choices of each instance [I]."""
        return np.diff(self.starts, append=len(self.log_probability))

    @property
    def gold(self) -> Ints:
        """Rows of the right choices [I]."""
        return self.starts + self.label

    @property
    def clusters(self) -> Ints | None:
        """Number of the cluster of each instance [I]; None where no two instances share one."""
        numbers: dict[object, int] = {}
        keys = [number if name is None else name for number, name in enumerate(self.cluster)]
        found = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
        return None if len(numbers) == len(keys) else found


@dataclass(frozen=True)
class Prediction:
    """Which choices of each instance are best by a score: ``hit`` where the right one is among ``count`` best."""

    best: Bools  # [R]
    count: Ints  # [I]
    hit: Bools  # [I]
    share: Floats  # [R], 1/count for the best choices, else 0

    @property
    def credits(self) -> Floats:
        """What each instance earns [I]."""
        return self.hit / self.count

    @property
    def total(self) -> Fraction:
        """The exact sum of the credits."""
        sizes, times = np.unique(self.count[self.hit], return_counts=True)
        pairs = zip(sizes.tolist(), times.tolist(), strict=True)
        return sum((Fraction(many, size) for size, many in pairs), Fraction(0))

    def multiples(self, denominator: int) -> Ints:
        """Credits as whole multiples of 1/denominator [I]; ``denominator`` is a multiple of every count."""
        found: Ints = self.hit * (denominator // self.count)
        return found


ChoiceScore = Callable[[Choices], Floats]


def raw(choices: Choices) -> Floats:
    """Summed log-probability of the choice."""
    return choices.log_probability


def per_token(choices: Choices) -> Floats:
    """Log-probability per token (Brown et al. 2020, arXiv 2005.14165, section 2.4)."""
    return choices.log_probability / choices.tokens


def per_char(choices: Choices) -> Floats:
    """Log-probability per character, the leading space counted (allenai/catwalk, OLMES arXiv 2406.08446)."""
    return choices.log_probability / choices.characters


def per_char_bare(choices: Choices) -> Floats:
    """Log-probability per character of the bare choice (lm-evaluation-harness ``acc_norm``, OLMo v1 ``len_norm``)."""
    return choices.log_probability / choices.characters_bare


def per_byte(choices: Choices) -> Floats:
    """Log-probability per UTF-8 byte, the leading space counted."""
    return choices.log_probability / choices.bytes


def per_byte_bare(choices: Choices) -> Floats:
    """Log-probability per UTF-8 byte of the bare choice (lm-evaluation-harness ``acc_bytes``)."""
    return choices.log_probability / choices.bytes_bare


def uncond(choices: Choices) -> Floats:
    """Log-probability less that under the context ``Answer:``: what the context adds.

    Pointwise mutual information as a difference (Holtzman et al. 2021, arXiv 2104.08315); their ratio, which some
    code uses, prefers the choice that the context made less likely.
    """
    assert choices.answer is not None
    return choices.log_probability - choices.answer


def uncond_empty(choices: Choices) -> Floats:
    """Log-probability less that under an empty context (lm-evaluation-harness ``acc_mutual_info``)."""
    assert choices.empty is not None
    return choices.log_probability - choices.empty


ACCURACIES: dict[str, ChoiceScore] = {
    "acc_raw": raw,
    "acc_per_token": per_token,
    "acc_per_char": per_char,
    "acc_per_char_bare": per_char_bare,
    "acc_per_byte": per_byte,
    "acc_per_byte_bare": per_byte_bare,
    "acc_uncond": uncond,
    "acc_uncond_empty": uncond_empty,
}


def length(choices: Choices) -> Floats:
    """Characters of the choice: the choose-the-longest baseline."""
    return choices.characters.astype(np.float64)


def unigram(metric: str) -> ChoiceScore:
    """The scorer that knows how frequent tokens are and nothing else, normalised as ``metric`` is.

    It reads no context, so unconditional scores of it would be zero for every choice; the plain sum stands in there.
    """

    def score(choices: Choices) -> Floats:
        assert choices.unigram is not None
        lengths = {
            "acc_per_token": choices.tokens,
            "acc_per_char": choices.characters,
            "acc_per_char_bare": choices.characters_bare,
            "acc_per_byte": choices.bytes,
            "acc_per_byte_bare": choices.bytes_bare,
        }
        return choices.unigram / lengths[metric] if metric in lengths else choices.unigram

    return score


def applies(metric: str, choices: Choices, positive: int | None = None) -> bool:
    """Whether the columns hold what ``metric`` needs. Where every instance has one choice, nothing is chosen."""
    if metric in COMPETING and not (choices.counts > 1).any():
        return False
    needs = {
        "acc_uncond": choices.answer is not None,
        "acc_uncond_empty": choices.empty is not None,
        "acc_per_char_bare": bool((choices.characters_bare > 0).all()),
        "acc_per_byte_bare": bool((choices.bytes_bare > 0).all()),
        "f1": positive is not None,
    }
    return needs.get(metric, True)


def predict(choices: Choices, scores: Floats) -> Prediction:
    """The choices with the highest of ``scores`` [R] in each instance. Equal scores tie, whatever their order."""
    counts = choices.counts
    best = scores == np.repeat(np.maximum.reduceat(scores, choices.starts), counts)
    count = np.add.reduceat(best.astype(np.int64), choices.starts)
    return Prediction(best, count, best[choices.gold], best / np.repeat(count, counts))


def gold_bits_per_byte(choices: Choices) -> Floats:
    """Bits per UTF-8 byte of the right choice [I]."""
    gold = choices.gold
    return -choices.log_probability[gold] / (math.log(2) * choices.bytes[gold])


def probability_mass(choices: Choices) -> Floats:
    """Sum of the probabilities of all choices [I]: how much of the model's belief they hold (allenai/catwalk)."""
    return np.asarray(np.add.reduceat(np.exp(choices.log_probability), choices.starts))


def log_soft_score(choices: Choices) -> Floats:
    """Log-probability of the right choice among the choices alone [I]: log-softmax over their summed log-probabilities.

    It moves while accuracy still stands at chance (``soft_log`` of OLMo-in-loop-evals).
    """
    highest = np.maximum.reduceat(choices.log_probability, choices.starts)
    shifted = choices.log_probability - np.repeat(highest, choices.counts)
    return np.asarray(shifted[choices.gold] - np.log(np.add.reduceat(np.exp(shifted), choices.starts)))


def soft_score(choices: Choices) -> Floats:
    """Probability of the right choice among the choices alone [I] (``soft`` of OLMo-in-loop-evals)."""
    return np.asarray(np.exp(log_soft_score(choices)))


MEANS: dict[str, Callable[[Choices], Floats]] = {
    "bits_per_byte": gold_bits_per_byte,
    "soft_score": soft_score,
    "log_soft_score": log_soft_score,
    "probability_mass": probability_mass,
}
"""Metrics that are the mean of a value of each instance, whichever choice is best."""

METRICS = (*ACCURACIES, "f1", *MEANS)
COMPETING = (*ACCURACIES, "f1", "soft_score", "log_soft_score")
LOWER_IS_BETTER = ("bits_per_byte",)
SHARES = (*ACCURACIES, "f1")
"""Metrics of right and wrong: from 0 to 1, and what suite averages are taken of."""


@dataclass(frozen=True)
class Value:
    """A metric of one task: its value, and what each instance contributes.

    The mean of ``parts`` [I] is the value, and their spread that of the value. Where a metric is a ratio of sums they
    are its linearised parts (value + influence; Cochran 1977, section 6.8). Where choices compete, ``prediction`` says
    which won.
    """

    value: float
    parts: Floats
    prediction: Prediction | None = None


def value_of(metric: str, choices: Choices, positive: int | None = None) -> Value:
    """``metric`` of a task; the caller has asked whether it :func:`applies`."""
    if metric in MEANS:
        parts = MEANS[metric](choices)
        return Value(math.fsum(parts) / len(parts), parts)
    if metric == "f1":
        assert positive is not None
        return f1(choices, predict(choices, raw(choices)), positive)
    return accuracy(predict(choices, ACCURACIES[metric](choices)))


def accuracy(prediction: Prediction) -> Value:
    """Mean credit."""
    return Value(float(prediction.total / len(prediction.count)), prediction.credits, prediction)


def f1(choices: Choices, prediction: Prediction, positive: int) -> Value:
    """F1 of the choice ``positive`` (van Rijsbergen 1979): 2 hits / (predicted + right). A tie of k predicts it 1/k."""
    predicted = positive_share(choices, prediction.share, positive)
    right = (choices.label == positive).astype(np.float64)
    both, either = 2 * predicted * right, predicted + right
    total = math.fsum(either)
    if not total:
        return Value(0.0, np.zeros(len(choices)), prediction)
    value = math.fsum(both) / total
    return Value(value, value + (both - value * either) * (len(choices) / total), prediction)


def positive_share(choices: Choices, share: Floats, positive: int) -> Floats:
    """How far each instance predicts the choice ``positive`` [I]."""
    there = choices.counts > positive
    return np.where(there, share[np.where(there, choices.starts + positive, 0)], 0.0)


def positive_index(about: Mapping[str, Any]) -> int | None:
    """The choice that counts as positive in F1, where ``task.json`` names one."""
    positive = about.get("positive")
    return positive if type(positive) is int and positive >= 0 else None
