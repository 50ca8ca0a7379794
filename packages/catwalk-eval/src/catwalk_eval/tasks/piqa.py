"""PIQA: which of two ways to do something works (Bisk et al. 2020, arXiv 1911.11641)."""

from __future__ import annotations

from collections.abc import Callable

from ..prompts import goal, question
from ..task import Cloze, Task, Wording


def builder(prompt: Callable[[str], str]) -> Cloze:
    """The two dialects differ in the word before the goal."""
    return Cloze(
        context=lambda record: prompt(record["goal"]),
        choices=lambda record: (record["sol1"], record["sol2"]),
        gold=lambda record: int(record["label"]),
    )


PIQA = Task(
    name="piqa",
    about="which of two ways to do something works",
    index="index",
    native_id="index",
    wordings={
        "olmo-paper": Wording(builder=builder(question), primary_metric="acc_per_token"),
        "olmo-inloop": Wording(builder=builder(goal), primary_metric="acc_per_char"),
    },
)
