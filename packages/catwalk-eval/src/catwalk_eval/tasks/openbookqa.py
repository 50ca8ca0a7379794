"""OpenBookQA: elementary science with a fact to be known (Mihaylov et al. 2018, arXiv 1809.02789)."""

from __future__ import annotations

from ..task import Hub, Task, Wording
from .lettered import cloze, letters

STEM = cloze("{question_stem}")
QUESTION = cloze("Question: {question_stem}\nAnswer:")

OPENBOOKQA = Task(
    name="openbookqa",
    aliases=("openbook_qa",),
    about="elementary science questions",
    keep=("id",),
    native_id="id",
    hub=Hub("allenai/openbookqa", "main", {"validation": "validation", "test": "test", "train": "train"}),
    wordings={
        "olmo-paper": Wording(builder=STEM, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=QUESTION, primary_metric="acc_per_char"),
        "olmo-v1-inloop": Wording(builder=STEM, primary_metric="acc_per_char_bare"),
        "olmes-cf": Wording(builder=QUESTION, primary_metric="acc_uncond", split="test"),
        "olmes-mcf": Wording(builder=letters("Question: {question_stem}"), primary_metric="acc_raw", split="test"),
        "lm-eval": Wording(builder=STEM, primary_metric="acc_per_char_bare", split="test"),
    },
)
