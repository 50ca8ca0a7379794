"""What a path asks a document for, so that nothing else has to be decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .jsonpath_syntax import All, Compare, Exists, Field, Filter, Keys, Not, Path, Some, Step, Test


@dataclass(frozen=True)
class Needs:
    """Top-level ``fields`` of the document, and keys of its ``attributes``; None stands for all of them."""

    fields: frozenset[str] | None = frozenset()
    attributes: frozenset[str] | None = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(_union(self.fields, other.fields), _union(self.attributes, other.attributes))


EVERYTHING = Needs(None, None)
ALL_ATTRIBUTES = Needs(frozenset({"attributes"}), None)


def _union(left: frozenset[str] | None, right: frozenset[str] | None) -> frozenset[str] | None:
    return None if left is None or right is None else left | right


def all_needs(parts: Iterable[Needs]) -> Needs:
    """What all parts together need."""
    total = Needs()
    for part in parts:
        total |= part
    return total


def field_needs(name: str) -> Needs:
    """A whole top-level field."""
    return ALL_ATTRIBUTES if name == "attributes" else Needs(frozenset({name}))


def attribute_needs(names: Iterable[str]) -> Needs:
    """Keys of ``attributes``."""
    return Needs(frozenset({"attributes"}), frozenset(names))


def path_needs(path: Path) -> Needs:
    """What a path asks for; its hits are taken to be looked at, not only counted."""
    return _path_needs(path, level=0, counted=True)


# Levels of the value under test: 0 the document, 1 its attributes, 2 anything below, where nothing more is learned.
def _path_needs(path: Path, level: int, *, counted: bool) -> Needs:
    at = 0 if path.from_root else level
    total = Needs()
    for step in path.steps:
        if isinstance(step, Filter):
            total |= _test_needs(step.test, at)
        elif at == 0:
            found, at = _of_document(step)
            total |= found
        elif at == 1:
            total |= attribute_needs(_names(step)) if isinstance(step, Field | Keys) else ALL_ATTRIBUTES
            at = 2
    if not counted and at < 2:
        total |= EVERYTHING if at == 0 else ALL_ATTRIBUTES
    return total


def _names(step: Field | Keys) -> tuple[str, ...]:
    return (step.name,) if isinstance(step, Field) else step.names


def _of_document(step: Step) -> tuple[Needs, int]:
    if isinstance(step, Field) and step.name == "attributes":
        return attribute_needs(()), 1
    if isinstance(step, Field | Keys):
        return all_needs(map(field_needs, _names(step))), 2
    return EVERYTHING, 2


def _test_needs(test: Test, level: int) -> Needs:
    total = Needs()
    for path, counted in _paths_of(test):
        total |= _path_needs(path, level, counted=counted)
    return total


def _paths_of(test: Test) -> Iterator[tuple[Path, bool]]:
    """The paths of a test, and whether it only asks if there are hits."""
    match test:
        case Not(inner):
            yield from _paths_of(inner)
        case All(tests) | Some(tests):
            for one in tests:
                yield from _paths_of(one)
        case Exists(operand):
            if isinstance(operand, Path):
                yield operand, True
        case Compare(_, left, right):
            for operand in (left, right):
                if isinstance(operand, Path):
                    yield operand, False
