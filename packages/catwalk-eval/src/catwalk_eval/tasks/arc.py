"""AI2 Reasoning Challenge: grade-school science questions (Clark et al. 2018, arXiv 1803.05457)."""

from __future__ import annotations

from ..prompts import QUESTION
from ..task import Hub, Task, Wording
from .lettered import cloze, letters

CLOZE, LETTERS = cloze(QUESTION), letters("Question: {question}")
SPLITS = {"validation": "validation", "test": "test", "train": "train"}

ARC_EASY = Task(
    name="arc_easy",
    about="grade-school science questions, easy part",
    keep=("id",),
    native_id="id",
    hub=Hub("allenai/ai2_arc", "ARC-Easy", SPLITS),
    wordings={
        "olmo-paper": Wording(builder=CLOZE, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=CLOZE, primary_metric="acc_raw"),
        "olmo-v1-inloop": Wording(builder=CLOZE, primary_metric="acc_raw"),
        "olmes-cf": Wording(builder=CLOZE, primary_metric="acc_per_char", split="test"),
        "olmes-mcf": Wording(builder=LETTERS, primary_metric="acc_raw", split="test"),
        "lm-eval": Wording(builder=CLOZE, primary_metric="acc_per_char_bare", split="test"),
    },
)

ARC_CHALLENGE = Task(
    name="arc_challenge",
    about="grade-school science questions that word statistics fail on",
    keep=("id",),
    native_id="id",
    hub=Hub("allenai/ai2_arc", "ARC-Challenge", SPLITS),
    wordings={
        "olmo-paper": Wording(builder=CLOZE, primary_metric="acc_uncond"),
        "olmo-inloop": Wording(builder=CLOZE, primary_metric="acc_per_char"),
        "olmo-v1-inloop": Wording(builder=CLOZE, primary_metric="acc_per_char_bare"),
        "olmes-cf": Wording(builder=CLOZE, primary_metric="acc_uncond", split="test"),
        "olmes-mcf": Wording(builder=LETTERS, primary_metric="acc_raw", split="test"),
        "lm-eval": Wording(builder=CLOZE, primary_metric="acc_per_char_bare", split="test"),
    },
)
