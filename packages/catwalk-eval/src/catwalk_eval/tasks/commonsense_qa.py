"""CommonsenseQA: five answers drawn from one neighbourhood of ConceptNet (Talmor et al. 2019, arXiv 1811.00937)."""

from __future__ import annotations

from ..prompts import question
from ..task import Cloze, Task, Wording
from .lettered import answer_index, choice_texts

BUILDER = Cloze(context=lambda record: question(record["question"]), choices=choice_texts, gold=answer_index)

COMMONSENSE_QA = Task(
    name="csqa",
    about="everyday knowledge, five answers",
    keep=("id",),
    native_id="id",
    wordings={
        "olmo-paper": Wording(builder=BUILDER, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=BUILDER, primary_metric="acc_per_char"),
    },
)
