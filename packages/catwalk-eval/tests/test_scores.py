from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catwalk_eval.config import Metric
from catwalk_eval.errors import UserError
from catwalk_eval.metrics import suite_average, task_metrics
from catwalk_eval.predictions import columns
from catwalk_eval.scores import (
    ACCURACIES,
    METRICS,
    Choices,
    applies,
    gold_bits_per_byte,
    length,
    predict,
    unigram,
    value_of,
)

ABOUT = {"primary_metric": "acc_raw", "dialect": "olmo-inloop", "shots": 0}


def row(idx: int, log_probability: float, *, label: int = 0, doc_id: int = 0, **others: Any) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "native_id": doc_id,
        "idx": idx,
        "label": label,
        "log_probability": log_probability,
        "tokens": 1,
        "characters": 2,
        "bytes": 2,
        "characters_bare": 1,
        "bytes_bare": 1,
        "log_probability_answer": None,
        "log_probability_empty": None,
        "log_probability_unigram": None,
    } | others


def choices_of(rows: list[dict[str, Any]]) -> Choices:
    found = columns(rows)
    assert found is not None
    return found


def credit(rows: list[dict[str, Any]], metric: str) -> float:
    choices = choices_of(rows)
    return float(predict(choices, ACCURACIES[metric](choices)).total)


def test_the_setting_knows_every_metric() -> None:
    assert get_args(Metric) == METRICS


def test_each_normalisation_can_prefer_another_choice() -> None:
    def sized(idx: int, value: float, tokens: int, characters: int, size: int, **others: Any) -> dict[str, Any]:
        bare = {"characters_bare": characters - 1, "bytes_bare": size - 1}
        return row(idx, value, tokens=tokens, characters=characters, bytes=size, **bare, **others)

    rows = [
        sized(0, -10.0, 5, 8, 8, log_probability_answer=-11.0, log_probability_empty=-20.0),
        sized(1, -9.0, 3, 6, 6, log_probability_answer=-9.5, log_probability_empty=-9.0),
        sized(2, -12.0, 5, 12, 12, log_probability_answer=-14.5, log_probability_empty=-9.0),
        sized(3, -11.0, 6, 9, 16, log_probability_answer=-10.0, log_probability_empty=-9.0),
        sized(4, -1.9, 1, 2, 2, log_probability_answer=-1.0, log_probability_empty=-1.0) | {"log_probability": -8.0},
    ]
    choices = choices_of(rows)
    best = {name: int(np.argmax(score(choices))) for name, score in ACCURACIES.items()}
    assert best == {
        "acc_raw": 4,
        "acc_per_token": 3,
        "acc_per_char": 2,
        "acc_per_char_bare": 2,
        "acc_per_byte": 3,
        "acc_per_byte_bare": 3,
        "acc_uncond": 2,
        "acc_uncond_empty": 0,
    }


def test_the_leading_space_can_decide() -> None:
    short = row(0, -2.0, characters=2, characters_bare=1, bytes=2, bytes_bare=1)
    long = row(1, -5.5, characters=5, characters_bare=4, bytes=5, bytes_bare=4)
    assert credit([short, long], "acc_per_char") == credit([short, long], "acc_per_byte") == 1  # -1 against -1.1
    assert credit([short, long], "acc_per_char_bare") == credit([short, long], "acc_per_byte_bare") == 0  # -2, -1.4


def test_the_unconditional_score_is_a_difference_not_a_ratio() -> None:
    """A ratio of two negative numbers would prefer the choice that the context made less likely."""
    choices = choices_of([row(0, -5.0, log_probability_answer=-10.0), row(1, -10.0, log_probability_answer=-5.0)])
    assert ACCURACIES["acc_uncond"](choices).tolist() == [5.0, -5.0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([-1, -2, -3], 1), ([-2, -1, -3], 0), ([-1, -1, -3], Fraction(1, 2)), ([-1, -1, -1], Fraction(1, 3))],
)
def test_ties_share_the_credit(values: list[float], expected: Fraction) -> None:
    choices = choices_of([row(k, value) for k, value in enumerate(values)])
    assert predict(choices, choices.log_probability).total == expected


@given(st.lists(st.lists(st.integers(-3, 0), min_size=1, max_size=5), min_size=1, max_size=8), st.randoms())
def test_the_order_of_choices_and_of_instances_does_not_matter(values: list[list[int]], draw: random.Random) -> None:
    """The plain definition, one instance at a time, and the same with all choices shuffled."""
    rows, shuffled = [], []
    expected = Fraction(0)
    for doc_id, scores in enumerate(values):
        label = draw.randrange(len(scores))
        best = [k for k, score in enumerate(scores) if score == max(scores)]
        expected += Fraction(1, len(best)) if label in best else Fraction(0)
        rows.append([row(k, float(s), label=label, doc_id=doc_id) for k, s in enumerate(scores)])
        order = list(range(len(scores)))
        draw.shuffle(order)
        shuffled.append(
            [row(k, float(scores[o]), label=order.index(label), doc_id=doc_id) for k, o in enumerate(order)]
        )
    draw.shuffle(shuffled)
    for groups in (rows, shuffled):
        choices = choices_of([choice for group in groups for choice in group])
        assert predict(choices, choices.log_probability).total == expected


