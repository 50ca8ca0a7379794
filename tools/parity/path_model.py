"""Dolma's JSONPath told in plain Python over our syntax tree, right or as dolma does it, difference by difference."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from dolma_data.select import jsonpath_syntax as syntax

INTEGER = "mix-integer"
INDEX_FOR_ARRAY = "mix-index-for-array"
LENGTH = "mix-length-in-test"
TEST_OF_ARRAY = "mix-test-of-array"
SLICE = "mix-slice"
FIELD_ORDER = "mix-field-order"
DIFFERENCES = (INTEGER, INDEX_FOR_ARRAY, LENGTH, TEST_OF_ARRAY, SLICE, FIELD_ORDER)
COMPARED = ("==", "!=", "<=", ">=", "in", "nin", "anyOf", "noneOf", "subsetOf")
Values = list[Any]


def select(rule: str, document: Any, ways: frozenset[str]) -> Values:
    """What ``rule`` gives for ``document``, with dolma's ``ways``."""
    return _Reading(document, ways).path(syntax.parse(rule), document)


def concerned(rule: str) -> set[str]:
    """The differences that the words of ``rule`` can run into."""
    found = {INTEGER} if any(f" {each} " in f" {rule} " or each in rule for each in COMPARED) else set()
    if re.search(r"\[\s*\d+\s*\]\s*(?:\)|&|\||$)|\b(?:in|nin|anyOf|noneOf|subsetOf)\s*\[\s*\d+\s*\]", rule):
        found.add(INDEX_FOR_ARRAY)
    if ".length()" in rule:
        found.add(LENGTH)
    if "?(" in rule and re.search(r"!|&&|\|\|", rule):
        found.add(TEST_OF_ARRAY)
    if re.search(r"\[\s*-?\d*\s*:", rule):
        found.add(SLICE)
    if "*" in rule or ".." in rule:
        found.add(FIELD_ORDER)
    return found


