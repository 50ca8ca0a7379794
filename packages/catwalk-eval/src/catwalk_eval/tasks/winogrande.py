"""WinoGrande: whom a pronoun means (Sakaguchi et al. 2019, arXiv 1907.10641), scored on the rest of the sentence."""

from __future__ import annotations

from ..task import Task, TwoContexts, Wording

BUILDER = TwoContexts(
    sentence=lambda record: str(record["sentence"]),
    options=lambda record: (record["option1"], record["option2"]),
    gold=lambda record: int(record["answer"]) - 1,
)

WINOGRANDE = Task(
    name="winogrande",
    about="which of two names fills a gap",
    index="index",
    unconditional=False,
    wordings={
        "olmo-paper": Wording(builder=BUILDER, primary_metric="acc_per_token"),
        "olmo-inloop": Wording(builder=BUILDER, primary_metric="acc_raw"),
    },
)
