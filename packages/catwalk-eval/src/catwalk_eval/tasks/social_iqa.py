"""Social IQa: what people feel, want and do (Sap et al. 2019, arXiv 1904.09728)."""

from __future__ import annotations

from ..prompts import question
from ..task import Cloze, Task, Wording

BUILDER = Cloze(
    context=lambda record: question(f"{record['context']} {record['question']}"),
    choices=lambda record: (record["answerA"], record["answerB"], record["answerC"]),
    gold=lambda record: int(record["label"]) - 1,
)

SOCIAL_IQA = Task(
    name="socialiqa",
    about="what people feel, want and do",
    index="index",
    native_id="index",
    wordings={
        "olmo-paper": Wording(builder=BUILDER, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=BUILDER, primary_metric="acc_per_char"),
    },
)
