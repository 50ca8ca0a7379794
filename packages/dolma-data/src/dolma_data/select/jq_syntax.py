"""The grammar of jq programs: text in, a small syntax tree out.

Taken are the parts that look at values: paths, pipes, comparisons, arithmetic, conditions, bindings, reductions and
definitions. Assignments and modules are refused: a rule has nothing to assign.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from ..errors import UserError

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+|\#[^\n]*)
  | (?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
  | (?P<variable>\$[A-Za-z_][A-Za-z0-9_]*)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<format>@[a-z0-9]+)
  | (?P<quote>")
  | (?P<operator>\.\.|//=?|\|=|[!=<>]=|[-+*/%]=|[-+*/%<>|,.:;=()\[\]{}?])
    """,
    re.VERBOSE,
)
_UNICODE = re.compile(r"u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}")  # pairs or one
_KEYWORDS = frozenset(
    ["if", "then", "elif", "else", "end", "and", "or", "as", "def", "reduce", "foreach", "try", "catch"]
)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Identity:
    """``.``"""


@dataclass(frozen=True)
class Recurse:
    """``..``"""


@dataclass(frozen=True)
class Constant:
    """A number or string."""

    value: int | float | str


@dataclass(frozen=True)
class Template:
    """A string with ``\\(…)`` in it: text and programs in turn; ``format`` writes what the programs give."""

    parts: tuple[Node, ...]
    format: Node | None = None


@dataclass(frozen=True)
class Variable:
    """``$name``"""

    name: str


@dataclass(frozen=True)
class Suffix:
    """``of[index]``, ``of[]`` (no index) or, with ``end``, ``of[index:end]``; ``optional`` is a question mark."""

    of: Node
    index: Node | None
    end: Node | None = None
    is_slice: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Pipe:
    """``left | right``; with ``name`` it is ``left as $name | right``."""

    left: Node
    right: Node
    name: str | None = None


@dataclass(frozen=True)
class Comma:
    """``left, right``"""

    left: Node
    right: Node


