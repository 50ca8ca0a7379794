from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from catwalk_eval.metrics import by_instance, task_metrics
from catwalk_eval.scores import ACCURACIES, credit, gold_bits_per_byte, length, unigram

ABOUT = {"primary_metric": "acc_raw", "dialect": "olmo-inloop", "shots": 0}


def row(idx: int, log_probability: float, *, label: int = 0, doc_id: int = 0, **others: Any) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "idx": idx,
        "label": label,
        "log_probability": log_probability,
        "tokens": 1,
        "characters": 1,
        "bytes": 1,
        "log_probability_answer": None,
        "log_probability_unigram": None,
    } | others


def test_each_normalisation_can_prefer_another_choice() -> None:
    rows = [
        row(0, -10.0, tokens=5, characters=8, bytes=8, log_probability_answer=-11.0),
        row(1, -9.0, tokens=3, characters=6, bytes=6, log_probability_answer=-9.5),
        row(2, -12.0, tokens=5, characters=12, bytes=12, log_probability_answer=-14.5),
        row(3, -11.0, tokens=6, characters=9, bytes=16, log_probability_answer=-10.0),
    ]
    best = {name: max(range(4), key=lambda k, s=score: s(rows[k])) for name, score in ACCURACIES.items()}
    assert best == {"acc_raw": 1, "acc_per_token": 3, "acc_per_char": 2, "acc_per_byte": 3, "acc_uncond": 2}


def test_the_unconditional_score_is_a_difference_not_a_ratio() -> None:
    """A ratio of two negative numbers would prefer the choice that the context made less likely."""
    likelier, unlikelier = row(0, -5.0, log_probability_answer=-10.0), row(1, -10.0, log_probability_answer=-5.0)
    assert ACCURACIES["acc_uncond"](likelier) == 5.0
    assert ACCURACIES["acc_uncond"](unlikelier) == -5.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [([-1, -2, -3], 1), ([-2, -1, -3], 0), ([-1, -1, -3], Fraction(1, 2)), ([-1, -1, -1], Fraction(1, 3))],
)
def test_ties_share_the_credit(values: list[float], expected: Fraction) -> None:
    rows = [row(k, value) for k, value in enumerate(values)]
    assert credit(rows, ACCURACIES["acc_raw"]) == expected


def test_bits_per_byte_are_those_of_the_right_choice() -> None:
    assert gold_bits_per_byte([row(0, -9.0, label=1), row(1, -4 * math.log(2), label=1, bytes=8)]) == 0.5


def test_the_unigram_scorer_is_normalised_as_the_metric_is() -> None:
    rows = [row(0, -9, log_probability_unigram=-6.0, tokens=3), row(1, -9, log_probability_unigram=-3.0, tokens=1)]
    assert credit(rows, unigram("acc_raw")) == 0
    assert credit(rows, unigram("acc_per_token")) == 1
    assert credit(rows, unigram("acc_uncond")) == 0


def test_metrics_of_four_instances_by_hand() -> None:
    rows = [
        *(row(0, -1.0, doc_id=0, label=0, characters=2), row(1, -2.0, doc_id=0, label=0, characters=5)),
        *(row(0, -1.0, doc_id=1, label=1, characters=2), row(1, -2.0, doc_id=1, label=1, characters=5)),
        *(row(0, -1.0, doc_id=2, label=0, characters=3), row(1, -1.0, doc_id=2, label=0, characters=3)),
        *(row(k, -1.0 - k, doc_id=3, label=0, characters=1 + k) for k in range(4)),
    ]
    metrics = task_metrics(ABOUT, by_instance(rows))
    assert metrics["instances"] == 4
    assert metrics["choices"] == [2, 4]
    assert metrics["metrics"]["acc_raw"]["value"] == (1 + 0 + 0.5 + 1) / 4
    assert "acc_uncond" not in metrics["metrics"]
    assert metrics["baselines"]["chance"]["value"] == (0.5 * 3 + 0.25) / 4
    assert metrics["baselines"]["majority"]["value"] == 0.75
    assert metrics["baselines"]["longest"] == {"value": 1.5 / 4, "difference": 0.25, "p_value": 1.0}
    assert "unigram" not in metrics["baselines"]
    # two guesses of 1/2, a sure half, a guess of 1/4: at least two of the three right
    assert metrics["chance_p_value"] == pytest.approx(1 / 16 + 3 / 16 + 2 / 16)


def test_length_counts_characters() -> None:
    assert length(row(0, -1.0, characters=7, bytes=9)) == 7.0
