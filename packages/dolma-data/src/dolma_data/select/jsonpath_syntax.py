"""The grammar of filter and span paths: text in, a small syntax tree out.

The dialect is that of besok/jsonpath-rust 0.3, in which Dolma's mixer configurations are written; it is older than
RFC 9535 and differs from it where :mod:`dolma_data.select.jsonpath` says so. ``!`` binds tighter than ``&&``, and that
tighter than ``||``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import UserError

OPERATORS = ("==", "!=", "~=", ">=", "<=", ">", "<", "subsetOf", "noneOf", "anyOf", "size", "nin", "in")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_KEY = re.compile(r"[A-Za-z0-9_\-/\\#]+")
_STRING = re.compile(r"'((?:[^'\\]|\\.)*)'" + r'|"((?:[^"\\]|\\.)*)"')
_INTEGER = re.compile(r"-?[0-9]+")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Field:
    """``.name`` or ``['name']``."""

    name: str


@dataclass(frozen=True)
class Index:
    """``[2]``; negative counts from the end."""

    place: int


@dataclass(frozen=True)
class Keys:
    """``['a', 'b']``."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Indexes:
    """``[0, 2]``."""

    places: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """``[start:end:step]``."""

    start: int | None
    end: int | None
    step: int | None


@dataclass(frozen=True)
class Wildcard:
    """``.*`` or ``[*]``."""


@dataclass(frozen=True)
class Descent:
    """``..name``, at any depth; without a name every value below."""

    name: str | None


@dataclass(frozen=True)
class Length:
    """``.length()`` of an array."""


@dataclass(frozen=True)
class Filter:
    """``[?(test)]``."""

    test: Test


@dataclass(frozen=True)
class Path:
    """Steps from the document (``$``) or from the value under test (``@``)."""

    from_root: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Literal:
    """A string, number, boolean, null or array of them."""

    value: Any


