"""Records of the AI2 kind: ``choices`` = {text, label}, ``answerKey`` one of the labels ("A"… or "1"…)."""

from __future__ import annotations

from collections.abc import Sequence

from ..task import Record


def choice_texts(record: Record) -> Sequence[str]:
    """The answers in the order of the record."""
    texts: Sequence[str] = record["choices"]["text"]
    return texts


def answer_index(record: Record) -> int:
    """Position of ``answerKey`` among the labels; ValueError where it is none of them."""
    labels: list[str] = list(record["choices"]["label"])
    return labels.index(record["answerKey"])
