"""What a task is: a declaration over three request builders.

A builder turns a source record into an :class:`Instance`: one (context, continuation) pair per choice. Three kinds
cover rank classification: :class:`Cloze` (one context, the choices follow it), :class:`Letters` (the choices stand in
the context, their letters follow it) and :class:`TwoContexts` (several contexts, one continuation, as WinoGrande
needs; Trinh & Le 2018, arXiv 1806.02847, "partial" scoring).
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .fields import Gold, Record, Text, Texts, render, render_all, right_choice
from .prompts import DIALECTS, UNCONDITIONAL_CONTEXT

UNCONDITIONAL_OFFSET = 1_000_000  # the published dumps number the unconditional twin of instance i so
LONGEST_NAME = 80  # characters of a cluster's name; a longer text is named by its digest
VALIDATION = "validation"


@dataclass(frozen=True)
class Instance:
    """One question: ``contexts[i]`` and ``continuations[i]`` belong to choice ``i``; ``label`` is the right one."""

    doc_id: int
    native_id: str | int | None
    doc: Mapping[str, Any]
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    label: int
    domain: str | None = None
    """Part of the task that it belongs to: its subject."""
    cluster: str | None = None
    """What it shares with other instances, so that they are not independent: a passage, a source context."""

    @property
    def one_continuation(self) -> bool:
        """Whether only the contexts differ, so that nothing can be normalised by the choice's own probability."""
        return len(set(self.contexts)) > 1 and len(set(self.continuations)) == 1


@dataclass(frozen=True)
class Built:
    """What a builder makes of a record: keys that it adds to ``doc``, and a context and continuation per choice."""

    doc: Mapping[str, Any]
    contexts: Sequence[str]
    continuations: Sequence[str]
    label: int


class Builder(Protocol):
    """A way to word a record; a missing field is a KeyError, a wrong value a ValueError."""

    def build(self, record: Record) -> Built: ...


@dataclass(frozen=True, kw_only=True)
class Cloze:
    """One context, one continuation per choice; a choice gets one leading space."""

    context: Text
    choices: Texts
    gold: Gold
    query: Text | None = None
    """What ``doc.query`` records where it is not the context itself."""
    own_space: bool = False
    """A choice that begins with white space of its own keeps it and gets no space before it."""

    def build(self, record: Record) -> Built:
        context, choices = render(self.context, record), render_all(self.choices, record)
        gold = right_choice(self.gold, record)
        query = context if self.query is None else render(self.query, record)
        continuations = [choice if self.own_space and choice[:1].isspace() else " " + choice for choice in choices]
        return Built({"query": query, "choices": choices, "gold": gold}, [context] * len(choices), continuations, gold)


@dataclass(frozen=True, kw_only=True)
class Letters:
    """The choices are listed in the context, one a line after its letter; the letter is what is scored.

    ``mark`` begins such a line. The space that it begins with in OLMES makes the letter the token it is in the answer.
    """

    question: Text
    choices: Texts
    gold: Gold
    lead: str = ""
    """A line before the list, with its line break."""
    mark: str = " "
    clean: Callable[[str], str] = str
    """What is done to the whole prompt."""

    def build(self, record: Record) -> Built:
        choices, gold = render_all(self.choices, record), right_choice(self.gold, record)
        if len(choices) > len(string.ascii_uppercase):
            raise ValueError(f"{len(choices)} choices are more than there are letters")
        letters = list(string.ascii_uppercase[: len(choices)])
        for number, choice in enumerate(choices):
            check_not_empty(choice, number)
        lines = "".join(f"{self.mark}{letter}. {choice}\n" for letter, choice in zip(letters, choices, strict=True))
        context = self.clean(f"{render(self.question, record)}\n{self.lead}{lines}Answer:")
        return Built(
            {"query": context, "choices": letters, "gold": gold},
            [context] * len(choices),
            [" " + letter for letter in letters],
            gold,
        )


@dataclass(frozen=True, kw_only=True)
class TwoContexts:
    """A sentence with a gap: each option fills it to make a context, the rest of the sentence is scored."""

    sentence: Text
    options: Texts
    gold: Gold
    gap: str = "_"

    def build(self, record: Record) -> Built:
        before, gap, after = render(self.sentence, record).partition(self.gap)
        if not gap:
            raise ValueError(f"the sentence has no {self.gap!r}")
        if not after.strip():
            raise ValueError(f"nothing follows the {self.gap!r} of the sentence")
        options = render_all(self.options, record)
        for number, option in enumerate(options):
            check_not_empty(option, number)
        rest = " " + after.strip()
        return Built(
            {}, [before + option for option in options], [rest] * len(options), right_choice(self.gold, record)
        )


def check_not_empty(choice: str, number: int) -> None:
    """A choice without a visible character is a ValueError."""
    if not choice.strip():
        raise ValueError(f"choice {number} is empty")


