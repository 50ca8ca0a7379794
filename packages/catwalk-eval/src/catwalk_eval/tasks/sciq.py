"""SciQ: crowd-sourced science questions with a supporting paragraph (Welbl et al. 2017, arXiv 1707.06209).

The right answer always comes last, so the majority-class baseline is 100 %: it measures the order, not the data.
Where there is no paragraph, OLMo's older evaluators and lm-evaluation-harness begin with its line break nonetheless.
"""

from __future__ import annotations

from collections.abc import Callable

from ..fields import Record, text_of
from ..task import Cloze, Hub, Task, Wording

CHOICES = ("{distractor1}", "{distractor2}", "{distractor3}", "{correct_answer}")


def prompt(record: Record) -> str:
    """Paragraph and question."""
    return f"{text_of(record, 'support')}\nQuestion: {text_of(record, 'question')}\nAnswer:"


def cloze(context: Callable[[Record], str]) -> Cloze:
    """The dialects differ in the white space that they cut."""
    return Cloze(context=context, choices=CHOICES, gold=3, query="{question}")


STRIPPED = cloze(lambda record: prompt(record).strip())
SUPPORT_STRIPPED = cloze(lambda record: prompt({**record, "support": text_of(record, "support").strip()}))
SUPPORT_LEFT_STRIPPED = cloze(lambda record: prompt({**record, "support": text_of(record, "support").lstrip()}))

SCIQ = Task(
    name="sciq",
    about="science questions with a supporting paragraph",
    index="index",
    native_id="index",
    extra=lambda record: {"source": record["support"]},
    cluster="{support}",
    hub=Hub("allenai/sciq", "default", {"validation": "validation", "test": "test", "train": "train"}),
    wordings={
        "olmo-paper": Wording(builder=STRIPPED, primary_metric="acc_raw"),
        "olmo-inloop": Wording(builder=STRIPPED, primary_metric="acc_raw"),
        "olmo-v1-inloop": Wording(builder=SUPPORT_STRIPPED, primary_metric="acc_raw"),
        "lm-eval": Wording(builder=SUPPORT_LEFT_STRIPPED, primary_metric="acc_per_char_bare", split="test"),
    },
)
