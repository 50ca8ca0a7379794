"""Choice of Plausible Alternatives: cause or effect of an event (Roemmele et al. 2011).

In lm-evaluation-harness a choice begins with a space of its own and gets the usual one before it: two spaces.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..fields import Record, text_of
from ..task import Cloze, Hub, Task, Wording

CONNECTIVE = {"cause": "because", "effect": "therefore"}


def context(record: Record) -> str:
    """The premise without its full stop, and the connective that the question asks for."""
    asked = text_of(record, "question")
    if asked not in CONNECTIVE:
        raise ValueError(f"question is {asked!r}, neither cause nor effect")
    return f"{text_of(record, 'premise').strip()[:-1]} {CONNECTIVE[asked]}"


def choices(record: Record) -> Sequence[str]:
    """Both alternatives with their first letter in lower case, since they go on in the sentence."""
    return [text[:1].lower() + text[1:] for text in (text_of(record, "choice1"), text_of(record, "choice2"))]


def spaced(record: Record) -> Sequence[str]:
    """The same after a space."""
    return [" " + choice if choice else choice for choice in choices(record)]


ONE_SPACE = Cloze(context=context, choices=choices, gold="label")
TWO_SPACES = Cloze(context=context, choices=spaced, gold="label")

COPA = Task(
    name="copa",
    about="the more plausible cause or effect",
    native_id="idx",
    hub=Hub("aps/super_glue", "copa"),
    wordings={
        "olmo-paper": Wording(builder=ONE_SPACE, primary_metric="acc_raw"),
        "olmo-inloop": Wording(builder=ONE_SPACE, primary_metric="acc_raw"),
        "olmo-v1-inloop": Wording(builder=ONE_SPACE, primary_metric="acc_raw"),
        "lm-eval": Wording(builder=TWO_SPACES, primary_metric="acc_raw"),
    },
)
