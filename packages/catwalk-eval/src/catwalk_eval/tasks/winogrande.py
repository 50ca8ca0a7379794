"""WinoGrande: whom a pronoun means (Sakaguchi et al. 2019, arXiv 1907.10641), scored on the rest of the sentence."""

from __future__ import annotations

from ..fields import Answer, Record, text_of
from ..task import Hub, Letters, Task, TwoContexts, Wording

OPTIONS = ("{option1}", "{option2}")
GOLD = Answer(field="answer", start=1)
SENTENCE = TwoContexts(sentence="{sentence}", options=OPTIONS, gold=GOLD)


def blank(record: Record) -> str:
    """The sentence with a longer gap."""
    return f"Fill in the blank: {text_of(record, 'sentence').replace('_', '___')}"


WINOGRANDE = Task(
    name="winogrande",
    about="which of two names fills a gap",
    index="index",
    unconditional=False,
    hub=Hub("allenai/winogrande", "winogrande_xl"),
    wordings={
        "olmo-paper": Wording(builder=SENTENCE, primary_metric="acc_per_token"),
        "olmo-inloop": Wording(builder=SENTENCE, primary_metric="acc_raw"),
        "olmo-v1-inloop": Wording(builder=SENTENCE, primary_metric="acc_raw"),
        "olmes-cf": Wording(builder=SENTENCE, primary_metric="acc_raw"),
        "olmes-mcf": Wording(builder=Letters(question=blank, choices=OPTIONS, gold=GOLD), primary_metric="acc_raw"),
        "lm-eval": Wording(builder=SENTENCE, primary_metric="acc_raw"),
    },
)