@dataclass(frozen=True)
class Binary:
    """Arithmetic, comparison, ``and``, ``or`` and ``//``."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Negate:
    """``-of``"""

    of: Node


@dataclass(frozen=True)
class If:
    """``if test then yes else no end``"""

    test: Node
    yes: Node
    no: Node


@dataclass(frozen=True)
class Try:
    """``try body catch handler``; without a handler, ``body?``."""

    body: Node
    handler: Node | None


@dataclass(frozen=True)
class Fold:
    """``reduce source as $name (start; update)``, or foreach with what it gives at each step."""

    kind: str
    source: Node
    name: str
    start: Node
    update: Node
    extract: Node | None = None


@dataclass(frozen=True)
class Array:
    """``[of]``"""

    of: Node | None


@dataclass(frozen=True)
class Object:
    """``{key: value, …}``"""

    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True)
class Call:
    """``name(arguments; …)``"""

    name: str
    arguments: tuple[Node, ...]
    at: int


@dataclass(frozen=True)
class Define:
    """``def name(parameters; …): body; rest``"""

    name: str
    parameters: tuple[str, ...]
    body: Node
    rest: Node


Node = (
    Identity | Recurse | Constant | Template | Variable | Suffix | Pipe | Comma | Binary | Negate | If | Try | Fold
    | Array | Object | Call | Define
)  # fmt: skip


def parse(text: str) -> Node:
    """Parse a program; UserError with the character where it stops making sense."""
    if text.startswith(("$.", "$[", "$@")):
        raise UserError(
            f"{text!r} is a JSONPath, but the syntax is jq", fix="set syntax: jsonpath, or begin with a dot"
        )
    parser = _Parser(text)
    node = parser.pipe()
    if parser.kind != "end":
        parser.refuse("the program should end here")
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.next = 0
        self.advance()

    def refuse(self, problem: str, at: int | None = None) -> NoReturn:
        place = self.at if at is None else at
        raise UserError(f"cannot read the jq program {self.text!r}: {problem} (character {place + 1})", fix="mend it")

    def advance(self) -> str:
        """Take the present token and look at the next one; returns the text taken."""
        taken = getattr(self, "token", "")
        self.spaced = False
        while True:
            self.at = self.next
            if self.at == len(self.text):
                self.kind, self.token = "end", ""
                return taken
            found = _TOKEN.match(self.text, self.at)
            if found is None:
                self.refuse("nothing begins like this")
            self.next = found.end()
            if found.lastgroup != "space":
                self.kind, self.token = str(found.lastgroup), found[0]
                return taken
            self.spaced = True

    def sees(self, *tokens: str) -> bool:
        return self.kind in ("operator", "word") and self.token in tokens

    def take(self, token: str) -> bool:
        if not self.sees(token):
            return False
        self.advance()
        return True

    def need(self, token: str) -> None:
        if not self.take(token):
            self.refuse(f"{token!r} is missing")

    def pipe(self) -> Node:
        if self.sees("def"):
            return self.definition()
        left = self.comma()
        if self.take("as"):
            name = self.variable()
            self.need("|")
            return Pipe(left, self.pipe(), name)
        return Pipe(left, self.pipe()) if self.take("|") else left

    def definition(self) -> Node:
        self.need("def")
        if self.kind != "word":
            self.refuse("a name is missing")
        name = self.advance()
        parameters = []
        if self.take("("):
            while True:
                if self.kind not in ("word", "variable"):
                    self.refuse("a name is missing")
                parameters.append(self.advance())
                if not self.take(";"):
                    break
            self.need(")")
        self.need(":")
        body = self.pipe()
        self.need(";")
        return Define(name, tuple(parameters), body, self.pipe())

    def comma(self) -> Node:
        left = self.alternative()
        while self.take(","):
            left = Comma(left, self.alternative())
        return left

    def alternative(self) -> Node:
        left = self.either()
        if self.sees("=", "|=", "+=", "-=", "*=", "/=", "%=", "//="):
            self.refuse(f"{self.token} assigns, which a rule has no use for")
        return Binary("//", left, self.alternative()) if self.take("//") else left

    def either(self) -> Node:
        left = self.both()
        while self.take("or"):
            left = Binary("or", left, self.both())
        return left

    def both(self) -> Node:
        left = self.comparison()
        while self.take("and"):
            left = Binary("and", left, self.comparison())
        return left

    def comparison(self) -> Node:
        left = self.sum()
        while self.sees(*COMPARISONS):
            operator = self.advance()
            left = Binary(operator, left, self.sum())
        return left

    def sum(self) -> Node:
        left = self.product()
        while self.sees("+", "-"):
            operator = self.advance()
            left = Binary(operator, left, self.product())
        return left

    def product(self) -> Node:
        left = self.postfix()
        while self.sees("*", "/", "%"):
            operator = self.advance()
            left = Binary(operator, left, self.postfix())
        return left

    def postfix(self) -> Node:
        if self.take("-"):
            return Negate(self.postfix())
        for fold in ("reduce", "foreach"):
            if self.take(fold):
                return self.fold(fold)
        node = self.term()
        while True:
            if self.kind == "field":
                node = self.suffixed(node, Constant(self.advance()[1:]))
            elif self.sees(".") and self.text[self.next : self.next + 1] in ('"', "["):
                self.advance()
                if self.kind == "quote":
                    node = self.suffixed(node, self.string())
            elif self.sees("["):
                node = self.brackets(node)
            elif self.take("?"):
                node = Try(node, None)
            else:
                return node

    def suffixed(self, of: Node, index: Node) -> Node:
        return Suffix(of, index, optional=self.optional())

    def optional(self) -> bool:
        found = False
        while self.take("?"):
            found = True
        return found

    def brackets(self, of: Node) -> Node:
        self.need("[")
        if self.take("]"):
            return Suffix(of, None, optional=self.optional())
        first = None if self.sees(":") else self.pipe()
        if self.take(":"):
            end = None if self.sees("]") else self.pipe()
            self.need("]")
            return Suffix(of, first, end, is_slice=True, optional=self.optional())
        self.need("]")
        return Suffix(of, first, optional=self.optional())

    def term(self) -> Node:
        at = self.at
        if self.kind == "number":
            return Constant(self.number())
        if self.kind == "quote":
            return self.string()
        if self.kind == "variable":
            return Variable(self.advance()[1:])
        if self.kind == "field":
            return self.suffixed(Identity(), Constant(self.advance()[1:]))
        if self.take(".."):
            return Recurse()
        if self.take("."):
            return self.suffixed(Identity(), self.string()) if self.kind == "quote" and not self.spaced else Identity()
        if self.take("("):
            node = self.pipe()
            self.need(")")
            return node
        if self.take("["):
            if self.take("]"):
                return Array(None)
            node = self.pipe()
            self.need("]")
            return Array(node)
        if self.take("{"):
            return self.object()
        if self.take("if"):
            return self.condition()
        if self.take("try"):
            body = self.postfix()
            return Try(body, self.postfix() if self.take("catch") else Call("empty", (), at))
        if self.kind == "format":
            written = Call(self.advance(), (), at)
            text = self.string() if self.kind == "quote" else None
            return Template(text.parts, written) if isinstance(text, Template) else text or written
        if self.kind == "word" and self.token not in _KEYWORDS:
            return self.call()
        return self.refuse("expected a path or a value")

    def call(self) -> Node:
        at = self.at
        name = self.advance()
        arguments = []
        if self.take("("):
            arguments.append(self.pipe())
            while self.take(";"):
                arguments.append(self.pipe())
            self.need(")")
        return Call(name, tuple(arguments), at)

    def condition(self) -> Node:
        test = self.pipe()
        self.need("then")
        yes = self.pipe()
        no: Node = Identity()
        if self.take("elif"):
            return If(test, yes, self.condition())
        if self.take("else"):
            no = self.pipe()
        self.need("end")
        return If(test, yes, no)

    def fold(self, kind: str) -> Node:
        source = self.postfix()
        self.need("as")
        name = self.variable()
        self.need("(")
        start = self.pipe()
        self.need(";")
        update = self.pipe()
        extract = self.pipe() if kind == "foreach" and self.take(";") else None
        self.need(")")
        return Fold(kind, source, name, start, update, extract)

    def variable(self) -> str:
        if self.kind != "variable":
            self.refuse("a variable ($name) is missing")
        return self.advance()[1:]

    def object(self) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self.take("}"):
            if entries:
                self.need(",")
            entries.append(self.entry())
        return Object(tuple(entries))

    def entry(self) -> tuple[Node, Node]:
        if self.kind == "variable":
            name = self.advance()[1:]
            return Constant(name), Variable(name)
        key: Node
        if self.take("("):
            key = self.pipe()
            self.need(")")
            self.need(":")
            return key, self.entry_value()
        if self.kind == "quote":
            key = self.string()
        elif self.kind == "word":
            key = Constant(self.advance())
        else:
            self.refuse("a key is missing")
        return key, self.entry_value() if self.take(":") else Suffix(Identity(), key)

    def entry_value(self) -> Node:
        """An object's value: no comma outside of parentheses."""
        left = self.alternative()
        return Pipe(left, self.entry_value()) if self.take("|") else left

    def number(self) -> int | float:
        text = self.advance()
        return int(text) if text.isdigit() else float(text)

    def string(self) -> Node:
        """A quoted string from the quote that was seen on; the tokens go on behind it."""
        parts: list[Node] = []
        plain = ""
        at = self.at + 1
        while True:
            character = self.text[at : at + 1]
            if not character:
                self.refuse("the string does not end")
            at += 1
            if character == '"':
                break
            if character != "\\":
                plain += character
                continue
            escaped = self.text[at : at + 1]
            at += 1
            if escaped == "(":
                parts.append(Constant(plain))
                plain = ""
                self.next = at
                self.advance()
                parts.append(self.pipe())
                if not self.sees(")"):
                    self.refuse("')' is missing")
                at = self.next
            elif found := _UNICODE.match(self.text, at - 1):
                plain += json.loads(f'"\\{found[0]}"')
                at = found.end()
            elif escaped in _ESCAPES and escaped:
                plain += _ESCAPES[escaped]
            else:
                self.refuse("no such escape", at - 2)
        self.next = at
        self.advance()
        return Constant(plain) if not parts else Template((*parts, Constant(plain)))
