"""Streams of values that compiled jq programs give, with a failure in the place of a value that could not be made.

As in jaq (01mf02/jaq), what comes behind a failure is still there; who takes the values decides whether it is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .jq_values import JqError

Variables = dict[str, Any]
One = Callable[[Any, Variables], Any]
Many = Callable[[Any, Variables], Iterable[Any]]


@dataclass(frozen=True)
class Code:
    """A compiled node: ``one`` where it always gives exactly one value or raises, ``many`` in any case.

    What ``many`` gives are values and, in the place of one that could not be made, the JqError that says why.
    """

    many: Many
    one: One | None = None


def single(one: One) -> Code:
    """Code that gives exactly one value or fails."""

    def many(value: Any, variables: Variables) -> tuple[Any]:
        try:
            return (one(value, variables),)
        except JqError as error:
            return (error,)

    return Code(many, one)


def values_of(given: Iterable[Any]) -> Iterator[Any]:
    """What is given up to the first failure, which is raised."""
    for one in given:
        if type(one) is JqError:
            raise one
        yield one


def then(given: Iterable[Any], give: Callable[[Any], Iterable[Any]]) -> Iterator[Any]:
    """What ``give`` gives for each value; failures stay in their places."""
    for one in given:
        if type(one) is JqError:
            yield one
            continue
        try:
            more = give(one)
        except JqError as error:
            more = (error,)
        yield from more


def applied(function: Callable[..., Any], taken: tuple[Any, ...]) -> Any:
    """``function`` of what is taken, or the first failure among it or of the function itself."""
    for one in taken:
        if type(one) is JqError:
            return one
    try:
        return function(*taken)
    except JqError as error:
        return error