@dataclass(frozen=True, kw_only=True)
class Wording:
    """A task in one dialect: its builder, and the metric and split that the dialect's authors report."""

    builder: Builder
    primary_metric: str
    split: str = VALIDATION
    description: Text = ""
    """What stands before the examples and the question, with its line breaks."""
    description_with_shots_only: bool = False
    shots: str | None = None
    """How examples are chosen unless the user says: ``first`` or ``seed``; None leaves it to the dialect."""
    positive: int | None = None
    """The choice that counts as positive in F1."""


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub: ``splits`` of ours by their names there."""

    name: str
    config: str
    splits: Mapping[str, str] = field(default_factory=lambda: {"validation": "validation", "train": "train"})


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: what its records hold (``keep``, ``index``, ``native_id``) and its wording in each dialect."""

    name: str
    about: str
    wordings: Mapping[str, Wording]
    aliases: tuple[str, ...] = ()
    """Other names that it, and its folder, may have."""
    folder: str | None = None
    """The folder of its data, where another task shares it."""
    hub: Hub | None = None
    keep: tuple[str, ...] | None = None
    """Fields of the record that a request's ``doc`` keeps; None keeps all."""
    index: str | None = None
    """Key under which ``doc`` records the row number."""
    native_id: str | None = None
    """Key of ``doc`` that identifies the instance."""
    unconditional: bool = True
    """Whether requests with the unconditional context are written too."""
    extra: Callable[[Record], Mapping[str, Any]] | None = None
    """Further keys of ``doc``."""
    domain: Text | None = None
    """Part of the task that a record belongs to; examples come from the same one."""
    cluster: Text | None = None
    """What a record shares with others: its passage, its source; where a field is missing, nothing."""
    shots_file: str | None = None
    """A file of examples that the task itself names."""
    published: str | None = None
    """Folder of its published requests, scored where the records are not at hand."""

    def instance(self, record: Record, row: int, dialect: str, shots: str = "") -> Instance:
        """Build row number ``row`` after the examples ``shots``.

        A missing field is a KeyError, a wrong value a ValueError.
        """
        head = dict(record) if self.keep is None else {key: record[key] for key in self.keep}
        if self.index is not None:
            head[self.index] = row
        if self.extra is not None:
            head |= self.extra(record)
        wording = self.wordings[dialect]
        built = checked(wording.builder.build(record))
        opening = shots
        if wording.description and (shots or not wording.description_with_shots_only):
            opening = render(wording.description, record) + shots
        doc = {**head, **built.doc}
        return Instance(
            doc_id=row,
            native_id=None if self.native_id is None else doc[self.native_id],
            doc=doc,
            contexts=tuple(opening + context for context in built.contexts),
            continuations=tuple(built.continuations),
            label=built.label,
            domain=None if self.domain is None else render(self.domain, record),
            cluster=self.cluster_of(record),
        )

    def cluster_of(self, record: Record) -> str | None:
        """The name of what the record shares with others."""
        if self.cluster is None:
            return None
        try:
            text = render(self.cluster, record)
        except KeyError:
            return None
        if len(text) <= LONGEST_NAME:
            return text or None
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16]

    def shot(self, record: Record, dialect: str) -> str:
        """The record as an example: its context, its right answer, the separator."""
        built, style = checked(self.wordings[dialect].builder.build(record)), DIALECTS[dialect]
        context, answer = built.contexts[built.label], built.continuations[built.label]
        if style.strip_shots:
            context, answer = context.strip() + " ", answer.strip()
        return context + answer + style.separator


def checked(built: Built) -> Built:
    """``built`` itself; a right answer that is no choice, or an empty choice, is a ValueError."""
    if not built.contexts:
        raise ValueError("there are no choices")
    if not 0 <= built.label < len(built.contexts):
        raise ValueError(f"the right answer {built.label} is none of the {len(built.contexts)} choices")
    for number, continuation in enumerate(built.continuations):
        check_not_empty(continuation, number)
    return built


def request_rows(instance: Instance, task: str, *, unconditional: bool) -> list[dict[str, Any]]:
    """Rows of the text form, one per choice, keys in the order of the published dumps."""
    number = instance.doc_id + UNCONDITIONAL_OFFSET if unconditional else instance.doc_id
    return [
        {
            "request_type": "loglikelihood",
            "doc": instance.doc,
            "request": {
                "context": UNCONDITIONAL_CONTEXT if unconditional else context,
                "continuation": continuation,
            },
            "idx": idx,
            "task_name": task,
            "doc_id": number,
            "native_id": instance.native_id,
            "label": instance.label,
        }
        for idx, (context, continuation) in enumerate(zip(instance.contexts, instance.continuations, strict=True))
    ]
