"""Paths compiled once to Python functions: does a document match, which spans does it name.

Semantics of the dialect (besok/jsonpath-rust 0.3, as Dolma's mixer uses it), where it is not RFC 9535:

- ``[?(…)]`` on an array tests its elements, on anything else the value itself.
- A bare path in a test is true where it is present, even with the value false or [].
- ``<`` and ``>`` hold only between exactly one number on either side. ``==`` compares all hits on both sides in order,
  so that two absent operands are equal; ``!=`` is its negation. ``>=`` is ``>`` or ``==``.
- ``in``, ``nin``, ``anyOf``, ``noneOf``, ``subsetOf`` look into an array on the right; ``size`` compares the number of
  elements, fields or UTF-8 bytes; ``~=`` searches a regular expression.

Numbers compare by value, so that the integer 1 equals 1.0. Slices are those of RFC 9535.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .select_syntax import (
    All,
    Compare,
    Descent,
    Exists,
    Field,
    Filter,
    Index,
    Indexes,
    Keys,
    Length,
    Literal,
    Not,
    Operand,
    Path,
    Slice,
    Some,
    Step,
    Test,
    Wildcard,
    parse,
)

Values = list[Any]
Select = Callable[[Any, Any], Values]  # (value under test, document) → hits
Holds = Callable[[Any, Any], bool]
_MISSING = object()
_NUMBER = frozenset((int, float))


@dataclass(frozen=True)
class Selector:
    """A compiled path: :meth:`find` gives its hits in a document, :meth:`matches` whether there are any."""

    text: str
    path: Path
    select: Select

    def find(self, document: Any) -> Values:
        """All hits, in the order of the document."""
        return self.select(document, document)

    def matches(self, document: Any) -> bool:
        return bool(self.select(document, document))

    def attribute_keys(self) -> frozenset[str]:
        """The names this path asks ``attributes`` for."""
        return frozenset(_attribute_keys(self.path, inside=False))


def compile_path(text: str) -> Selector:
    """Parse and compile ``text``; UserError with the place where it makes no sense."""
    path = parse(text)
    return Selector(text, path, _path(path))


def spans(hits: Values) -> list[tuple[int, int, float]]:
    """The spans among ``hits``: each a ``[start, end, score]`` or an array of those. ValueError for anything else."""
    found: list[tuple[int, int, float]] = []
    for hit in hits:
        if not _is_array(hit):
            raise ValueError(f"not a span: {hit!r:.80}")
        for span in [hit] if hit and not _is_array(hit[0]) else hit:
            if (
                not _is_array(span)
                or len(span) != 3
                or type(span[0]) is not int
                or type(span[1]) is not int
                or type(span[2]) not in _NUMBER
            ):
                raise ValueError(f"not a span: {span!r:.80}")
            found.append((span[0], span[1], span[2]))
    return found


def _is_array(value: Any) -> bool:
    return type(value) is list or type(value) is tuple  # spans are decoded as tuples


def _path(path: Path) -> Select:
    if _is_single(path):
        get = _getter(path)

        def select_one(value: Any, root: Any) -> Values:
            hit = get(value, root)
            return [] if hit is _MISSING else [hit]

        return select_one
    steps = [_step(step) for step in path.steps]
    from_root = path.from_root

    def select(value: Any, root: Any) -> Values:
        hits = [root if from_root else value]
        for step in steps:
            if not hits:
                break
            hits = step(hits[0], root) if len(hits) == 1 else [hit for one in hits for hit in step(one, root)]
        return hits

    return select


def _is_single(operand: Operand) -> bool:
    """Whether there is at most one hit, found by names and numbers alone."""
    return isinstance(operand, Path) and all(isinstance(step, Field | Index) for step in operand.steps)


def _getter(path: Path) -> Callable[[Any, Any], Any]:
    places: list[str | int] = []
    for step in path.steps:
        assert isinstance(step, Field | Index)
        places.append(step.name if isinstance(step, Field) else step.place)
    from_root = path.from_root

    def get(value: Any, root: Any) -> Any:
        hit = root if from_root else value
        for place in places:
            kind = type(hit)
            if kind is dict:
                hit = hit.get(place, _MISSING)
            elif (kind is list or kind is tuple) and type(place) is int and -len(hit) <= place < len(hit):
                hit = hit[place]
            else:
                return _MISSING
        return hit

    return get


def _step(step: Step) -> Select:
    match step:
        case Field(name):
            return lambda value, root: [value[name]] if type(value) is dict and name in value else []
        case Index(place):
            return lambda value, root: [value[place]] if _is_array(value) and -len(value) <= place < len(value) else []
        case Keys(names):
            return lambda value, root: [value[name] for name in names if type(value) is dict and name in value]
        case Indexes(places):
            return lambda value, root: [
                value[place] for place in places if _is_array(value) and -len(value) <= place < len(value)
            ]
        case Slice(start, end, by):
            return lambda value, root: list(value[start:end:by]) if _is_array(value) else []
        case Wildcard():
            return lambda value, root: _children(value)
        case Descent(name):
            return lambda value, root: list(_below(value, name))
        case Length():
            return lambda value, root: [len(value)] if _is_array(value) else []
        case Filter(test):
            return _filter(_test(test))


def _children(value: Any) -> Values:
    return list(value) if _is_array(value) else list(value.values()) if type(value) is dict else []


def _below(value: Any, name: str | None) -> Iterator[Any]:
    if name is not None and type(value) is dict and name in value:
        yield value[name]
    for child in _children(value):
        if name is None:
            yield child
        yield from _below(child, name)


def _filter(holds: Holds) -> Select:
    def select(value: Any, root: Any) -> Values:
        if _is_array(value):
            return [item for item in value if holds(item, root)]
        return [value] if holds(value, root) else []

    return select


def _test(test: Test) -> Holds:
    match test:
        case Not(inner):
            negated = _test(inner)
            return lambda value, root: not negated(value, root)
        case All(tests):
            conditions = [_test(one) for one in tests]

            def every(value: Any, root: Any) -> bool:
                for holds in conditions:  # noqa: SIM110 (twice as fast as all())
                    if not holds(value, root):
                        return False
                return True

            return every
        case Some(tests):
            alternatives = [_test(one) for one in tests]
            return lambda value, root: any(holds(value, root) for holds in alternatives)
        case Exists(operand):
            if _is_single(operand):
                assert isinstance(operand, Path)
                get = _getter(operand)
                return lambda value, root: get(value, root) is not _MISSING
            present = _operand(operand)
            return lambda value, root: bool(present(value, root))
        case Compare():
            return _compare(test)


def _operand(operand: Operand) -> Select:
    if isinstance(operand, Path):
        return _path(operand)
    constant = [operand.value]
    return lambda value, root: constant


def _compare(test: Compare) -> Holds:
    if test.operator in ("<", ">", "<=", ">=") and _is_single(test.left) and isinstance(test.right, Literal):
        return _compare_number(test)
    compare = _COMPARE[test.operator]
    left, right = _operand(test.left), _operand(test.right)
    return lambda value, root: compare(left(value, root), right(value, root))


def _compare_number(test: Compare) -> Holds:
    """The shape almost every rule has, ``@.KEY[0][2] < 0.5``, without lists of hits."""
    assert isinstance(test.left, Path)
    assert isinstance(test.right, Literal)
    get, bound, compare = _getter(test.left), test.right.value, _COMPARE[test.operator]
    if type(bound) not in _NUMBER:
        return lambda value, root: (hit := get(value, root)) is not _MISSING and compare([hit], [bound])
    low = bound if test.operator[0] == ">" else -math.inf
    high = bound if test.operator[0] == "<" else math.inf
    if test.operator[-1] == "=":
        return lambda value, root: type(hit := get(value, root)) in _NUMBER and low <= hit <= high
    if test.operator == "<":
        return lambda value, root: type(hit := get(value, root)) in _NUMBER and hit < high
    return lambda value, root: type(hit := get(value, root)) in _NUMBER and hit > low


def equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: numbers by value, true is not 1."""
    kind = type(left)
    if kind in _NUMBER:
        return type(right) in _NUMBER and bool(left == right)
    if _is_array(left) and _is_array(right):
        return len(left) == len(right) and all(map(equal, left, right))
    if kind is not type(right):
        return False
    if kind is dict:
        return left.keys() == right.keys() and all(equal(value, right[name]) for name, value in left.items())
    return bool(left == right)


