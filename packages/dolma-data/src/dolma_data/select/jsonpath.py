"""Paths compiled once to Python functions: does a document match, which spans does it name.

Semantics of the dialect (besok/jsonpath-rust 0.3, as Dolma's mixer uses it), where it is not RFC 9535:

- ``[?(…)]`` on an array tests its elements, on anything else the value itself.
- A bare path in a test is true where it is present, even with the value false or [].
- ``<`` and ``>`` hold only between exactly one number on either side. ``==`` compares all hits on both sides in order,
  so that two absent operands are equal; ``!=`` is its negation. ``>=`` is ``>`` or ``==``.
- ``in``, ``nin``, ``anyOf``, ``noneOf``, ``subsetOf`` look into an array on the right; ``size`` compares the number of
  elements, fields or UTF-8 bytes; ``~=`` searches a regular expression.

Where the crate does not do what was written, a rule means what was written; ``dolma=True`` gives the crate's answer:

- Numbers compare by value, so that the integer 1 equals 1.0; in Dolma it does not.
- ``[2019]`` on the right of ``in`` is an array; Dolma takes a single whole number there for an index into ``@``.
- ``.length()`` counts inside a test too; in Dolma it is absent there.
- ``!``, ``&&`` and ``||`` join tests of the same value; in Dolma, where that value is an array, each of them is put to
  the elements of the array instead.
- Fields come in the order of the document; in Dolma they come sorted by name.
- Slices are those of RFC 9535; in Dolma one that begins or ends outside of the array selects nothing, and the end 0 is
  the end of the array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .arrays import is_array
from .jsonpath_compare import NUMBER, Comparisons, Values, comparisons
from .jsonpath_syntax import (
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
from .needs import Needs, path_needs

Select = Callable[[Any, Any], Values]  # (value under test, document) → hits
Holds = Callable[[Any, Any], bool]
_MISSING = object()


@dataclass(frozen=True)
class Selector:
    """A compiled path: :meth:`find` gives its hits in a document, ``matches`` says whether there are any.

    ``excludes`` is the same as ``matches``; the other language tells them apart.
    """

    text: str
    path: Path
    select: Select
    matches: Callable[[Any], bool]
    excludes: Callable[[Any], bool]

    def find(self, document: Any) -> Values:
        """All hits, in the order of the document."""
        return self.select(document, document)

    def needs(self) -> Needs:
        """The fields and attributes that the path looks at."""
        return path_needs(self.path)


def compile_path(text: str, *, dolma: bool = False) -> Selector:
    """Parse and compile ``text``; UserError with the place where it makes no sense.

    With ``dolma`` it selects what allenai/dolma 1.2.1 does where that is not what was written: see the list above.
    """
    path = parse(text)
    by = comparisons(dolma)
    select = _path(path, by)
    matches = _matches(path, select, by)
    return Selector(text, path, select, matches, matches)


def spans(hits: Values) -> list[tuple[int, int, float]]:
    """The spans among ``hits``: each a ``[start, end, score]`` or an array of those; a single null is none.

    ValueError for anything else.
    """
    if len(hits) == 1 and (hits[0] is None or (hits[0] and type(hits[0]) is list and type(hits[0][0]) is tuple)):
        return hits[0] or []  # tuples come from a decoder that looked at their types
    found: list[tuple[int, int, float]] = []
    for hit in hits:
        if not is_array(hit):
            raise ValueError(f"not a span: {hit!r:.80}")
        for span in [hit] if hit and not is_array(hit[0]) else hit:
            if (
                not is_array(span)
                or len(span) != 3
                or type(span[0]) is not int
                or type(span[1]) is not int
                or type(span[2]) not in NUMBER
            ):
                raise ValueError(f"not a span: {span!r:.80}")
            found.append((span[0], span[1], span[2]))
    return found


def _path(path: Path, by: Comparisons) -> Select:
    if _is_single(path):
        get = _getter(path)

        def select_one(value: Any, root: Any) -> Values:
            hit = get(value, root)
            return [] if hit is _MISSING else [hit]

        return select_one
    steps = [_step(step, by) for step in path.steps]
    from_root = path.from_root

    def select(value: Any, root: Any) -> Values:
        hits = [root if from_root else value]
        for step in steps:
            if not hits:
                break
            hits = step(hits[0], root) if len(hits) == 1 else [hit for one in hits for hit in step(one, root)]
        return hits

    return select


def _matches(path: Path, select: Select, by: Comparisons) -> Callable[[Any], bool]:
    """Whether a document has hits, without a list of them for the shapes that almost every rule has."""
    if _is_single(path):
        get_hit = _getter(path)
        return lambda document: get_hit(document, document) is not _MISSING
    before, last = Path(path.from_root, path.steps[:-1]), path.steps[-1]
    if not (_is_single(before) and isinstance(last, Filter)):
        return lambda document: bool(select(document, document))
    get, holds = _getter(before), _test(last.test, by)

    def matches(document: Any) -> bool:
        value = get(document, document)
        if type(value) is dict:  # almost always the attributes
            return holds(value, document)
        if is_array(value):
            return any(holds(item, document) for item in value)
        return value is not _MISSING and holds(value, document)

    return matches


def _is_single(operand: Operand) -> bool:
    """Whether there is at most one hit, found by names and numbers alone."""
    return isinstance(operand, Path) and all(isinstance(step, Field | Index) for step in operand.steps)


def _getter(path: Path) -> Callable[[Any, Any], Any]:
    places: list[str | int] = []
    for step in path.steps:
        assert isinstance(step, Field | Index)
        places.append(step.name if isinstance(step, Field) else step.place)
    from_root = path.from_root
    if len(places) == 1 and type(places[0]) is str:
        name = places[0]

        def get_field(value: Any, root: Any) -> Any:
            whole = root if from_root else value
            return whole.get(name, _MISSING) if type(whole) is dict else _MISSING

        return get_field

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


def _step(step: Step, by: Comparisons) -> Select:
    match step:
        case Field(name):
            return lambda value, root: [value[name]] if type(value) is dict and name in value else []
        case Index(place):
            return lambda value, root: [value[place]] if is_array(value) and -len(value) <= place < len(value) else []
        case Keys(names):
            return lambda value, root: [value[name] for name in names if type(value) is dict and name in value]
        case Indexes(places):
            return lambda value, root: [
                value[place] for place in places if is_array(value) and -len(value) <= place < len(value)
            ]
        case Slice(start, end, stride):
            if by.dolma:
                return lambda value, root: _cut_as_dolma(value, start, end, stride) if is_array(value) else []
            return lambda value, root: list(value[start:end:stride]) if is_array(value) else []
        case Wildcard():
            return lambda value, root: by.children(value)
        case Descent(name):
            return lambda value, root: list(_below(value, name, by.children))
        case Length():
            return lambda value, root: [len(value)] if is_array(value) else []
        case Filter(test):
            return _filter(_test(test, by))


def _below(value: Any, name: str | None, children: Callable[[Any], Values]) -> Iterator[Any]:
    if name is not None and type(value) is dict and name in value:
        yield value[name]
    for child in children(value):
        if name is None:
            yield child
        yield from _below(child, name, children)


def _filter(holds: Holds) -> Select:
    def select(value: Any, root: Any) -> Values:
        if is_array(value):
            return [item for item in value if holds(item, root)]
        return [value] if holds(value, root) else []

    return select


def _part(test: Test, by: Comparisons) -> Holds:
    """A test inside another one; the crate tests the elements of an array there, any of which will do."""
    holds = _test(test, by)
    if not by.dolma:
        return holds
    return lambda value, root: any(holds(item, root) for item in value) if is_array(value) else holds(value, root)


def _test(test: Test, by: Comparisons) -> Holds:
    match test:
        case Not(inner):
            negated = _part(inner, by)
            return lambda value, root: not negated(value, root)
        case All(tests):
            conditions = [_part(one, by) for one in tests if not any(_implies(other, one) for other in tests)]
            if len(conditions) == 1:
                return conditions[0]

            def every(value: Any, root: Any) -> bool:
                for holds in conditions:  # noqa: SIM110 (twice as fast as all())
                    if not holds(value, root):
                        return False
                return True

            return every
        case Some(tests):
            alternatives = [_part(one, by) for one in tests]
            return lambda value, root: any(holds(value, root) for holds in alternatives)
        case Exists(operand):
            if _is_single(operand):
                assert isinstance(operand, Path)
                get = _getter(operand)
                return lambda value, root: get(value, root) is not _MISSING
            present = _operand(operand, by)
            return lambda value, root: bool(present(value, root))
        case Compare():
            return _compare(test, by)


def _operand(operand: Operand, by: Comparisons) -> Select:
    if by.dolma:
        operand = _as_dolma_reads(operand)
    if isinstance(operand, Path):
        return _path(operand, by)
    constant = [operand.value]
    return lambda value, root: constant


def _as_dolma_reads(operand: Operand) -> Operand:
    """An operand as the crate takes it: a single whole number in brackets is an index, a length is absent."""
    if isinstance(operand, Path):
        return Path(False, (Keys(()),)) if Length() in operand.steps else operand
    match operand.value:
        case [int(place)] if type(place) is int and place >= 0:
            return Path(False, (Index(place),))
    return operand


def _cut_as_dolma(value: Any, start: int | None, end: int | None, stride: int | None) -> Values:
    size = len(value)
    first, last = start or 0, end or 0
    if max(first, last) > size or min(first, last) < -size:
        return []
    first, last = first + size * (first < 0), last + size * (last < 0)
    return list(value[first : last or size : stride])


def _implies(test: Test, other: Test) -> bool:
    """Whether ``other`` asks only that there is a value on the way to the one that ``test`` compares with a number."""
    if not (_is_number_test(test) and isinstance(other, Exists) and isinstance(other.operand, Path)):
        return False
    assert isinstance(test, Compare)
    assert isinstance(test.left, Path)
    whole, part = test.left, other.operand
    return whole.from_root == part.from_root and whole.steps[: len(part.steps)] == part.steps


def _is_number_test(test: Test) -> bool:
    return (
        isinstance(test, Compare)
        and test.operator in ("<", ">", "<=", ">=")
        and _is_single(test.left)
        and isinstance(test.right, Literal)
    )


def _compare(test: Compare, by: Comparisons) -> Holds:
    if _is_number_test(test):
        return _compare_number(test, by)
    compare = by.by_operator[test.operator]
    left, right = _operand(test.left, by), _operand(test.right, by)
    return lambda value, root: compare(left(value, root), right(value, root))


def _compare_number(test: Compare, by: Comparisons) -> Holds:
    """The shape almost every rule has, ``@.KEY[0][2] < 0.5``, without lists of hits."""
    assert isinstance(test.left, Path)
    assert isinstance(test.right, Literal)
    get, bound, compare = _getter(test.left), test.right.value, by.by_operator[test.operator]
    if type(bound) not in NUMBER or (by.dolma and test.operator[-1] == "="):
        return lambda value, root: (hit := get(value, root)) is not _MISSING and compare([hit], [bound])
    low = bound if test.operator[0] == ">" else -math.inf
    high = bound if test.operator[0] == "<" else math.inf
    if test.operator[-1] == "=":
        return lambda value, root: type(hit := get(value, root)) in NUMBER and low <= hit <= high
    places = [step.name if isinstance(step, Field) else step.place for step in test.left.steps]  # type: ignore[union-attr]
    if test.left.from_root or len(places) != 3:
        return lambda value, root: type(hit := get(value, root)) in NUMBER and low < hit < high
    one, two, three = places

    def holds(value: Any, root: Any) -> bool:
        try:
            hit = value[one][two][three]  # should one of them be a string, a character of it is no number
        except (KeyError, IndexError, TypeError):
            return False
        return type(hit) in NUMBER and low < hit < high

    return holds
