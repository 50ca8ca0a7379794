"""Examinations and word problems: HEAD-QA (Vilares & Gómez-Rodríguez 2019, arXiv 1906.04701), LogiQA (Liu et al. 2020,
arXiv 2007.08124), MathQA (Amini et al. 2019, arXiv 1905.13319).

Prompts: ``headqa.py``, ``logiqa.py``, ``mathqa.py`` of the lm-evaluation-harness that allenai/catwalk vendors, scored
as in Catwalk's ``tasks_lm.py`` (olmo-paper); lm-evaluation-harness 0.4.13 words them the same.
"""

from __future__ import annotations

import re

from ..fields import Answer, Record, render_all, text_of
from ..prompts import QUESTION
from ..task import Cloze, Hub, Task, Wording

SPLITS = {"validation": "validation", "test": "test", "train": "train"}
BARE = "acc_per_char_bare"

HEALTH = Cloze(context="Question: {qtext}\nAnswer:", choices="answers.atext", gold=Answer(field="ra", start=1))

HEADQA_EN = Task(
    name="headqa_en",
    about="examinations for the Spanish health service, in English",
    keep=("qid",),
    index="index",
    native_id="index",
    hub=Hub("EleutherAI/headqa", "en", SPLITS),
    wordings={
        "olmo-paper": Wording(builder=HEALTH, primary_metric="acc_uncond"),
        "lm-eval": Wording(builder=HEALTH, primary_metric=BARE, split="test"),
    },
)


def listed(record: Record) -> str:
    """Passage, question and its options; the options themselves are scored, not their letters."""
    options = render_all("options", record)
    lines = "".join(f"{letter}. {option}\n" for letter, option in zip("ABCD", options, strict=False))
    passage, question = text_of(record, "context"), text_of(record, "question")
    return f"Passage: {passage}\nQuestion: {question}\nChoices:\n{lines}Answer:"


LOGIC = Cloze(context=listed, choices="options", gold=Answer(field="label", labels=("a", "b", "c", "d")))

LOGIQA = Task(
    name="logiqa",
    about="logical reasoning about a passage",
    index="index",
    native_id="index",
    cluster="{context}",
    hub=Hub("EleutherAI/logiqa", "logiqa", SPLITS),
    wordings={
        "olmo-paper": Wording(builder=LOGIC, primary_metric="acc_raw"),
        "lm-eval": Wording(builder=LOGIC, primary_metric=BARE, split="test"),
    },
)

OPTION = re.compile(r"[abcd] \) .*?, |e \) .*?$")


def options(record: Record) -> list[str]:
    """The options of ``a ) 38 , b ) 27.675 , …``; a comma in one ends it, as in the harnesses."""
    return [found[4:].rstrip(" ,") for found in OPTION.findall(text_of(record, "options"))]


NUMBERS = Cloze(
    context=QUESTION.replace("{question}", "{Problem}"),
    choices=options,
    gold=Answer(field="correct", labels=("a", "b", "c", "d", "e")),
)

MATHQA = Task(
    name="mathqa",
    about="word problems with numbers",
    index="index",
    native_id="index",
    hub=Hub("regisss/math_qa", "default", SPLITS),
    wordings={
        "olmo-paper": Wording(builder=NUMBERS, primary_metric="acc_per_token"),
        "lm-eval": Wording(builder=NUMBERS, primary_metric=BARE, split="test"),
    },
)
