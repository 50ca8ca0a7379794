"""jq programs compiled once to Python functions, as a language for rules beside JSONPath.

An include rule matches where it gives something and all of it is truthy, an exclude rule where any of it is; numbers
other than 0, non-empty strings, arrays and objects are truthy, as in Python. A program that fails stops the run: write
``.a?`` or ``.a // 0`` where a value may be absent.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from itertools import count, tee
from typing import Any, NoReturn, assert_never

from ..errors import UserError
from .jq_functions import DEFINED, DOLMA_FUNCTIONS, FUNCTIONS, PASSING, REFUSED, SERIES, VALUE_FUNCTIONS
from .jq_needs import program_needs
from .jq_streams import Code, Variables, applied, single, then, values_of
from .jq_syntax import (
    Array,
    Binary,
    Call,
    Comma,
    Constant,
    Define,
    Fold,
    Identity,
    If,
    Negate,
    Node,
    Object,
    Pipe,
    Recurse,
    Suffix,
    Template,
    Try,
    Variable,
    parse,
)
from .jq_values import (
    ARITHMETIC,
    JqError,
    as_written,
    children,
    compare,
    cut,
    fail,
    index,
    is_true,
    is_truthy,
    subtract,
    text_of,
)
from .needs import Needs


@dataclass(frozen=True)
class Program:
    """A compiled jq program."""

    text: str
    node: Node
    code: Code
    dolma: bool = False

    def find(self, document: Any) -> list[Any]:
        """All that it gives for the document. JqError where it fails."""
        if self.code.one is not None:
            return [self.code.one(document, {})]
        return list(values_of(self.code.many(document, {})))

    def matches(self, document: Any) -> bool:
        """Whether the program gives something and all of it is true as Python takes it; JqError where it fails."""
        found = self._judged(document)
        return bool(found) and all(map(is_truthy, found))

    def excludes(self, document: Any) -> bool:
        """Whether any of what it gives is truthy."""
        return any(map(is_truthy, self._judged(document)))

    def _judged(self, document: Any) -> list[Any]:
        return self.find(as_written(document) if self.dolma else document)

    def needs(self) -> Needs:
        """The fields and attributes that the program looks at."""
        return program_needs(self.node)


def compile_jq(text: str, *, dolma: bool = False) -> Program:
    """Parse and compile ``text``; UserError with the place where it makes no sense.

    With ``dolma`` it is what allenai/dolma 1.2.1 makes of it: 0.0 is truthy where a program gives it as it stands in
    the document or another text, and ``?`` goes on behind a failure.
    """
    node = parse(text)
    return Program(text, node, _Compiler(text, dolma).compile(node, Scope()), dolma)


@dataclass(frozen=True)
class Scope:
    """What names mean at a place of the program."""

    variables: Mapping[str, str] = field(default_factory=dict)  # to the places where values lie, each bound once
    functions: Mapping[tuple[str, int], Callable[[list[Code]], Code]] | None = None

    def binding(self, name: str, place: str) -> Scope:
        """This scope with a variable more."""
        return Scope({**self.variables, name: place}, self.functions)

    def defining(self, name: str, parameters: int, make: Callable[[list[Code]], Code]) -> Scope:
        """This scope with a function more, known by name and number of parameters."""
        return Scope(self.variables, {**(self.functions or {}), (name, parameters): make})


END = object()  # of what a fold goes over


class _Compiler:
    def __init__(self, text: str, dolma: bool) -> None:
        self.text = text
        self.dolma = dolma
        self.places = count()

    def place(self, name: str) -> str:
        """A place of its own for what is bound to ``name`` here."""
        return f"{name} {next(self.places)}"

    def compile(self, node: Node, scope: Scope) -> Code:
        match node:
            case Identity():
                return single(lambda value, variables: value)
            case Constant(constant):
                return single(lambda value, variables: constant)
            case Recurse():
                return Code(lambda value, variables: _below(value))
            case Variable(name):
                if name not in scope.variables:
                    self.refuse(f"the variable ${name} is not known")
                place = scope.variables[name]
                return single(lambda value, variables: variables[place])
            case Suffix():
                return self.suffix(node, scope)
            case Pipe(left, right, None):
                return self.pipe(self.compile(left, scope), self.compile(right, scope))
            case Pipe(left, right, name):
                assert name is not None
                place = self.place(name)
                return self.bind(self.compile(left, scope), place, self.compile(right, scope.binding(name, place)))
            case Comma(left, right):
                parts = (self.compile(left, scope), self.compile(right, scope))
                return Code(lambda value, variables: (one for part in parts for one in part.many(value, variables)))
            case Binary("and" | "or" as operator, left, right):
                return self.logic(operator == "or", self.compile(left, scope), self.compile(right, scope))
            case Binary("//", left, right):
                return self.alternative(self.compile(left, scope), self.compile(right, scope))
            case Binary(operator, left, right):
                return self.binary(operator, self.compile(left, scope), self.compile(right, scope))
            case Negate(of):
                return self.combine([self.compile(of, scope)], lambda value: subtract(0, value))
            case If(test, yes, no):
                return self.condition(*(self.compile(part, scope) for part in (test, yes, no)))
            case Try(body, handler):
                return self.attempt(
                    self.compile(body, scope), None if handler is None else self.compile(handler, scope)
                )
            case Fold():
                return self.fold(node, scope)
            case Array(of):
                inner = Code(lambda value, variables: ()) if of is None else self.compile(of, scope)
                return single(lambda value, variables: list(values_of(inner.many(value, variables))))
            case Template(pieces, written):
                if written is not None:
                    pieces = tuple(Pipe(piece, written) if at % 2 else piece for at, piece in enumerate(pieces))
                return self.combine(
                    [self.compile(piece, scope) for piece in pieces], lambda *all: "".join(map(text_of, all))
                )
            case Object(entries):
                parts_of = [self.compile(part, scope) for entry in entries for part in entry]
                return self.combine(parts_of, _object)
            case Call(name, arguments, at):
                return self.call(name, [self.compile(argument, scope) for argument in arguments], at, scope)
            case Define():
                return self.define(node, scope)
            case _:
                assert_never(node)

    def refuse(self, problem: str, fix: str = "mend the program") -> NoReturn:
        raise UserError(f"cannot compile the jq program {self.text!r}: {problem}", fix=fix)

    def pipe(self, left: Code, right: Code) -> Code:
        first, second = left.one, right.one
        if first is not None and second is not None:
            return single(lambda value, variables: second(first(value, variables), variables))
        return Code(
            lambda value, variables: then(left.many(value, variables), lambda middle: right.many(middle, variables))
        )

    def bind(self, left: Code, place: str, right: Code) -> Code:
        first, second = left.one, right.one
        if first is not None and second is not None:
            return single(lambda value, variables: second(value, {**variables, place: first(value, variables)}))
        return Code(
            lambda value, variables: then(
                left.many(value, variables), lambda bound: right.many(value, {**variables, place: bound})
            )
        )

    def combine(self, parts: list[Code], function: Callable[..., Any]) -> Code:
        """``function`` of every combination of what the parts give; the first part changes slowest."""
        ones = [part.one for part in parts if part.one is not None]
        if len(ones) == len(parts):
            if len(ones) == 1:
                only = ones[0]
                return single(lambda value, variables: function(only(value, variables)))
            if len(ones) == 2:
                left, right = ones
                return single(lambda value, variables: function(left(value, variables), right(value, variables)))
            return single(lambda value, variables: function(*(one(value, variables) for one in ones)))

        def every(value: Any, variables: Variables, taken: tuple[Any, ...] = ()) -> Iterator[Any]:
            if len(taken) == len(parts):
                yield applied(function, taken)
                return
            for one in parts[len(taken)].many(value, variables):
                yield from every(value, variables, (*taken, one))

        return Code(every)

    def binary(self, operator: str, left: Code, right: Code) -> Code:
        if operator in ARITHMETIC:
            return self.combine([left, right], ARITHMETIC[operator])
        return self.combine([left, right], lambda one, other: compare(operator, one, other))

    def logic(self, stop: bool, left: Code, right: Code) -> Code:
        first, second = left.one, right.one
        if first is not None and second is not None:
            return single(
                lambda value, variables: (
                    stop if is_true(first(value, variables)) is stop else is_true(second(value, variables))
                )
            )

        def decide(value: Any, variables: Variables, one: Any) -> Iterable[Any]:
            if is_true(one) is stop:
                return (stop,)
            return then(right.many(value, variables), lambda other: (is_true(other),))

        return Code(
            lambda value, variables: then(left.many(value, variables), lambda one: decide(value, variables, one))
        )

    def alternative(self, left: Code, right: Code) -> Code:
        first, second = left.one, right.one
        if first is not None and second is not None:
            return single(
                lambda value, variables: one if is_true(one := first(value, variables)) else second(value, variables)
            )

        def every(value: Any, variables: Variables) -> Iterator[Any]:
            found = False
            for one in left.many(value, variables):
                if is_true(one):  # a failure counts as found
                    found = True
                    yield one
            if not found:
                yield from right.many(value, variables)

        return Code(every)

    def condition(self, test: Code, yes: Code, no: Code) -> Code:
        asked, first, second = test.one, yes.one, no.one
        if asked is not None and first is not None and second is not None:
            return single(
                lambda value, variables: (first if is_true(asked(value, variables)) else second)(value, variables)
            )
        return Code(
            lambda value, variables: then(
                test.many(value, variables), lambda answer: (yes if is_true(answer) else no).many(value, variables)
            )
        )

    def attempt(self, body: Code, handler: Code | None) -> Code:
        def every(value: Any, variables: Variables) -> Iterator[Any]:
            for one in body.many(value, variables):
                if type(one) is not JqError:
                    yield one
                    continue
                if handler is not None:
                    yield from handler.many(one.value, variables)
                if not self.dolma:
                    return

        return Code(every)

    def suffix(self, node: Suffix, scope: Scope) -> Code:
        of = self.compile(node.of, scope)
        places = (node.index, node.end) if node.is_slice else () if node.index is None else (node.index,)
        parts = [self.compile(place or Call("null", (), 0), scope) for place in places]
        take = cut if node.is_slice else index
        if node.index is not None or node.is_slice:
            if not node.optional:
                if not node.is_slice and isinstance(node.index, Constant):
                    at = node.index.value
                    return self.combine([of], lambda whole: index(whole, at))
                return self.combine([of, *parts], take)
            found = self.combine([of, *parts], lambda *taken: _optional(take, *taken))
            return Code(lambda value, variables: then(found.many(value, variables), lambda some: some))
        each = _children_if_any if node.optional else children
        return Code(lambda value, variables: then(of.many(value, variables), each))

    def fold(self, node: Fold, scope: Scope) -> Code:
        source, start = self.compile(node.source, scope), self.compile(node.start, scope)
        place = self.place(node.name)
        inner = scope.binding(node.name, place)
        update = self.compile(node.update, inner)
        extract = self.compile(node.extract or Identity(), inner)

        def reduce(value: Any, variables: Variables) -> Iterator[Any]:
            states = list(start.many(value, variables))
            for one in source.many(value, variables):
                if type(one) is JqError:
                    states = [state if type(state) is JqError else one for state in states]
                    break
                within = {**variables, place: one}
                states = list(then(states, lambda state, within=within: update.many(state, within)))  # type: ignore[misc]
            yield from states

        def foreach(value: Any, variables: Variables) -> Iterator[Any]:
            for state in start.many(value, variables):
                if type(state) is JqError:
                    yield from () if self.dolma else (state,)
                    continue
                # from every state all that follows on it comes before its next sibling
                (source_left,) = tee(source.many(value, variables), 1)
                branches = [(iter((state,)), source_left, variables)]
                while branches:
                    states, left, within = branches[-1]
                    for new in states:
                        if within is not variables:
                            yield from extract.many(new, within) if type(new) is not JqError else (new,)
                        one = new if type(new) is JqError else next(rest := copy(left), END)
                        if type(one) is JqError:
                            yield from () if one is new else (one,)
                        elif one is not END:
                            inside = {**variables, place: one}
                            branches.append((iter(update.many(new, inside)), rest, inside))
                            break
                    else:
                        branches.pop()

        return Code(reduce if node.kind == "reduce" else foreach)

    def define(self, node: Define, scope: Scope) -> Code:
        # A call compiles the body anew with the parameters put in, one level at a time, so that recursion ends.
        def make(arguments: list[Code], outer: Scope = scope) -> Code:
            inner = outer.defining(node.name, len(node.parameters), make)
            bound: list[tuple[str, Code]] = []
            for parameter, argument in zip(node.parameters, arguments, strict=True):
                if parameter.startswith("$"):
                    bound.append((self.place(parameter), argument))
                    inner = inner.binding(parameter[1:], bound[-1][0])
                    continue
                inner = inner.defining(parameter, 0, lambda _, argument=argument: argument)  # type: ignore[misc]
            body = _Later(lambda: self.compile(node.body, inner)).code
            for at, argument in reversed(bound):
                body = self.bind(argument, at, body)
            return body

        if node.name in [name for name, _ in [*PASSING, *SERIES, *FUNCTIONS]]:
            self.refuse(f"{node.name} is defined already", "choose another name")
        return self.compile(node.rest, scope.defining(node.name, len(node.parameters), make))

    def call(self, name: str, arguments: list[Code], at: int, scope: Scope) -> Code:
        key = (name, len(arguments))
        if scope.functions and key in scope.functions:
            return scope.functions[key](arguments)
        values = VALUE_FUNCTIONS | (DOLMA_FUNCTIONS if self.dolma else {})
        if key in values:
            return self.combine([single(lambda value, variables: value), *arguments], values[key])
        if key in SERIES:
            found = self.combine(arguments, SERIES[key])
            return Code(lambda value, variables: then(found.many(value, variables), lambda some: some))
        if key in PASSING or key in FUNCTIONS:
            return self.function(name, arguments)
        if key in DEFINED:
            return self.defined(DEFINED[key], arguments)
        if name in REFUSED:
            self.refuse(f"{name} {REFUSED[name]} (character {at + 1})", "leave it out")
        known = sorted({known for known, _ in [*VALUE_FUNCTIONS, *PASSING, *SERIES, *FUNCTIONS, *DEFINED]})
        near = difflib.get_close_matches(name, known, 1)
        fix = f"did you mean {near[0]}?" if near and near[0] != name else "see dolma_data.select.jq_functions"
        return self.refuse(f"there is no {name}/{len(arguments)} (character {at + 1})", fix)

    def function(self, name: str, arguments: list[Code]) -> Code:
        key = (name, len(arguments))
        give = PASSING.get(key) or FUNCTIONS[key]
        many = [argument.many for argument in arguments]
        if key not in PASSING:
            many = [lambda value, variables, one=one: values_of(one(value, variables)) for one in many]  # type: ignore[misc]

        def every(value: Any, variables: Variables) -> Iterator[Any]:
            try:
                yield from give(value, variables, *many)
            except JqError as error:
                yield error

        return Code(every)

    def defined(self, definition: tuple[tuple[str, ...], str], arguments: list[Code]) -> Code:
        """A function that is written in the language itself."""
        parameters, body = definition
        scope = Scope()
        for parameter, argument in zip(parameters, arguments, strict=True):
            scope = scope.defining(parameter, 0, lambda _, argument=argument: argument)  # type: ignore[misc]
        return self.compile(parse(body), scope)


class _Later:
    """Code that is compiled when it first runs."""

    def __init__(self, make: Callable[[], Code]) -> None:
        self.make = make
        self.made: Code | None = None
        self.code = Code(self.many)

    def many(self, value: Any, variables: Variables) -> Iterable[Any]:
        if self.made is None:
            self.made = self.make()
        return self.made.many(value, variables)


def _optional(take: Callable[..., Any], *parts: Any) -> tuple[Any, ...]:
    """What is found at a place, nothing where that is an error."""
    try:
        return (take(*parts),)
    except JqError:
        return ()


def _children_if_any(value: Any) -> list[Any]:
    return children(value) if type(value) in (list, tuple, dict) else []


def _below(value: Any) -> Iterator[Any]:
    yield value
    if type(value) in (list, tuple, dict):
        for child in children(value):
            yield from _below(child)


def _object(*parts: Any) -> dict[str, Any]:
    made = {}
    for place in range(0, len(parts), 2):
        if type(parts[place]) is not str:
            raise fail(parts[place], "use as a key")
        made[parts[place]] = parts[place + 1]
    return made


__all__ = ["JqError", "Program", "compile_jq"]
