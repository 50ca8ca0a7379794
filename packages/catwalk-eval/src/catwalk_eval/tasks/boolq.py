"""BoolQ: yes/no questions about a passage (Clark et al. 2019, arXiv 1905.10044).

The dumps and Catwalk take SuperGLUE's edition, whose ``passage`` begins with the article's title ("Ethanol fuel --
All biomass …") and whose answer is ``label``; a record is used as it is, so its edition decides. The data set's
questions lack their question mark.
"""

from __future__ import annotations

from ..fields import Record
from ..task import Cloze, Hub, Letters, Task, Wording

CONTEXT = "{passage}\nQuestion: {question}?\nAnswer:"
ASKED = "{passage}\nQuestion: {question}?"


def yes(record: Record) -> int:
    """1 for yes, 0 for no, in either edition."""
    answer = record["answer"] if "answer" in record else record["label"]
    if answer not in (0, 1):
        raise ValueError(f"the answer is {answer!r}, neither true nor false")
    return int(answer)


NO_YES = Cloze(context=CONTEXT, choices=("no", "yes"), gold=yes)
YES_NO = Cloze(context=CONTEXT, choices=("yes", "no"), gold=lambda record: 1 - yes(record))
LETTERS = Letters(question=ASKED, choices=("yes", "no"), gold=lambda record: 1 - yes(record))

BOOLQ = Task(
    name="boolq",
    about="yes/no questions about a passage",
    keep=(),
    index="idx",
    native_id="idx",
    unconditional=False,
    cluster="{passage}",
    hub=Hub("aps/super_glue", "boolq"),
    wordings={
        "olmo-paper": Wording(builder=NO_YES, primary_metric="acc_raw"),
        "olmo-inloop": Wording(builder=YES_NO, primary_metric="acc_raw"),
        "olmo-v1-inloop": Wording(builder=YES_NO, primary_metric="acc_raw"),
        "olmes-cf": Wording(builder=YES_NO, primary_metric="acc_raw"),
        "olmes-mcf": Wording(builder=LETTERS, primary_metric="acc_raw"),
        "lm-eval": Wording(builder=NO_YES, primary_metric="acc_raw"),
    },
)
