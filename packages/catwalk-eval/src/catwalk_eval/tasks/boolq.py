"""BoolQ: yes/no questions about a passage (Clark et al. 2019, arXiv 1905.10044).

The dumps were made from SuperGLUE's edition, whose ``passage`` begins with the article's title
("Ethanol fuel -- All biomass …"); a record is used as it is, so its edition decides.
"""

from __future__ import annotations

from ..prompts import question
from ..task import Cloze, Record, Task, Wording


def context(record: Record) -> str:
    """Passage and question; the data set's questions lack their question mark."""
    return f"{record['passage']}\n{question(record['question'] + '?')}"


BOOLQ = Task(
    name="boolq",
    about="yes/no questions about a passage",
    keep=(),
    index="idx",
    native_id="idx",
    unconditional=False,
    wordings={
        "olmo-paper": Wording(
            builder=Cloze(context=context, choices=lambda _: ("no", "yes"), gold=lambda record: int(record["answer"])),
            primary_metric="acc_raw",
        ),
        "olmo-inloop": Wording(
            builder=Cloze(
                context=context, choices=lambda _: ("yes", "no"), gold=lambda record: int(not record["answer"])
            ),
            primary_metric="acc_raw",
        ),
    },
)
