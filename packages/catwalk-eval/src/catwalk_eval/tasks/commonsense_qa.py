"""CommonsenseQA: five answers drawn from one neighbourhood of ConceptNet (Talmor et al. 2019, arXiv 1811.00937).

Questions were written in groups around a source concept, which is their cluster. lm-evaluation-harness has the
lettered form alone.
"""

from __future__ import annotations

from ..fields import Record, text_of
from ..prompts import QUESTION
from ..task import Hub, Task, Wording
from .lettered import cloze, letters

CLOZE = cloze(QUESTION)


def stripped(record: Record) -> str:
    """The question without white space around it."""
    return f"Question: {text_of(record, 'question').strip()}"


COMMONSENSE_QA = Task(
    name="csqa",
    aliases=("commonsense_qa",),
    about="everyday knowledge, five answers",
    keep=("id",),
    native_id="id",
    cluster="{question_concept}",
    hub=Hub("tau/commonsense_qa", "default"),
    wordings={
        "olmo-paper": Wording(builder=CLOZE, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=CLOZE, primary_metric="acc_per_char"),
        "olmo-v1-inloop": Wording(builder=CLOZE, primary_metric="acc_per_char_bare"),
        "olmes-cf": Wording(builder=CLOZE, primary_metric="acc_uncond"),
        "olmes-mcf": Wording(builder=letters("Question: {question}"), primary_metric="acc_raw"),
        "lm-eval": Wording(builder=letters(stripped, mark=""), primary_metric="acc_raw"),
    },
)
