"""AI2 Reasoning Challenge: grade-school science questions (Clark et al. 2018, arXiv 1803.05457)."""

from __future__ import annotations

from ..prompts import question
from ..task import Cloze, Task, Wording
from .lettered import answer_index, choice_texts

BUILDER = Cloze(context=lambda record: question(record["question"]), choices=choice_texts, gold=answer_index)

ARC_EASY = Task(
    name="arc_easy",
    about="grade-school science questions, easy part",
    keep=("id",),
    native_id="id",
    wordings={
        "olmo-paper": Wording(builder=BUILDER, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=BUILDER, primary_metric="acc_raw"),
    },
)

ARC_CHALLENGE = Task(
    name="arc_challenge",
    about="grade-school science questions that word statistics fail on",
    keep=("id",),
    native_id="id",
    wordings={
        "olmo-paper": Wording(builder=BUILDER, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=BUILDER, primary_metric="acc_per_char"),
    },
)
