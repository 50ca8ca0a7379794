"""PIQA: which of two ways to do something works (Bisk et al. 2020, arXiv 1911.11641)."""

from __future__ import annotations

from ..task import Cloze, Hub, Letters, Task, Wording

WAYS = ("{sol1}", "{sol2}")
QUESTION = Cloze(context="Question: {goal}\nAnswer:", choices=WAYS, gold="label")
GOAL = Cloze(context="Goal: {goal}\nAnswer:", choices=WAYS, gold="label")

PIQA = Task(
    name="piqa",
    about="which of two ways to do something works",
    index="index",
    native_id="index",
    hub=Hub("baber/piqa", "default"),
    wordings={
        "olmo-paper": Wording(builder=QUESTION, primary_metric="acc_per_token"),
        "olmo-inloop": Wording(builder=GOAL, primary_metric="acc_per_char"),
        "olmo-v1-inloop": Wording(builder=QUESTION, primary_metric="acc_per_char_bare"),
        "olmes-cf": Wording(builder=GOAL, primary_metric="acc_per_char"),
        "olmes-mcf": Wording(
            builder=Letters(question="Goal: {goal}", choices=WAYS, gold="label"), primary_metric="acc_raw"
        ),
        "lm-eval": Wording(builder=QUESTION, primary_metric="acc_per_char_bare"),
    },
)
