"""Fields of a record: dotted paths, templates, and the ways in which data sets state the right answer."""

from __future__ import annotations

import difflib
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Record = Mapping[str, Any]
Text = str | Callable[[Record], str]
"""A template (``"Question: {question}\\nAnswer:"``; ``{{`` is a brace) or a function of the record."""
Texts = str | Sequence[Text] | Callable[[Record], Sequence[str]]
"""The path of a list (``"choices.text"``), templates, or a function of the record."""


class MissingFieldError(KeyError):
    """A record has no field at a path; ``fix`` names the nearest one that there is."""

    def __init__(self, path: str, near: str | None) -> None:
        super().__init__(path)
        self.fix = "mend it" if near is None else f"did you mean {near}?"


def lookup(record: Record, path: str) -> Any:
    """The value at a dotted path; a key of a list of mappings gives the list of their values.

    A missing field is a MissingFieldError, which names the path and the nearest field there is.
    """
    value: Any = record
    for key in path.split("."):
        if isinstance(value, list) and value and all(isinstance(item, Mapping) and key in item for item in value):
            value = [item[key] for item in value]
        elif isinstance(value, Mapping) and key in value:
            value = value[key]
        else:
            known = [str(name) for name in value] if isinstance(value, Mapping) else []
            raise MissingFieldError(path, next(iter(difflib.get_close_matches(key, known, 1)), None))
    return value


def written(value: Any, path: str) -> str:
    """A text or a number as text; anything else is a ValueError."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{path} is {kind(value)}, not text")


def text_of(record: Record, path: str) -> str:
    """A field that is text; anything else is a ValueError."""
    value = lookup(record, path)
    if not isinstance(value, str):
        raise ValueError(f"{path} is {kind(value)}, not text")
    return value


def number_of(record: Record, path: str) -> int:
    """A field that is a whole number from 0; anything else is a ValueError."""
    value = lookup(record, path)
    if type(value) is not int or value < 0:
        raise ValueError(f"{path} is {value!r}, not a number from 0")
    return value


def kind(value: Any) -> str:
    """What a value is, in words."""
    names = {type(None): "null", bool: "true or false", list: "a list", dict: "an object", str: "text"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


@lru_cache(maxsize=4096)
def parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """``(literal text, path or None)`` of a template; a ValueError where it is none."""
    try:
        found = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is no template: {error}; a brace of the text is written twice") from error
    for _, path, form, conversion in found:
        if path is not None and (not path or form or conversion):
            raise ValueError(f"{template!r} is no template: between the braces stands the name of a field, no more")
    return tuple((literal, path) for literal, path, _, _ in found)


def render(text: Text, record: Record) -> str:
    """The text that a template or function makes of a record."""
    if callable(text):
        return text(record)
    return "".join(
        literal if path is None else literal + written(lookup(record, path), path) for literal, path in parts(text)
    )


def render_all(texts: Texts, record: Record) -> list[str]:
    """The texts of a record, one per choice."""
    if callable(texts):
        return list(texts(record))
    if not isinstance(texts, str):
        return [render(text, record) for text in texts]
    values = lookup(record, texts)
    if not isinstance(values, list | tuple):
        raise ValueError(f"{texts} is {kind(values)}, not a list")
    return [written(value, f"{texts}[{number}]") for number, value in enumerate(values)]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Where a record states the right choice.

    With ``labels`` (a path, or the labels themselves) it is the place of the field's value among them; else the value
    is a number that counts from ``start``.
    """

    field: str
    labels: str | tuple[object, ...] | None = None
    start: int = 0

    def __call__(self, record: Record) -> int:
        """The index of the right choice, from 0; not checked against the choices."""
        value = lookup(record, self.field)
        if self.labels is not None:
            labels = lookup(record, self.labels) if isinstance(self.labels, str) else self.labels
            if not isinstance(labels, list | tuple):
                raise ValueError(f"{self.labels} is {kind(labels)}, not a list")
            value = value.strip() if isinstance(value, str) else value
            for number, label in enumerate(labels):
                if label == value and type(label) is type(value):
                    return number
            raise ValueError(f"the right answer {value!r} is none of {', '.join(map(str, labels))}")
        if isinstance(value, str) and value.strip().lstrip("-").isdigit():
            value = int(value)
        if type(value) is not int:
            raise ValueError(f"{self.field} is {value!r}, not the number of a choice")
        return value - self.start


Gold = int | str | Answer | Callable[[Record], int]
"""The right choice: always the same index, the path of an index, an :class:`Answer`, a function of the record."""


def right_choice(gold: Gold, record: Record) -> int:
    """The index of the right choice."""
    if isinstance(gold, int):
        return gold
    return Answer(field=gold)(record) if isinstance(gold, str) else gold(record)
