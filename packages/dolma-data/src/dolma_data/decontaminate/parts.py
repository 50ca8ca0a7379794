"""What an item of an evaluation consists of: each part is looked for by itself, since a leak need not hold them all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

QUESTION, PASSAGE, ANSWER, CHOICE = "question", "passage", "answer", "choice"
WHOLE, PROMPT = "whole", "prompt"
TOGETHER = (WHOLE, PROMPT)  # more than one part; the others are judged by themselves
LABEL = r"[^\W\d_]+:"  # "Question:", "Goal:", "Answer:", as prompts put them around an item
FRAME = re.compile(rf"\A\s*{LABEL}\s+|\n\s*{LABEL}\s*\Z")
ASKED = re.compile(rf"\n\s*{LABEL}\s+(?=\S)")  # between a passage and what is asked about it

Part = tuple[str, str]  # name and text


def parts_of_query(query: str) -> Iterator[Part]:
    """``question`` (with the passage, if there is one), and of a query with a passage both by themselves.

    Labels of prompts are left out: a copy of the item elsewhere does not have them.
    """
    bare = FRAME.sub("", query).strip()
    pieces = [piece.strip() for piece in ASKED.split(bare)]
    yield QUESTION, pieces[-1]
    if len(pieces) > 1:
        yield PASSAGE, "\n".join(pieces[:-1])


def parts_of_request(query: str, continuation: str, right: bool) -> Iterator[Part]:
    """Parts of a question with one of its answers, which is the ``right`` one or a wrong choice."""
    found = list(parts_of_query(query))
    yield from found
    yield ANSWER if right else CHOICE, continuation.strip()
    if right:
        yield WHOLE, "\n".join(text for _, text in [*found[1:], found[0]]) + " " + continuation.strip()
        yield PROMPT, query + continuation


def parts_of_fields(fields: dict[str, Any]) -> Iterator[Part]:
    """Parts of an item as data sets hold it: ``question``, and ``answer`` (a text, or a number among ``choices``)."""
    question = fields["question"]
    listed = fields.get("choices")
    choices = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    answer = fields.get("answer")
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        answer = choices.pop(answer)
    yield QUESTION, question
    if isinstance(answer, str):
        yield ANSWER, answer
        yield WHOLE, f"{question} {answer}"
    for choice in choices:
        yield CHOICE, choice
