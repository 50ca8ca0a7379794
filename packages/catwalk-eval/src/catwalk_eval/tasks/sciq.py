"""SciQ: crowd-sourced science questions with a supporting paragraph (Welbl et al. 2017, arXiv 1707.06209).

The right answer always comes last, so the majority-class baseline is 100 %: it measures the order, not the data.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..prompts import question
from ..task import Cloze, Record, Task, Wording


def choices(record: Record) -> Sequence[str]:
    """The distractors, then the right answer."""
    return [record[key] for key in ("distractor1", "distractor2", "distractor3", "correct_answer")]


BUILDER = Cloze(
    context=lambda record: f"{record['support']}\n{question(record['question'])}".strip(),
    choices=choices,
    gold=lambda _: 3,
    query=lambda record: str(record["question"]),
)

SCIQ = Task(
    name="sciq",
    about="science questions with a supporting paragraph",
    index="index",
    native_id="index",
    extra=lambda record: {"source": record["support"]},
    wordings={
        "olmo-paper": Wording(builder=BUILDER, primary_metric="acc_raw"),
        "olmo-inloop": Wording(builder=BUILDER, primary_metric="acc_raw"),
    },
)
