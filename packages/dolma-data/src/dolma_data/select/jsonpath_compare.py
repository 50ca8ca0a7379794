"""How the hits on both sides of a comparison are compared; see :mod:`dolma_data.select.jsonpath` for the rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .arrays import is_array

Values = list[Any]
NUMBER = frozenset((int, float))


def children(value: Any) -> Values:
    """The elements of an array, the values of an object, else nothing."""
    return list(value) if is_array(value) else list(value.values()) if type(value) is dict else []


def _sorted_children(value: Any) -> Values:
    return [value[name] for name in sorted(value)] if type(value) is dict else children(value)


def equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: numbers by value, true is not 1."""
    return _equal(left, right, strict_numbers=False)


def strictly_equal(left: Any, right: Any) -> bool:
    """Equality of JSON values in which the integer 1 is not 1.0."""
    return _equal(left, right, strict_numbers=True)


def _equal(left: Any, right: Any, strict_numbers: bool) -> bool:
    kind = type(left)
    if kind in NUMBER and not strict_numbers:
        return type(right) in NUMBER and bool(left == right)
    if is_array(left) and is_array(right):
        return len(left) == len(right) and all(
            _equal(one, other, strict_numbers) for one, other in zip(left, right, strict=True)
        )
    if kind is not type(right):
        return False
    if kind is dict:
        return left.keys() == right.keys() and all(
            _equal(value, right[name], strict_numbers) for name, value in left.items()
        )
    return bool(left == right)


@dataclass(frozen=True)
class Comparisons:
    """The comparison of hits for every operator."""

    dolma: bool  # as the crate compares
    children: Callable[[Any], Values]
    by_operator: dict[str, Callable[[Values, Values], bool]]


@lru_cache(maxsize=2)
def comparisons(dolma: bool) -> Comparisons:
    """All operators, with ``1 == 1.0`` or, as in Dolma, without."""
    same = strictly_equal if dolma else equal

    def all_equal(left: Values, right: Values) -> bool:
        return len(left) == len(right) and all(map(same, left, right))

    def has(values: Any, value: Any) -> bool:
        return any(same(value, one) for one in values)

    def is_in(left: Values, right: Values) -> bool:
        return bool(right) and any(has(children(right[0]), value) for value in left)

    def any_of(left: Values, right: Values) -> bool:
        if not left:
            return True
        among = right[0] if right and is_array(right[0]) else []
        return any(has(among, one) for value in left for one in (value if is_array(value) else [value]))

    def subset_of(left: Values, right: Values) -> bool:
        if not left:
            return True
        if not is_array(left[0]) or not right or not is_array(right[0]) or not right[0]:
            return False
        return all(has(right[0], one) for one in left[0])

    return Comparisons(
        dolma,
        _sorted_children if dolma else children,
        {
            "==": all_equal,
            "!=": lambda left, right: not all_equal(left, right),
            "<": _less,
            ">": lambda left, right: _less(right, left),
            "<=": lambda left, right: _less(left, right) or all_equal(left, right),
            ">=": lambda left, right: _less(right, left) or all_equal(left, right),
            "~=": _search,
            "in": is_in,
            "nin": lambda left, right: not is_in(left, right),
            "anyOf": any_of,
            "noneOf": lambda left, right: not any_of(left, right),
            "subsetOf": subset_of,
            "size": _size,
        },
    )


def _less(left: Values, right: Values) -> bool:
    if len(left) != 1 or len(right) != 1 or type(left[0]) not in NUMBER or type(right[0]) not in NUMBER:
        return False
    return bool(left[0] < right[0])


def _size(left: Values, right: Values) -> bool:
    if not right or type(right[0]) not in NUMBER:
        return False
    sizes = [
        len(value.encode() if type(value) is str else value)
        for value in left
        if type(value) in (str, list, tuple, dict)
    ]
    return len(sizes) == len(left) and all(size == int(right[0]) for size in sizes)


def _search(left: Values, right: Values) -> bool:
    if not right or type(right[0]) is not str:
        return False
    pattern = re.compile(right[0])
    return any(type(value) is str and pattern.search(value) for value in left)