def test_bits_per_byte_are_those_of_the_right_choice() -> None:
    choices = choices_of([row(0, -9.0, label=1), row(1, -4 * math.log(2), label=1, bytes=8)])
    assert gold_bits_per_byte(choices).tolist() == [0.5]


def test_soft_scores_are_the_softmax_over_the_choices() -> None:
    choices = choices_of([row(0, math.log(0.02), label=1), row(1, math.log(0.06), label=1)])
    assert value_of("soft_score", choices).value == pytest.approx(0.75, abs=1e-12)
    assert value_of("log_soft_score", choices).value == pytest.approx(math.log(0.75), abs=1e-12)
    assert value_of("probability_mass", choices).value == pytest.approx(0.08, abs=1e-12)
    unlikely = choices_of([row(0, -5000.0), row(1, -5001.0)])  # their probabilities are zero in a double
    assert value_of("soft_score", unlikely).value == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_unigram_scorer_is_normalised_as_the_metric_is() -> None:
    choices = choices_of(
        [row(0, -9, log_probability_unigram=-6.0, tokens=3), row(1, -9, log_probability_unigram=-3.0, tokens=1)]
    )
    earned = {metric: float(predict(choices, unigram(metric)(choices)).total) for metric in ACCURACIES}
    assert [metric for metric, value in earned.items() if value] == ["acc_per_token"]


def test_a_choice_without_anything_but_its_space_has_no_bare_length() -> None:
    choices = choices_of([row(0, -1.0, characters=1, bytes=1, characters_bare=0, bytes_bare=0), row(1, -2.0)])
    assert not applies("acc_per_char_bare", choices)
    assert not applies("acc_per_byte_bare", choices)
    assert applies("acc_per_char", choices)


def answers(pairs: list[tuple[int, int]]) -> Choices:
    """Instances of two choices: (predicted, right)."""
    rows = [
        row(k, -1.0 if k == predicted else -2.0, label=right, doc_id=doc_id)
        for doc_id, (predicted, right) in enumerate(pairs)
        for k in range(2)
    ]
    return choices_of(rows)


def test_f1_is_that_of_the_positive_choice() -> None:
    # 3 true positives, 1 false positive, 2 false negatives, 4 true negatives
    choices = answers([(0, 0)] * 3 + [(0, 1)] + [(1, 0)] * 2 + [(1, 1)] * 4)
    found = value_of("f1", choices, 0)
    assert found.value == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))
    assert math.fsum(found.parts) / 10 == pytest.approx(found.value)
    metrics = task_metrics(ABOUT | {"primary_metric": "f1", "positive": 0}, choices)
    assert metrics["metrics"]["f1"]["method"] == "wilson of F/(2-F)"
    assert metrics["metrics"]["f1"]["low"] < 2 / 3 < metrics["metrics"]["f1"]["high"]
    # always yes: 5 of 10 are; a coin: half of them are found
    assert metrics["baselines"]["majority"]["value"] == pytest.approx(2 * 5 / (10 + 5))
    assert metrics["baselines"]["chance"]["value"] == pytest.approx(2 * 2.5 / (5 + 5))
    assert metrics["chance_p_value"] is None
    with pytest.raises(UserError, match="names no positive choice"):
        task_metrics(ABOUT | {"primary_metric": "f1"}, choices)


def test_metrics_of_four_instances_by_hand() -> None:
    rows = [
        *(row(0, -1.0, doc_id=0, label=0), row(1, -2.0, doc_id=0, label=0, characters=5)),
        *(row(0, -1.0, doc_id=1, label=1), row(1, -2.0, doc_id=1, label=1, characters=5)),
        *(row(0, -1.0, doc_id=2, label=0, characters=3), row(1, -1.0, doc_id=2, label=0, characters=3)),
        *(row(k, -1.0 - k, doc_id=3, label=0, characters=1 + k) for k in range(4)),
    ]
    metrics = task_metrics(ABOUT, choices_of(rows))
    assert metrics["instances"] == 4
    assert metrics["clusters"] is None
    assert metrics["choices"] == [2, 4]
    assert metrics["metrics"]["acc_raw"]["value"] == (1 + 0 + 0.5 + 1) / 4
    assert metrics["metrics"]["acc_raw"]["low"] is None
    assert metrics["metrics"]["acc_raw"]["method"] == "none: 4 instances, 10 needed"
    assert "acc_uncond" not in metrics["metrics"]
    assert metrics["labels"] == [3, 1, 0, 0]
    assert metrics["predicted"]["acc_raw"] == [3.5, 0.5, 0, 0]
    assert metrics["baselines"]["chance"]["value"] == (0.5 * 3 + 0.25) / 4
    assert metrics["baselines"]["majority"]["value"] == 0.75
    assert metrics["baselines"]["longest"] == {"value": 1.5 / 4, "difference": 0.25, "p_value": 1.0}
    assert "unigram" not in metrics["baselines"]
    # two guesses of 1/2, a sure half, a guess of 1/4: at least two of the three right
    assert metrics["chance_p_value"] == pytest.approx(1 / 16 + 3 / 16 + 2 / 16)
    assert length(choices_of(rows)).tolist()[:2] == [2.0, 5.0]


