from __future__ import annotations

from typing import Any

import pytest

from catwalk_eval.task import Cloze, TwoContexts, request_rows
from catwalk_eval.tasks import CORE, TASKS


def arc(key: str, labels: list[str]) -> dict[str, Any]:
    return {"id": "q1", "question": "Why?", "choices": {"text": ["a", "b", "c"], "label": labels}, "answerKey": key}


@pytest.mark.parametrize(("key", "labels"), [("C", ["A", "B", "C"]), ("3", ["1", "2", "3"])])
def test_arc_answer_keys_may_be_letters_or_digits(key: str, labels: list[str]) -> None:
    instance = TASKS["arc_easy"].instance(arc(key, labels), 7, "olmo-inloop")
    assert instance.contexts == ("Question: Why?\nAnswer:",) * 3
    assert instance.continuations == (" a", " b", " c")
    assert (instance.label, instance.doc_id, instance.native_id) == (2, 7, "q1")


def test_a_right_answer_that_is_no_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="the right answer 'D' is none of A, B, C"):
        TASKS["arc_easy"].instance(arc("D", ["A", "B", "C"]), 0, "olmo-inloop")
    record = {"goal": "g", "sol1": "a", "sol2": "b", "label": 2}
    with pytest.raises(ValueError, match="none of the 2 choices"):
        TASKS["piqa"].instance(record, 0, "olmo-inloop")


def test_dialects_differ_where_their_authors_do() -> None:
    piqa = {"goal": "open it", "sol1": "push", "sol2": "pull", "label": 1}
    assert TASKS["piqa"].instance(piqa, 0, "olmo-paper").contexts[0] == "Question: open it\nAnswer:"
    assert TASKS["piqa"].instance(piqa, 0, "olmo-inloop").contexts[0] == "Goal: open it\nAnswer:"
    book = {"id": "1", "question_stem": "Frogs eat", "choices": {"text": ["x"], "label": ["A"]}, "answerKey": "A"}
    assert TASKS["openbookqa"].instance(book, 0, "olmo-paper").contexts[0] == "Frogs eat"
    assert TASKS["openbookqa"].instance(book, 0, "olmo-inloop").contexts[0] == "Question: Frogs eat\nAnswer:"
    boolq = {"passage": "P.", "question": "is it so", "answer": True}
    paper, inloop = (TASKS["boolq"].instance(boolq, 0, dialect) for dialect in ("olmo-paper", "olmo-inloop"))
    assert (paper.continuations, paper.label) == ((" no", " yes"), 1)
    assert (inloop.continuations, inloop.label) == ((" yes", " no"), 0)
    assert paper.contexts[0] == inloop.contexts[0] == "P.\nQuestion: is it so?\nAnswer:"


def test_primary_metrics_of_the_paper_are_those_of_its_section_4() -> None:
    metrics = {task.name: task.wordings["olmo-paper"].primary_metric for task in CORE}
    assert [name for name in metrics if metrics[name] == "acc_per_token"] == ["hellaswag", "piqa", "winogrande"]
    assert [n for n in metrics if metrics[n] == "acc_uncond"] == ["arc_challenge", "arc_easy", "openbookqa"]
    assert [name for name in metrics if metrics[name] == "acc_raw"] == ["boolq", "copa", "sciq"]


def test_sciq_without_support_has_no_leading_line_break() -> None:
    record = {"question": "What?", "distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": "d"}
    bare = TASKS["sciq"].instance(record | {"support": ""}, 0, "olmo-paper")
    assert bare.contexts[0] == "Question: What?\nAnswer:"
    assert bare.label == 3
    full = TASKS["sciq"].instance(record | {"support": "S."}, 0, "olmo-paper")
    assert full.contexts[0] == "S.\nQuestion: What?\nAnswer:"


def test_copa_goes_on_in_the_sentence() -> None:
    record = {
        "premise": "It rained.",
        "choice1": "The road got wet.",
        "choice2": "I slept.",
        "question": "effect",
        "label": 0,
        "idx": 4,
    }
    instance = TASKS["copa"].instance(record, 0, "olmo-paper")
    assert instance.contexts[0] == "It rained therefore"
    assert instance.continuations == (" the road got wet.", " i slept.")
    assert instance.native_id == 4


def test_two_contexts_share_one_continuation() -> None:
    builder = TwoContexts(sentence=lambda r: r["s"], options=lambda r: r["o"], gold=lambda r: 0)
    built = builder.build({"s": "The _ was red . ", "o": ["cat", "dog"]})
    assert built.contexts == ["The cat", "The dog"]
    assert built.continuations == [" was red ."] * 2
    with pytest.raises(ValueError, match="has no '_'"):
        builder.build({"s": "no gap", "o": ["cat", "dog"]})
    record = {"sentence": "The _ ran.", "option1": "a", "option2": "b", "answer": "2"}
    assert TASKS["winogrande"].instance(record, 0, "olmo-paper").one_continuation


@pytest.mark.parametrize(
    ("choice", "continuation"), [("yes", " yes"), (" yes", " yes"), ("\n    return x", "\n    return x")]
)
def test_own_white_space_of_a_choice_gets_no_space_added(choice: str, continuation: str) -> None:
    builder = Cloze(context=lambda _: "C", choices=lambda _: [choice], gold=lambda _: 0, own_space=True)
    assert builder.build({}).continuations == [continuation]


def test_an_unconditional_twin_has_the_neutral_context_and_a_number_of_its_own() -> None:
    instance = TASKS["arc_easy"].instance(arc("A", ["A", "B", "C"]), 5, "olmo-inloop")
    row = request_rows(instance, "arc_easy", unconditional=True)[1]
    assert row["request"] == {"context": "Answer:", "continuation": " b"}
    assert (row["doc_id"], row["idx"], row["label"]) == (1_000_005, 1, 0)
