"""What a jq program asks a document for; a part that is not understood asks for everything it is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from .jq_syntax import (
    Array,
    Binary,
    Call,
    Comma,
    Constant,
    Identity,
    If,
    Negate,
    Node,
    Object,
    Pipe,
    Suffix,
    Template,
    Try,
)
from .needs import ALL_ATTRIBUTES, EVERYTHING, Needs, all_needs, attribute_needs, field_needs

DOCUMENT, ATTRIBUTES, BELOW = 0, 1, 2


def program_needs(node: Node) -> Needs:
    """The fields and attributes that a program looks at."""
    found, level = _needs(node, DOCUMENT)
    return found | _whole(level)


def _whole(level: int) -> Needs:
    """A value of this level is looked at as a whole."""
    return (EVERYTHING, ALL_ATTRIBUTES, Needs())[level]


def _needs(node: Node, level: int) -> tuple[Needs, int]:
    """What ``node`` asks for, given a value of ``level``, and the level of what it gives."""
    match node:
        case Identity():
            return Needs(), level
        case Constant() | Call("null" | "true" | "false", (), _):
            return Needs(), BELOW
        case Suffix(of, Constant(str(name)), None, False):
            found, at = _needs(of, level)
            if at == DOCUMENT:
                return (
                    (found | attribute_needs(()), ATTRIBUTES)
                    if name == "attributes"
                    else (found | field_needs(name), BELOW)
                )
            return (found | attribute_needs([name]), BELOW) if at == ATTRIBUTES else (found, BELOW)
        case Pipe(left, right, None):
            found, at = _needs(left, level)
            more, at = _needs(right, at)
            return found | more, at
        case Try(body, None):
            return _needs(body, level)
        case Template(pieces, _):
            return all_needs(_looked_at(piece, level) for piece in pieces), BELOW
        case Array() | Binary() | Comma() | If() | Negate() | Object() | Suffix():
            return all_needs(_looked_at(part, level) for part in _parts(node)), BELOW
        case Call("select", (test,), _):
            return _looked_at(test, level), level
        case Call("map", (of,), _) if level == BELOW:
            return _looked_at(of, level), BELOW
        case _:
            return _whole(level), BELOW


def _looked_at(node: Node, level: int) -> Needs:
    found, at = _needs(node, level)
    return found | _whole(at)


def _parts(node: Node) -> Iterator[Node]:
    for place in fields(node):
        value = getattr(node, place.name)
        for part in value if isinstance(value, tuple) else (value,):
            for one in part if isinstance(part, tuple) else (part,):
                if hasattr(one, "__dataclass_fields__"):
                    yield one
