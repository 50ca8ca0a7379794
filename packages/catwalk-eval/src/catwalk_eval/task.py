"""What a task is: a declaration over two request builders.

A builder turns a source record into an :class:`Instance`: one (context, continuation) pair per choice. Two
kinds cover rank classification: :class:`Cloze` (one context, several continuations) and
:class:`TwoContexts` (several contexts, one continuation, as WinoGrande needs; Trinh & Le 2018,
arXiv 1806.02847, "partial" scoring).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .prompts import UNCONDITIONAL_CONTEXT

Record = Mapping[str, Any]
UNCONDITIONAL_OFFSET = 1_000_000  # the published dumps number the unconditional twin of instance i so


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

    @property
    def one_continuation(self) -> bool:
        """Whether only the contexts differ, so that nothing can be normalised by the choice's own probability."""
        return len(set(self.contexts)) > 1 and len(set(self.continuations)) == 1


@dataclass(frozen=True, kw_only=True)
class Cloze:
    """One context, one continuation per choice; a choice gets one leading space."""

    context: Callable[[Record], str]
    choices: Callable[[Record], Sequence[str]]
    gold: Callable[[Record], int]
    query: Callable[[Record], str] | None = None
    """What ``doc.query`` records where it is not the context itself."""
    own_space: bool = False
    """A choice that begins with white space of its own keeps it and gets no space before it."""

    def build(self, record: Record, head: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str], int]:
        """``(doc, contexts, continuations, label)`` of a record."""
        choices, gold, context = list(self.choices(record)), self.gold(record), self.context(record)
        query = context if self.query is None else self.query(record)
        doc = {**head, "query": query, "choices": choices, "gold": gold}
        continuations = [choice if self.own_space and choice[:1].isspace() else " " + choice for choice in choices]
        return doc, [context] * len(choices), continuations, gold


@dataclass(frozen=True, kw_only=True)
class TwoContexts:
    """A sentence with a gap: each option fills it to make a context, the rest of the sentence is scored."""

    sentence: Callable[[Record], str]
    options: Callable[[Record], Sequence[str]]
    gold: Callable[[Record], int]
    gap: str = "_"

    def build(self, record: Record, head: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str], int]:
        """``(doc, contexts, continuations, label)`` of a record."""
        before, gap, after = self.sentence(record).partition(self.gap)
        if not gap:
            raise ValueError(f"the sentence has no {self.gap!r}")
        options = self.options(record)
        rest = " " + after.strip()
        return dict(head), [before + option for option in options], [rest] * len(options), self.gold(record)


@dataclass(frozen=True, kw_only=True)
class Wording:
    """A task in one dialect: its builder, and the metric that the dialect's authors report.

    Without a builder the task is scored from its published requests.
    """

    builder: Cloze | TwoContexts | None
    primary_metric: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: what its records hold (``keep``, ``index``, ``native_id``) and its wording in each dialect."""

    name: str
    about: str
    wordings: Mapping[str, Wording]
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
    domain: Callable[[Record], str] | None = None
    """Part of the task that a record belongs to."""
    published: str | None = None
    """Folder of its published requests, for a task without a builder."""

    def instance(self, record: Record, row: int, dialect: str) -> Instance:
        """Build row number ``row``; a missing field is a KeyError, a wrong value a ValueError or IndexError."""
        head = dict(record) if self.keep is None else {key: record[key] for key in self.keep}
        if self.index is not None:
            head[self.index] = row
        if self.extra is not None:
            head |= self.extra(record)
        builder = self.wordings[dialect].builder
        if builder is None:
            raise ValueError(f"{self.name} is scored from its published requests")
        doc, contexts, continuations, label = builder.build(record, head)
        if not 0 <= label < len(contexts):
            raise ValueError(f"the right answer {label} is none of the {len(contexts)} choices")
        return Instance(
            doc_id=row,
            native_id=None if self.native_id is None else doc[self.native_id],
            doc=doc,
            contexts=tuple(contexts),
            continuations=tuple(continuations),
            label=label,
            domain=None if self.domain is None else self.domain(record),
        )


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