@dataclass(frozen=True)
class Compare:
    """``left operator right``."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True)
class Exists:
    """An operand by itself: true where it is present, whatever its value."""

    operand: Operand


@dataclass(frozen=True)
class Not:
    """``!test``."""

    test: Test


@dataclass(frozen=True)
class All:
    """``a && b``."""

    tests: tuple[Test, ...]


@dataclass(frozen=True)
class Some:
    """``a || b``."""

    tests: tuple[Test, ...]


Step = Field | Index | Keys | Indexes | Slice | Wildcard | Descent | Length | Filter
Operand = Path | Literal
Test = Compare | Exists | Not | All | Some


def parse(text: str) -> Path:
    """Parse a path; UserError with the character where it stops making sense."""
    parser = _Parser(text)
    path = parser.path()
    if path is None:
        parser.refuse("a path begins with $")
    parser.space()
    if parser.at < len(text):
        parser.refuse("the path should end here")
    # Before any filter, @ is the document itself: configurations write `$@.attributes` too.
    return Path(True, path.steps)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def refuse(self, problem: str) -> NoReturn:
        raise UserError(f"cannot read the path {self.text!r}: {problem} (character {self.at + 1})", fix="mend the path")

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def take(self, token: str) -> bool:
        """Take ``token``, white space before it left out; says whether it was there."""
        self.space()
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def need(self, token: str) -> None:
        if not self.take(token):
            self.refuse(f"{token!r} is missing")

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def path(self) -> Path | None:
        """A chain of steps; None where none begins here."""
        self.space()
        start = self.at
        from_root = False
        steps: list[Step] = []
        while True:
            if self.take("$"):
                from_root, steps = True, []
            elif self.take("@"):
                pass
            elif (step := self.step()) is not None:
                steps.append(step)
            else:
                return Path(from_root, tuple(steps)) if self.at > start else None

    def step(self) -> Step | None:
        if self.take(".."):
            if self.take("*"):
                return Descent(None)
            return Descent(self.quoted_key() if self.text.startswith("[", self.at) else self.key())
        if self.take(".length"):
            if self.take("("):
                self.need(")")
                return Length()
            self.at -= len("length")
            return Field(self.key())
        if self.take("."):
            self.space()
            if self.take("*"):
                return Wildcard()
            return self.brackets() if self.text.startswith("[", self.at) else Field(self.key())
        self.space()
        return self.brackets() if self.text.startswith("[", self.at) else None

    def key(self) -> str:
        found = self.match(_KEY)
        if not found:
            self.refuse("a name is missing; quote other characters as ['name']")
        return found[0]

    def quoted_key(self) -> str:
        self.need("[")
        name = self.string()
        if name is None:
            self.refuse("a quoted name is missing")
        self.need("]")
        return name

    def string(self) -> str | None:
        self.space()
        found = self.match(_STRING)
        if not found:
            return None
        inner = found[1] if found[1] is not None else found[2]
        return _ESCAPE.sub(_unescape, inner)

    def integer(self) -> int | None:
        self.space()
        found = self.match(_INTEGER)
        return int(found[0]) if found else None

    def brackets(self) -> Step:
        self.need("[")
        if self.take("*"):
            self.need("]")
            return Wildcard()
        if self.take("?"):
            self.need("(")
            test = self.either()
            self.need(")")
            self.need("]")
            return Filter(test)
        if (name := self.string()) is not None:
            names = [name]
            while self.take(","):
                if (name := self.string()) is None:
                    self.refuse("a quoted name is missing")
                names.append(name)
            self.need("]")
            return Field(names[0]) if len(names) == 1 else Keys(tuple(names))
        return self.places()

    def places(self) -> Step:
        first = self.integer()
        if self.take(":"):
            end = self.integer()
            step = self.integer() if self.take(":") else None
            if step is not None and step < 1:
                self.refuse("the step of a slice is 1 or more")
            self.need("]")
            return Slice(first, end, step)
        if first is None:
            self.refuse("expected a name, a number, *, a slice or ?(…)")
        places = [first]
        while self.take(","):
            if (place := self.integer()) is None:
                self.refuse("a number is missing")
            places.append(place)
        self.need("]")
        return Index(first) if len(places) == 1 else Indexes(tuple(places))

    def either(self) -> Test:
        tests = [self.both()]
        while self.take("||"):
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else Some(tuple(tests))

    def both(self) -> Test:
        tests = [self.one()]
        while self.take("&&"):
            tests.append(self.one())
        return tests[0] if len(tests) == 1 else All(tuple(tests))

    def one(self) -> Test:
        if self.take("!"):
            return Not(self.one())
        if self.take("("):
            test = self.either()
            self.need(")")
            return test
        left = self.operand()
        operator = next((name for name in OPERATORS if self.take(name)), None)
        if operator is None:
            return Exists(left)
        right = self.operand()
        if operator == "~=" and isinstance(right, Literal):
            self.check_pattern(right)
        return Compare(operator, left, right)

    def check_pattern(self, pattern: Literal) -> None:
        if not isinstance(pattern.value, str):
            self.refuse("~= needs a quoted regular expression")
        try:
            re.compile(pattern.value)
        except re.error as error:
            self.refuse(f"no regular expression: {error}")

    def operand(self) -> Operand:
        self.space()
        if self.text.startswith("[", self.at):
            return Literal(self.array())
        found, value = self.literal()
        if found:
            return Literal(value)
        path = self.path()
        if path is None:
            self.refuse("expected a path or a value")
        return path

    def array(self) -> list[Any]:
        self.need("[")
        values: list[Any] = []
        while not self.take("]"):
            if values:
                self.need(",")
            found, value = self.literal()
            if not found:
                self.refuse("expected a value")
            values.append(value)
        return values

    def literal(self) -> tuple[bool, Any]:
        if (text := self.string()) is not None:
            return True, text
        if number := self.match(_NUMBER):
            return True, float(number[0]) if number[1] or number[2] else int(number[0])
        for word, value in _WORDS.items():
            if self.take(word):
                return True, value
        return False, None


def _unescape(found: re.Match[str]) -> str:
    escaped = found[1]
    return chr(int(escaped[1:], 16)) if len(escaped) > 1 else _ESCAPED.get(escaped, escaped)
