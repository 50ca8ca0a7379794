from __future__ import annotations

from typing import Any

import pytest

from catwalk_eval.task import Instance
from parity_lm_eval import as_table, compare

CONTEXT = "The sky is"
CHOICES = (" blue", " green")


def instance(number: int, context: str = CONTEXT, label: int = 0) -> Instance:
    return Instance(number, None, {}, (context,) * 2, CHOICES, label)


def ours(
    scores: list[list[float]], acc: float, acc_norm: float, instances: list[Instance] | None = None
) -> dict[str, Any]:
    instances = instances or [instance(number) for number in range(len(scores))]
    rows = [{"log_probability": score} for pair in scores for score in pair]
    metrics = {"acc_raw": {"value": acc}, "acc_per_char_bare": {"value": acc_norm}}
    return {"instances": instances, "rows": rows, "metrics": metrics}


def theirs(scores: list[list[float]], acc: float, acc_norm: float | None, context: str = CONTEXT) -> dict[str, Any]:
    samples = [
        {"doc_id": number, "requests": [[context, choice] for choice in CHOICES], "log_probabilities": pair}
        for number, pair in enumerate(scores)
    ]
    metrics = {"acc": acc} | ({} if acc_norm is None else {"acc_norm": acc_norm})
    return {"metrics": metrics, "samples": samples}


RIGHT, WRONG, TIE = [-1.0, -3.0], [-3.0, -1.0], [-2.0, -2.0]


def test_equal_numbers_miss_nothing_and_the_largest_difference_is_told() -> None:
    verdict = compare("sky", ours([RIGHT, WRONG], 0.5, 0.5), [theirs([[-1.00005, -3.0], WRONG], 0.5, 0.5)])
    assert (verdict.instances, verdict.requests, verdict.other_prompts) == (2, 4, 0)
    assert verdict.apart == pytest.approx(5e-5)
    assert verdict.missed == verdict.notes == []
    assert "5.0e-05  0.5000/0.5000" in as_table([verdict])[1]


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (theirs([[-1.001, -3.0]], 1.0, 1.0), "log-probability -1.0 is -1.001"),
        (theirs([RIGHT], 1.0, 1.0, context="The sky is "), "instance 0: .* in lm-eval"),
        (theirs([RIGHT], 0.0, 1.0), "acc 1.0 is 0.0"),
        (theirs([RIGHT, RIGHT], 1.0, 1.0), "1 instances, 2 in lm-eval"),
    ],
)
def test_whatever_differs_is_a_miss(theirs: dict[str, Any], message: str) -> None:
    import re

    verdict = compare("sky", ours([RIGHT], 1.0, 1.0), [theirs])
    assert len(verdict.missed) == 1
    assert re.search(message, verdict.missed[0])


def test_ties_explain_accuracies_and_nothing_else_does() -> None:
    """Of two equal log-probabilities lm-eval takes the first; by length the shorter text is worse."""
    verdict = compare("sky", ours([TIE, RIGHT], 0.75, 0.5), [theirs([TIE, RIGHT], 1.0, 0.5)])
    assert verdict.notes == ["acc: 1 ties, which lm-eval gives to the first choice and we share"]
    assert verdict.missed == []
    verdict = compare("sky", ours([WRONG, RIGHT], 0.75, 0.5), [theirs([WRONG, RIGHT], 1.0, 0.5)])
    assert len(verdict.missed) == 1


def test_subjects_are_put_together_in_their_order() -> None:
    parts = [theirs([RIGHT], 1.0, 1.0), theirs([WRONG, RIGHT], 0.5, 0.5)]
    verdict = compare("sky", ours([RIGHT, WRONG, RIGHT], 2 / 3, 2 / 3), parts)
    assert verdict.missed == []
    assert verdict.metrics["acc"] == pytest.approx((2 / 3, 2 / 3))


def test_a_context_that_ends_in_a_space_and_a_missing_metric_are_noted() -> None:
    spaced = "The sky is "
    verdict = compare(
        "sky",
        ours([RIGHT], 1.0, 1.0, [instance(0, spaced)]),
        [theirs([[-2.0, -4.0]], 1.0, None, context=spaced)],
    )
    assert verdict.missed == []
    assert verdict.notes == [
        "2 requests end their context in a space, which lm-eval scores as part of the answer",
        "no acc_norm: lm-eval divides by the length of the context there",
    ]