class _Reading:
    """One document under ``ways``."""

    def __init__(self, root: Any, ways: frozenset[str]) -> None:
        self.root = root
        self.ways = ways

    def path(self, path: syntax.Path, value: Any) -> Values:
        hits = [self.root if path.from_root else value]
        for step in path.steps:
            hits = [found for hit in hits for found in self.step(step, hit)]
        return hits

    def step(self, step: syntax.Step, value: Any) -> Values:
        match step:
            case syntax.Field(name):
                return self.named(value, (name,))
            case syntax.Keys(names):
                return self.named(value, names)
            case syntax.Index(place):
                return self.placed(value, (place,))
            case syntax.Indexes(places):
                return self.placed(value, places)
            case syntax.Slice(start, end, stride):
                return self.slice(value, start, end, stride) if isinstance(value, list) else []
            case syntax.Wildcard():
                return self.children(value)
            case syntax.Descent(name):
                return self.below(value, name)
            case syntax.Length():
                return [len(value)] if isinstance(value, list) else []
            case syntax.Filter(test):
                return [each for each in (value if isinstance(value, list) else [value]) if self.holds(test, each)]

    def named(self, value: Any, names: tuple[str, ...]) -> Values:
        return [value[name] for name in names if name in value] if isinstance(value, dict) else []

    def placed(self, value: Any, places: tuple[int, ...]) -> Values:
        if not isinstance(value, list):
            return []
        return [value[place] for place in places if -len(value) <= place < len(value)]

    def slice(self, value: Values, start: int | None, end: int | None, stride: int | None) -> Values:
        if SLICE not in self.ways:
            return value[start:end:stride]
        if any(abs(place or 0) > len(value) for place in (start, end)):
            return []
        return value[start or None : end or None : stride]

    def children(self, value: Any) -> Values:
        if isinstance(value, list):
            return value
        if not isinstance(value, dict):
            return []
        return [value[name] for name in (sorted(value) if FIELD_ORDER in self.ways else value)]

    def below(self, value: Any, name: str | None) -> Values:
        found = self.named(value, (name,)) if name is not None else []
        for child in self.children(value):
            found += [child] if name is None else []
            found += self.below(child, name)
        return found

    def part(self, test: syntax.Test, value: Any) -> bool:
        if TEST_OF_ARRAY in self.ways and isinstance(value, list):
            return any(self.holds(test, each) for each in value)
        return self.holds(test, value)

    def holds(self, test: syntax.Test, value: Any) -> bool:
        match test:
            case syntax.Not(inner):
                return not self.part(inner, value)
            case syntax.All(tests):
                return all(self.part(each, value) for each in tests)
            case syntax.Some(tests):
                return any(self.part(each, value) for each in tests)
            case syntax.Exists(operand):
                return bool(self.operand(operand, value))
            case syntax.Compare(operator, left, right):
                return OPERATORS[operator](self, self.operand(left, value), self.operand(right, value))

    def operand(self, operand: syntax.Operand, value: Any) -> Values:
        if isinstance(operand, syntax.Literal):
            one = operand.value
            index = isinstance(one, list | tuple) and len(one) == 1 and type(one[0]) is int and one[0] >= 0
            if index and INDEX_FOR_ARRAY in self.ways:
                return self.placed(value, (one[0],))
            return [list(one) if isinstance(one, tuple) else one]
        if LENGTH in self.ways and syntax.Length() in operand.steps:
            return []
        return self.path(operand, value)

    def same(self, left: Any, right: Any) -> bool:
        """Equality of JSON values; true is not 1, and by dolma's way the integer 1 is not 1.0."""
        if isinstance(left, list) and isinstance(right, list):
            return len(left) == len(right) and all(map(self.same, left, right))
        if isinstance(left, dict) and isinstance(right, dict):
            return left.keys() == right.keys() and all(self.same(left[name], right[name]) for name in left)
        numbers = {type(left), type(right)} <= {int, float} and INTEGER not in self.ways
        return (numbers or type(left) is type(right)) and bool(left == right)

    def all_same(self, left: Values, right: Values) -> bool:
        return len(left) == len(right) and all(map(self.same, left, right))

    def among(self, values: Values, one: Any) -> bool:
        return any(self.same(each, one) for each in values)

    def is_in(self, left: Values, right: Values) -> bool:
        return bool(right) and any(self.among(self.children(right[0]), each) for each in left)

    def any_of(self, left: Values, right: Values) -> bool:
        choice = right[0] if right and isinstance(right[0], list) else []
        flat = [each for value in left for each in (value if isinstance(value, list) else [value])]
        return not left or any(self.among(choice, each) for each in flat)

    def subset_of(self, left: Values, right: Values) -> bool:
        if not left:
            return True
        lists = isinstance(left[0], list) and bool(right) and isinstance(right[0], list) and bool(right[0])
        return lists and all(self.among(right[0], each) for each in left[0])


def _less(left: Values, right: Values) -> bool:
    numbers = [each for each in (*left, *right) if type(each) in (int, float)]
    return len(left) == len(right) == 1 and len(numbers) == 2 and bool(left[0] < right[0])


def _size(left: Values, right: Values) -> bool:
    if not right or type(right[0]) not in (int, float):
        return False
    sizes = [
        len(each.encode() if isinstance(each, str) else each) for each in left if isinstance(each, str | list | dict)
    ]
    return len(sizes) == len(left) and all(size == int(right[0]) for size in sizes)


def _found(left: Values, right: Values) -> bool:
    pattern = right[0] if right else None
    return isinstance(pattern, str) and any(isinstance(each, str) and re.search(pattern, each) for each in left)


OPERATORS: dict[str, Callable[[_Reading, Values, Values], bool]] = {
    "==": _Reading.all_same,
    "!=": lambda reading, left, right: not reading.all_same(left, right),
    "<": lambda reading, left, right: _less(left, right),
    ">": lambda reading, left, right: _less(right, left),
    "<=": lambda reading, left, right: _less(left, right) or reading.all_same(left, right),
    ">=": lambda reading, left, right: _less(right, left) or reading.all_same(left, right),
    "~=": lambda reading, left, right: _found(left, right),
    "in": _Reading.is_in,
    "nin": lambda reading, left, right: not reading.is_in(left, right),
    "anyOf": _Reading.any_of,
    "noneOf": lambda reading, left, right: not reading.any_of(left, right),
    "subsetOf": _Reading.subset_of,
    "size": lambda reading, left, right: _size(left, right),
}
