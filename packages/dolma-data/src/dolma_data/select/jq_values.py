"""JSON values as jq programs see them: order, truth, arithmetic, indexing; what has no result is a JqError.

Rules of jaq 1.2 (01mf02/jaq), which Dolma's mixer uses: unlike jq, an index into null is an error.
"""

from __future__ import annotations

import json
import math
from typing import Any

from .arrays import is_array


class Written(float):
    """A decimal number as it stands in a document or another text: for allenai/dolma 1.2.1 it is true, even 0.0, and
    keeps its spelling."""

    def __new__(cls, value: str | float) -> Written:
        number = super().__new__(cls, value)
        number.spelling = value if isinstance(value, str) else _spelled(value)
        return number

    spelling: str


NUMBER = frozenset((int, float, Written))


class JqError(ValueError):
    """What went wrong while a program ran; ``value`` is what ``catch`` gets."""

    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__(value if isinstance(value, str) else to_json(value))


def kind_of(value: Any) -> str:
    """The name of a value's type."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "boolean"
    if type(value) in NUMBER:
        return "number"
    if type(value) is str:
        return "string"
    return "array" if is_array(value) else "object"


def to_json(value: Any) -> str:
    """Compact JSON; what JSON has no word for is null."""
    if is_array(value):
        return f"[{','.join(map(to_json, value))}]"
    if type(value) is dict:
        return f"{{{','.join(f'{to_json(name)}:{to_json(one)}' for name, one in value.items())}}}"
    if type(value) is Written:
        return value.spelling
    return _spelled(value) if type(value) is float else json.dumps(value, ensure_ascii=False)


def _spelled(number: float) -> str:
    return repr(number).replace("e+", "e").replace("e-0", "e-") if math.isfinite(number) else "null"


def fail(value: Any, problem: str) -> JqError:
    """The error of an operation that does not take this value."""
    return JqError(f"cannot {problem}: {to_json(value):.80}")


def string_of(value: Any) -> str:
    """``value``, which must be a string."""
    if type(value) is not str:
        raise JqError(f"cannot use {to_json(value):.80} as string")
    return value


def array_of(value: Any) -> list[Any]:
    """``value``, which must be an array, as a list."""
    if not is_array(value):
        raise JqError(f"cannot use {to_json(value):.80} as array")
    return list(value)


def number_of(value: Any) -> Any:
    """``value``, which must be a number."""
    if type(value) not in NUMBER:
        raise JqError(f"cannot use {to_json(value):.80} as number")
    return value


def is_true(value: Any) -> bool:
    """Truth in a condition: everything but false and null."""
    return value is not None and value is not False


def is_truthy(value: Any) -> bool:
    """Truth of what a rule gives, as in Python."""
    return bool(value) or type(value) is Written


def as_written(value: Any) -> Any:
    """``value`` with :class:`Written` in the place of every 0.0."""
    if type(value) is float:
        return value or Written(value)
    if type(value) is dict:
        return {name: as_written(one) for name, one in value.items()}
    return list(map(as_written, value)) if is_array(value) else value


_RANKS = {"null": 0, "boolean": 1, "number": 3, "string": 4, "array": 5, "object": 6}


def order_key(value: Any) -> Any:
    """A key that sorts values as jq does: null, false, true, numbers, strings, arrays, objects."""
    kind = kind_of(value)
    rank = _RANKS[kind]
    if kind == "array":
        return (rank, [order_key(one) for one in value])
    if kind == "object":
        names = sorted(value)
        return (rank, names, [order_key(value[name]) for name in names])
    if kind == "number":
        return (rank, -math.inf, 0) if value != value else (rank, value, 1)
    return (rank, value) if kind == "string" else (rank, bool(value))


def compare(operator: str, left: Any, right: Any) -> bool:
    """``left operator right`` for two values of any type."""
    if (type(left) in NUMBER and type(right) in NUMBER and left == left and right == right) or (
        type(left) is str and type(right) is str
    ):
        one, other = left, right
    else:
        one, other = order_key(left), order_key(right)
    if operator == "<":
        return bool(one < other)
    if operator == ">":
        return bool(one > other)
    if operator == "<=":
        return bool(one <= other)
    if operator == ">=":
        return bool(one >= other)
    return bool(one == other) is (operator == "==")


def add(left: Any, right: Any) -> Any:
    """``left + right``: numbers, strings, arrays one behind the other, objects merged; null is nothing."""
    if type(left) in NUMBER and type(right) in NUMBER:
        return left + right
    if left is None:
        return right
    if right is None:
        return left
    if type(left) is str and type(right) is str:
        return left + right
    if is_array(left) and is_array(right):
        return [*left, *right]
    if type(left) is dict and type(right) is dict:
        return {**left, **right}
    raise fail([left, right], "add")


def subtract(left: Any, right: Any) -> Any:
    """``left - right``: numbers, or an array without the elements of another."""
    if type(left) in NUMBER and type(right) in NUMBER:
        return left - right
    if is_array(left) and is_array(right):
        gone = [order_key(one) for one in right]
        return [one for one in left if order_key(one) not in gone]
    raise fail([left, right], "subtract")


def multiply(left: Any, right: Any) -> Any:
    """``left * right``: numbers, a string repeated (null for 0), objects merged at every depth."""
    if type(left) in NUMBER and type(right) in NUMBER:
        return left * right
    if type(left) is int and type(right) is str:
        left, right = right, left
    if type(left) is str and type(right) is int:
        return left * right if right > 0 else None
    if type(left) is dict and type(right) is dict:
        merged = dict(left)
        for name, value in right.items():
            mine = merged.get(name)
            merged[name] = multiply(mine, value) if type(mine) is dict and type(value) is dict else value
        return merged
    raise fail([left, right], "multiply")


def divide(left: Any, right: Any) -> Any:
    """``left / right``: numbers as floats by IEEE 754, or a string split."""
    if type(left) in NUMBER and type(right) in NUMBER:
        if right == 0:
            return math.nan if left == 0 or left != left else math.copysign(math.inf, left) * math.copysign(1, right)
        return left / right
    if type(left) is str and type(right) is str:
        return split(left, right)
    raise fail([left, right], "divide")


def remainder(left: Any, right: Any) -> Any:
    """``left % right`` with the sign of ``left``; JqError for the integer 0."""
    if type(left) in NUMBER and type(right) in NUMBER:
        if type(left) is int and type(right) is int:
            if right == 0:
                raise fail([left, right], "divide by zero")
            return int(math.fmod(left, right))
        return math.nan if right == 0 else math.fmod(left, right)
    raise fail([left, right], "divide")


def split(text: str, separator: str) -> list[str]:
    """Pieces of ``text`` between separators; characters where the separator is empty."""
    return list(text) if not separator else text.split(separator)


def index(value: Any, at: Any) -> Any:
    """``value[at]``; null where an object or array has no such place."""
    if type(value) is dict and type(at) is str:
        return value.get(at)
    if is_array(value) and type(at) is int:
        return value[at] if -len(value) <= at < len(value) else None
    raise JqError(f"cannot index {kind_of(value)} with {to_json(at)}")


def cut(value: Any, start: Any, end: Any) -> Any:
    """``value[start:end]`` of an array or string."""
    if not (is_array(value) or type(value) is str):
        raise JqError(f"cannot take a slice of {kind_of(value)}")
    for place in (start, end):
        if place is not None and type(place) is not int:
            raise JqError(f"cannot index {kind_of(value)} with {to_json(place)}")
    return value[start:end]


def children(value: Any) -> list[Any]:
    """``value[]``"""
    if is_array(value):
        return list(value)
    if type(value) is dict:
        return list(value.values())
    raise JqError(f"cannot iterate over {kind_of(value)}")


def length(value: Any) -> Any:
    """The number of characters, elements or fields, or the size of a number."""
    if value is None:
        return 0
    if type(value) in NUMBER:
        return abs(value)
    if type(value) is bool:
        raise JqError("boolean has no length")
    return len(value)


def text_of(value: Any) -> str:
    """A string as it is, any other value as JSON."""
    return value if type(value) is str else to_json(value)


ARITHMETIC = {"+": add, "-": subtract, "*": multiply, "/": divide, "%": remainder}
