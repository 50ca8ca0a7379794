"""HellaSwag: the ending that people find sensible (Zellers et al. 2019, arXiv 1905.07830).

Its WikiHow part is full of marks in brackets, which every harness takes out, in one of two ways: where a full stop
precedes ``[title]``, Catwalk and lm-evaluation-harness leave two of them. Several items are cut from one video or
article, which is their cluster. Where the records are not at hand it is scored from its published requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..fields import Record, render_all, text_of
from ..task import Cloze, Hub, Letters, Task, Wording

TITLE = re.compile(r"\.? \[title\]")
BRACKETS = re.compile(r"\[.*?\]")


def clean(text: str) -> str:
    """The text without marks; a title begins a new sentence."""
    return unmarked(text.strip().replace(" [title]", ". "))


def clean_one_stop(text: str) -> str:
    """The same, and a full stop before a title is not doubled (OLMES)."""
    return unmarked(TITLE.sub(". ", text.strip()))


def unmarked(text: str) -> str:
    """What is in brackets taken out, and two spaces made one, once."""
    return BRACKETS.sub("", text).replace("  ", " ")


def context(record: Record) -> str:
    """Activity, and what has happened."""
    activity, before, begun = (text_of(record, key) for key in ("activity_label", "ctx_a", "ctx_b"))
    return f"{activity}: {before} {begun.capitalize()}"


def cloze(cleaning: Callable[[str], str]) -> Cloze:
    """The endings follow the context, each cleaned by itself."""
    return Cloze(
        context=lambda record: cleaning(context(record)),
        choices=lambda record: [cleaning(ending) for ending in render_all("endings", record)],
        gold="label",
    )


LETTERS = Letters(
    question=context, choices="endings", gold="label", lead="Choose the best continuation:\n", clean=clean_one_stop
)

HELLASWAG = Task(
    name="hellaswag",
    about="the sensible ending of a description",
    keep=("ind",),
    native_id="ind",
    cluster="{source_id}",
    published="rc_0shot_from_5shot",
    hub=Hub("Rowan/hellaswag", "default"),
    wordings={
        "olmo-paper": Wording(builder=cloze(clean), primary_metric="acc_per_token"),
        "olmo-inloop": Wording(builder=cloze(clean_one_stop), primary_metric="acc_per_char"),
        "olmo-v1-inloop": Wording(builder=cloze(clean), primary_metric="acc_per_char_bare"),
        "olmes-cf": Wording(builder=cloze(clean_one_stop), primary_metric="acc_per_char"),
        "olmes-mcf": Wording(builder=LETTERS, primary_metric="acc_raw"),
        "lm-eval": Wording(builder=cloze(clean), primary_metric="acc_per_char_bare"),
    },
)