def right_and_wrong(rights: list[bool], **others: list[Any]) -> Choices:
    rows = [
        row(
            k, -1.0 - k, label=0 if right else 1, doc_id=number, **{key: value[number] for key, value in others.items()}
        )
        for number, right in enumerate(rights)
        for k in range(2)
    ]
    return choices_of(rows)


def test_macro_weighs_domains_alike_and_micro_instances() -> None:
    rights = [True] * 30 + [False] * 10 + [True] * 5 + [False] * 5
    domains = ["a"] * 40 + ["b"] * 10
    metrics = task_metrics(ABOUT, right_and_wrong(rights, domain=domains, cluster=domains))
    assert metrics["metrics"]["acc_raw"]["value"] == 35 / 50
    macro = metrics["macro"]
    assert macro["value"] == (0.75 + 0.5) / 2
    assert {name: (d["instances"], d["value"]) for name, d in macro["domains"].items()} == {
        "a": (40, 0.75),
        "b": (10, 0.5),
    }
    # the two domains are not drawn from many: inside each its instances are independent
    error = math.sqrt(0.75 * 0.25 / 39 + 0.5 * 0.5 / 9) / 2
    assert macro["standard_error"] == pytest.approx(error)
    assert macro["low"] < macro["value"] < macro["high"]
    # over instances of two clusters nothing can be said
    assert metrics["metrics"]["acc_raw"]["method"] == "none: 2 clusters, 10 needed"


def test_instances_of_one_cluster_count_less() -> None:
    rights = [k % 4 > 0 for k in range(40) for _ in range(5)]
    alone = task_metrics(ABOUT, right_and_wrong(rights))["metrics"]["acc_raw"]
    shared = task_metrics(ABOUT, right_and_wrong(rights, cluster=[str(k // 5) for k in range(200)]))
    together = shared["metrics"]["acc_raw"]
    assert shared["clusters"] == 40
    assert alone["value"] == together["value"] == 0.75
    assert together["method"] == "wilson, clustered"
    # all five of a cluster are right or wrong together: 40 observations, not 200
    assert together["standard_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 39))
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])


def test_where_nothing_is_chosen_only_the_right_answer_is_measured() -> None:
    rows = [row(0, -4 * math.log(2), doc_id=doc_id, bytes=8) for doc_id in range(12)]
    metrics = task_metrics(ABOUT | {"primary_metric": "bits_per_byte"}, choices_of(rows))
    assert set(metrics["metrics"]) == {"bits_per_byte", "probability_mass"}
    assert metrics["metrics"]["bits_per_byte"]["value"] == pytest.approx(0.5)
    assert (metrics["chance_p_value"], metrics["predicted"]) == (None, {})


Rows = tuple[dict[str, Any], Choices]


def suite_of(rows: dict[str, Rows]) -> dict[str, Any] | None:
    return suite_average({name: task_metrics(*found) for name, found in rows.items()}, rows)


def about_and_rows(rights: list[bool], primary: str = "acc_raw", **about: str) -> Rows:
    return ABOUT | {"primary_metric": primary} | about, right_and_wrong(rights)


def test_the_suite_average_is_the_mean_of_primary_metrics() -> None:
    tasks = {"a": about_and_rows([True] * 30 + [False] * 10), "b": about_and_rows([True] * 10 + [False] * 10)}
    suite = suite_of(tasks | {"c": about_and_rows([True] * 20, "bits_per_byte")})
    assert suite is not None
    assert suite["tasks"] == ["a", "b"]
    assert suite["value"] == 0.625
    assert suite["standard_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 39 + 0.25 / 19) / 2)
    assert suite["low"] < 0.625 < suite["high"]
    short = suite_of(tasks | {"d": about_and_rows([True] * 3)})
    assert short is not None
    assert (short["low"], short["method"]) == (None, "none: d has none")
    assert suite_of({"a": tasks["a"]}) is None


def test_tasks_on_the_same_questions_are_not_independent_in_the_suite_average() -> None:
    rights = [True] * 30 + [False] * 10
    one = {"source_digest": "sha256:1"}
    twice = suite_of({name: about_and_rows(rights, **one) for name in "ab"})
    assert twice is not None
    assert twice["standard_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 39))  # as of one task alone
    apart = suite_of({name: about_and_rows(rights, source_digest=name) for name in "ab"})
    assert apart is not None
    assert apart["standard_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 39 / 2))
    third = suite_of(
        {name: about_and_rows(rights, **one) for name in "ab"} | {"c": about_and_rows(rights, source_digest="c")}
    )
    assert third is not None
    assert third["standard_error"] == pytest.approx(math.sqrt((4 + 1) * 0.75 * 0.25 / 39) / 3)
    certain = suite_of({name: about_and_rows([True] * 20, **one) for name in "ab"})
    assert certain is not None
    assert certain["low"] < 0.9 < certain["high"] == 1.0
