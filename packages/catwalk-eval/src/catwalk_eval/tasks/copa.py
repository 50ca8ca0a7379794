"""Choice of Plausible Alternatives: cause or effect of an event (Roemmele et al. 2011)."""

from __future__ import annotations

from collections.abc import Sequence

from ..task import Cloze, Record, Task, Wording

CONNECTIVE = {"cause": "because", "effect": "therefore"}


def context(record: Record) -> str:
    """The premise without its full stop, and the connective that the question asks for."""
    return f"{record['premise'].strip()[:-1]} {CONNECTIVE[record['question']]}"


def choices(record: Record) -> Sequence[str]:
    """Both alternatives with their first letter in lower case, since they go on in the sentence."""
    return [text[:1].lower() + text[1:] for text in (record["choice1"], record["choice2"])]


BUILDER = Cloze(context=context, choices=choices, gold=lambda record: int(record["label"]))

COPA = Task(
    name="copa",
    about="the more plausible cause or effect",
    native_id="idx",
    wordings={
        "olmo-paper": Wording(builder=BUILDER, primary_metric="acc_raw"),
        "olmo-inloop": Wording(builder=BUILDER, primary_metric="acc_raw"),
    },
)