def _all_equal(left: Values, right: Values) -> bool:
    return len(left) == len(right) and all(map(equal, left, right))


def _less(left: Values, right: Values) -> bool:
    if len(left) != 1 or len(right) != 1 or type(left[0]) not in _NUMBER or type(right[0]) not in _NUMBER:
        return False
    return bool(left[0] < right[0])


def _has(values: Any, value: Any) -> bool:
    return any(equal(value, one) for one in values)


def _in(left: Values, right: Values) -> bool:
    return bool(right) and any(_has(_children(right[0]), value) for value in left)


def _any_of(left: Values, right: Values) -> bool:
    if not left:
        return True
    among = right[0] if right and _is_array(right[0]) else []
    return any(_has(among, one) for value in left for one in (value if _is_array(value) else [value]))


def _subset_of(left: Values, right: Values) -> bool:
    if not left:
        return True
    if not _is_array(left[0]) or not right or not _is_array(right[0]) or not right[0]:
        return False
    return all(_has(right[0], one) for one in left[0])


def _size(left: Values, right: Values) -> bool:
    if not right or type(right[0]) not in _NUMBER:
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


_COMPARE: dict[str, Callable[[Values, Values], bool]] = {
    "==": _all_equal,
    "!=": lambda left, right: not _all_equal(left, right),
    "<": _less,
    ">": lambda left, right: _less(right, left),
    "<=": lambda left, right: _less(left, right) or _all_equal(left, right),
    ">=": lambda left, right: _less(right, left) or _all_equal(left, right),
    "~=": _search,
    "in": _in,
    "nin": lambda left, right: not _in(left, right),
    "anyOf": _any_of,
    "noneOf": lambda left, right: not _any_of(left, right),
    "subsetOf": _subset_of,
    "size": _size,
}


def _attribute_keys(path: Path, *, inside: bool) -> Iterator[str]:
    """``inside``: the value under test is the ``attributes`` object."""
    at_attributes = inside and not path.from_root
    for place, step in enumerate(path.steps):
        if at_attributes:
            if isinstance(step, Field):
                yield step.name
            elif isinstance(step, Keys):
                yield from step.names
        if isinstance(step, Filter):
            yield from _keys_of_test(step.test, inside=at_attributes)
        else:
            at_attributes = place == 0 and (path.from_root or not inside) and step == Field("attributes")


def _keys_of_test(test: Test, *, inside: bool) -> Iterator[str]:
    match test:
        case Not(inner):
            yield from _keys_of_test(inner, inside=inside)
        case All(tests) | Some(tests):
            for one in tests:
                yield from _keys_of_test(one, inside=inside)
        case Exists(operand):
            if isinstance(operand, Path):
                yield from _attribute_keys(operand, inside=inside)
        case Compare(_, left, right):
            for operand in (left, right):
                if isinstance(operand, Path):
                    yield from _attribute_keys(operand, inside=inside)
