"""MMLU: questions of 57 subjects (Hendrycks et al. 2021, arXiv 2009.03300), as cloze and with letters.

Examples are the subject's own development questions in their order. Sources: the harnesses' ``hendrycks_test``
(olmo-paper), OLMES ``mmlu_std`` (olmes-*, olmo-inloop), class ``MMLU`` of OLMo's evaluators (its variants ``inst+N``;
without examples the bare question), ``mmlu`` and ``mmlu_continuation`` of lm-evaluation-harness.
"""

from __future__ import annotations

from collections.abc import Callable

from ..fields import Record, text_of
from ..task import Cloze, Hub, Letters, Task, Wording


def about(template: str) -> Callable[[Record], str]:
    """A first line with the subject in words."""
    return lambda record: template.format(subject=text_of(record, "subject").replace("_", " "))


def asked(before: str) -> Callable[[Record], str]:
    """The question without white space around it."""
    return lambda record: before + text_of(record, "question").strip()


QUESTIONS = about("The following are multiple choice questions (with answers) about {subject}.\n\n")
QUESTIONS_COLON = about("The following are multiple choice questions (with answers) about {subject}:\n\n")
CONTINUATIONS = about("The following are questions (with answers) about {subject}.\n\n")
SPLITS = {"validation": "validation", "test": "test", "dev": "dev"}

CLOZE = Cloze(context=lambda record: asked("Question: ")(record) + "\nAnswer:", choices="choices", gold="answer")
LETTERS = Letters(question=asked("Question: "), choices="choices", gold="answer")
PLAIN = Letters(question=asked(""), choices="choices", gold="answer", mark="")

MMLU_RC = Task(
    name="mmlu_rc",
    folder="mmlu",
    about="questions of 57 subjects, the answer as text",
    keep=(),
    index="index",
    native_id="index",
    extra=lambda record: {"domain": record["subject"]},
    domain="{subject}",
    cluster="{subject}",
    hub=Hub("cais/mmlu", "all", SPLITS),
    wordings={
        "olmo-inloop": Wording(builder=CLOZE, primary_metric="acc_per_char", description=QUESTIONS, shots="first"),
        "olmo-v1-inloop": Wording(
            builder=CLOZE, primary_metric="acc_per_char_bare", description=QUESTIONS_COLON, shots="first",
            description_with_shots_only=True,
        ),
        "olmes-cf": Wording(
            builder=CLOZE, primary_metric="acc_per_char", description=QUESTIONS, shots="first", split="test"
        ),
        "lm-eval": Wording(
            builder=CLOZE, primary_metric="acc_raw", description=CONTINUATIONS, shots="first", split="test"
        ),
    },
)  # fmt: skip

MMLU_MC = Task(
    name="mmlu_mc",
    folder="mmlu",
    about="questions of 57 subjects, the answer as letter",
    keep=(),
    index="index",
    native_id="index",
    extra=lambda record: {"domain": record["subject"]},
    domain="{subject}",
    cluster="{subject}",
    hub=Hub("cais/mmlu", "all", SPLITS),
    wordings={
        "olmo-paper": Wording(builder=PLAIN, primary_metric="acc_raw", description=QUESTIONS, shots="first"),
        "olmo-inloop": Wording(builder=LETTERS, primary_metric="acc_raw", description=QUESTIONS, shots="first"),
        "olmo-v1-inloop": Wording(
            builder=PLAIN, primary_metric="acc_raw", description=QUESTIONS_COLON, shots="first",
            description_with_shots_only=True,
        ),
        "olmes-mcf": Wording(
            builder=LETTERS, primary_metric="acc_raw", description=QUESTIONS, shots="first", split="test"
        ),
        "lm-eval": Wording(builder=PLAIN, primary_metric="acc_raw", description=QUESTIONS, shots="first", split="test"),
    },
)  # fmt: skip
