"""Records of the AI2 kind: ``choices`` = {text, label}, ``answerKey`` one of the labels ("A"… or "1"…)."""

from __future__ import annotations

from ..fields import Answer, Text
from ..task import Cloze, Letters

CHOICES = "choices.text"
ANSWER = Answer(field="answerKey", labels="choices.label")


def cloze(context: Text) -> Cloze:
    """The answers follow the context."""
    return Cloze(context=context, choices=CHOICES, gold=ANSWER)


def letters(question: Text, mark: str = " ") -> Letters:
    """The answers are listed, their letters follow."""
    return Letters(question=question, choices=CHOICES, gold=ANSWER, mark=mark)
