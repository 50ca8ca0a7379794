"""Social IQa: what people feel, want and do (Sap et al. 2019, arXiv 1904.09728).

Several questions were asked about one event, which is their cluster.
"""

from __future__ import annotations

from ..fields import Answer
from ..task import Cloze, Hub, Letters, Task, Wording

ANSWERS = ("{answerA}", "{answerB}", "{answerC}")
GOLD = Answer(field="label", start=1)
QUESTION = Cloze(context="Question: {context} {question}\nAnswer:", choices=ANSWERS, gold=GOLD)
SHORT = Cloze(context="Q: {context} {question}\nA:", choices=ANSWERS, gold=GOLD)
LETTERS = Letters(question="Question: {context} {question}", choices=ANSWERS, gold=GOLD)

SOCIAL_IQA = Task(
    name="socialiqa",
    aliases=("social_iqa", "siqa"),
    about="what people feel, want and do",
    index="index",
    native_id="index",
    cluster="{context}",
    hub=Hub("lighteval/siqa", "default"),
    wordings={
        "olmo-paper": Wording(builder=QUESTION, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=QUESTION, primary_metric="acc_per_char"),
        "olmo-v1-inloop": Wording(builder=QUESTION, primary_metric="acc_per_char_bare"),
        "olmes-cf": Wording(builder=QUESTION, primary_metric="acc_per_char"),
        "olmes-mcf": Wording(builder=LETTERS, primary_metric="acc_raw"),
        "lm-eval": Wording(builder=SHORT, primary_metric="acc_raw"),
    },
)
