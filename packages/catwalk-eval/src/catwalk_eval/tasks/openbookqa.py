"""OpenBookQA: elementary science with a fact to be known (Mihaylov et al. 2018, arXiv 1809.02789)."""

from __future__ import annotations

from ..prompts import question
from ..task import Cloze, Task, Wording
from .lettered import answer_index, choice_texts

OPENBOOKQA = Task(
    name="openbookqa",
    about="elementary science questions",
    keep=("id",),
    native_id="id",
    wordings={
        "olmo-paper": Wording(
            builder=Cloze(context=lambda record: str(record["question_stem"]), choices=choice_texts, gold=answer_index),
            primary_metric="acc_uncond",
        ),
        "olmo-inloop": Wording(
            builder=Cloze(
                context=lambda record: question(record["question_stem"]), choices=choice_texts, gold=answer_index
            ),
            primary_metric="acc_per_char",
        ),
    },
)
