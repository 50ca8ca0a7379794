"""The functions of jq programs: those of one value, those that give several, and those written in the language."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, zip_longest
from typing import Any

from .arrays import is_array
from .jq_text import TEXT_FUNCTIONS, TEXTS_FUNCTIONS
from .jq_values import (
    JqError,
    Written,
    add,
    array_of,
    children,
    fail,
    index,
    is_true,
    kind_of,
    length,
    number_of,
    order_key,
    string_of,
    text_of,
    to_json,
)

Many = Callable[[Any, dict[str, Any]], Iterable[Any]]


def _sum(value: Any) -> Any:
    total: Any = None
    for one in children(value):
        total = add(total, one)
    return total


def _keys(value: Any) -> list[Any]:
    if type(value) is dict:
        return sorted(value)
    return list(range(len(array_of(value))))


def _has(value: Any, at: Any) -> bool:
    if type(value) is dict and type(at) is str:
        return at in value
    if is_array(value) and type(at) is int:
        return 0 <= at < len(value)
    raise JqError(f"cannot index {kind_of(value)} with {to_json(at)}")


def _contains(value: Any, other: Any) -> bool:
    if type(value) is str and type(other) is str:
        return other in value
    if is_array(value) and is_array(other):
        return all(any(_contains(one, part) for one in value) for part in other)
    if type(value) is dict and type(other) is dict:
        return all(name in value and _contains(value[name], part) for name, part in other.items())
    return bool(order_key(value) == order_key(other))


def _to_number(parse_float: Callable[[str], float]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if kind_of(value) == "number":
            return value
        try:
            found = json.loads(string_of(value), parse_float=parse_float)
        except ValueError as error:
            raise fail(value, "parse as number") from error
        return number_of(found)

    return read


def _from_json(parse_float: Callable[[str], float]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        try:
            return json.loads(string_of(value), parse_float=parse_float)
        except ValueError as error:
            raise fail(value, "parse as JSON") from error

    return read


def _whole(function: Callable[[float], int]) -> Callable[[Any], Any]:
    def rounded(value: Any) -> Any:
        number = number_of(value)
        return function(number) if math.isfinite(number) else number

    return rounded


def _round(number: float) -> int:
    return int(math.copysign(math.floor(abs(number) + 0.5), number))


def _mathematics(function: Callable[..., float]) -> Callable[..., float]:
    def computed(value: Any, *more: Any) -> float:
        try:
            return float(function(*map(number_of, (value, *more))))
        except (ValueError, OverflowError):
            return math.nan

    return computed


def _flatten(value: Any, depth: float = math.inf) -> list[Any]:
    flat: list[Any] = []
    for one in children(value):
        flat.extend(_flatten(one, depth - 1) if is_array(one) and depth > 0 else [one])
    return flat


def _unique(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for one in sorted(values, key=order_key):
        if not found or order_key(found[-1]) != order_key(one):
            found.append(one)
    return found


def _entries(value: Any) -> list[dict[str, Any]]:
    if type(value) is not dict:
        raise JqError(f"cannot iterate over the entries of {kind_of(value)}")
    return [{"key": name, "value": one} for name, one in value.items()]


def _indices(value: Any, other: Any) -> list[int]:
    if type(value) is str and type(other) is str:
        return [place for place in range(len(value)) if other and value.startswith(other, place)]
    looked_for = [order_key(one) for one in (other if is_array(other) else [other])]
    keys = [order_key(one) for one in array_of(value)]
    return [place for place in range(len(keys)) if looked_for and keys[place : place + len(looked_for)] == looked_for]


def _place(which: int) -> Callable[[Any, Any], Any]:
    def found(value: Any, other: Any) -> Any:
        places = _indices(value, other)
        return places[which] if places else None

    return found


def _least(value: Any) -> Any:
    return min(array_of(value), key=order_key, default=None)


def _most(value: Any) -> Any:
    best: Any = None
    for one in array_of(value):
        if best is None or order_key(one) >= order_key(best):
            best = one
    return best


def _raise(value: Any) -> Any:
    raise JqError(value)


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[list[Any]]:
    """Where the parts of a value lie, itself left out."""
    if before:
        yield list(before)
    if type(value) is dict or is_array(value):
        for at in value if type(value) is dict else range(len(value)):
            yield from _paths(value[at], (*before, at))


def _at_path(value: Any, path: Any) -> Any:
    for at in array_of(path):
        value = None if value is None else index(value, at)
    return value


# Functions that give one value for the input and one value of each argument.
VALUE_FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("null", 0): lambda value: None,
    ("true", 0): lambda value: True,
    ("false", 0): lambda value: False,
    ("nan", 0): lambda value: math.nan,
    ("infinite", 0): lambda value: math.inf,
    ("not", 0): lambda value: not is_true(value),
    ("length", 0): length,
    ("utf8bytelength", 0): lambda value: len(string_of(value).encode()),
    ("type", 0): kind_of,
    ("add", 0): _sum,
    ("keys", 0): _keys,
    ("keys_unsorted", 0): lambda value: list(value) if type(value) is dict else _keys(value),
    ("has", 1): _has,
    ("contains", 1): _contains,
    ("inside", 1): lambda value, other: _contains(other, value),
    ("tostring", 0): text_of,
    ("tonumber", 0): _to_number(float),
    ("tojson", 0): to_json,
    ("fromjson", 0): _from_json(float),
    ("floor", 0): _whole(math.floor),
    ("ceil", 0): _whole(math.ceil),
    ("round", 0): _whole(_round),
    ("fabs", 0): _mathematics(abs),
    ("sqrt", 0): _mathematics(math.sqrt),
    ("exp", 0): _mathematics(math.exp),
    ("log", 0): _mathematics(math.log),
    ("log2", 0): _mathematics(math.log2),
    ("log10", 0): _mathematics(math.log10),
    ("pow", 2): lambda value, base, power: _mathematics(math.pow)(base, power),
    ("isnan", 0): lambda value: bool(number_of(value) != value),
    ("isinfinite", 0): lambda value: math.isinf(number_of(value)),
    ("isnormal", 0): lambda value: math.isfinite(number_of(value)) and abs(value) >= 2.2250738585072014e-308,
    ("transpose", 0): lambda value: [list(row) for row in zip_longest(*map(array_of, array_of(value)))],
    ("reverse", 0): lambda value: array_of(value)[::-1],
    ("sort", 0): lambda value: sorted(array_of(value), key=order_key),
    ("unique", 0): lambda value: _unique(array_of(value)),
    ("min", 0): _least,
    ("max", 0): _most,
    ("flatten", 0): _flatten,
    ("flatten", 1): _flatten,
    ("indices", 1): _indices,
    ("index", 1): _place(0),
    ("rindex", 1): _place(-1),
    ("first", 0): lambda value: index(value, 0),
    ("last", 0): lambda value: index(value, -1),
    ("nth", 1): index,
    ("to_entries", 0): _entries,
    ("getpath", 1): _at_path,
    ("trunc", 0): _whole(math.trunc),
    ("abs", 0): lambda value: abs(number_of(value)),
    ("toarray", 0): lambda value: value if is_array(value) else [value],
    ("error", 0): _raise,
    ("error", 1): lambda value, problem: _raise(problem),
    **TEXT_FUNCTIONS,
}


# Those that give something else in allenai/dolma 1.2.1.
DOLMA_FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("tonumber", 0): _to_number(Written),
    ("fromjson", 0): _from_json(Written),
    ("ltrimstr", 1): lambda value, other: string_of(value).removeprefix(string_of(other)),
    ("rtrimstr", 1): lambda value, other: string_of(value).removesuffix(string_of(other)),
    ("join", 1): lambda value, other: _sum([*[add(one, other) for one in array_of(value)[:-1]], *array_of(value)[-1:]]),
}


def _any(value: Any, variables: dict[str, Any], source: Many, test: Many) -> Iterator[bool]:
    yield any(is_true(answer) for one in source(value, variables) for answer in test(one, variables))


def _all(value: Any, variables: dict[str, Any], source: Many, test: Many) -> Iterator[bool]:
    yield all(is_true(answer) for one in source(value, variables) for answer in test(one, variables))


def _limit(value: Any, variables: dict[str, Any], number: Many, source: Many) -> Iterator[Any]:
    for most in map(number_of, number(value, variables)):
        for place, one in enumerate(source(value, variables) if most > 0 else ()):
            yield one
            if place + 1 >= most:
                break


def _skip(value: Any, variables: dict[str, Any], number: Many, source: Many) -> Iterator[Any]:
    for fewest in map(number_of, number(value, variables)):
        yield from islice(source(value, variables), max(0, fewest), None)


def _range(first: Any, end: Any, step: Any = 1) -> Iterator[Any]:
    for number in (first, end, step):
        number_of(number)
    return _steps(first, end, step)


def _steps(at: Any, end: Any, step: Any) -> Iterator[Any]:
    while (at < end and step > 0) or (at > end and step < 0):
        yield at
        at += step


def _keyed(
    combine: Callable[[list[tuple[Any, Any]]], Any],
) -> Callable[[Any, dict[str, Any], Many], Iterator[Any]]:
    """A function of an array and what ``by`` gives for its elements, as ``sort_by`` is."""

    def function(value: Any, variables: dict[str, Any], by: Many) -> Iterator[Any]:
        pairs = [(order_key(list(by(one, variables))), one) for one in array_of(value)]
        yield combine(sorted(pairs, key=lambda pair: pair[0]))

    return function


def _groups(pairs: list[tuple[Any, Any]]) -> list[list[Any]]:
    groups: list[list[Any]] = []
    last: Any = None
    for key, one in pairs:
        if not groups or key != last:
            groups.append([])
        last = key
        groups[-1].append(one)
    return groups


# Functions of one value of each argument that give several.
SERIES: dict[tuple[str, int], Callable[..., Iterable[Any]]] = {("range", 2): _range, ("range", 3): _range}

# Functions that give what their last argument gives, its failures too.
PASSING: dict[tuple[str, int], Callable[..., Iterable[Any]]] = {("limit", 2): _limit, ("skip", 2): _skip}

# Functions of the input and of arguments that are run as they are needed, until the first failure.
FUNCTIONS: dict[tuple[str, int], Callable[..., Iterable[Any]]] = {
    ("empty", 0): lambda value, variables: (),
    ("any", 2): _any,
    ("all", 2): _all,
    ("paths", 0): lambda value, variables: _paths(value),
    ("sort_by", 1): _keyed(lambda pairs: [one for _, one in pairs]),
    ("group_by", 1): _keyed(_groups),
    ("unique_by", 1): _keyed(lambda pairs: [group[0] for group in _groups(pairs)]),
    ("min_by", 1): _keyed(lambda pairs: pairs[0][1] if pairs else None),
    ("max_by", 1): _keyed(lambda pairs: pairs[-1][1] if pairs else None),
    **TEXTS_FUNCTIONS,
}

# Functions of jq that no rule may use, and why.
REFUSED = {
    **dict.fromkeys(
        ("now", "localtime", "input", "inputs", "input_filename", "input_line_number", "env", "debug", "stderr"),
        "looks outside of the document, and a rule must give the same for the same document",
    ),
    **dict.fromkeys(("halt", "halt_error"), "ends the program, which a rule must not"),
    **dict.fromkeys(
        ("del", "delpaths", "setpath", "pick", "path"),
        "is there for changing the document, which a rule cannot",
    ),
}

# Functions written in the language: parameters and body.
DEFINED: dict[tuple[str, int], tuple[tuple[str, ...], str]] = {
    ("select", 1): (("f",), "if f then . else empty end"),
    ("map", 1): (("f",), "[.[] | f]"),
    ("map_values", 1): (
        ("f",),
        'if type == "array" then map(f) else [to_entries[] | .key as $k | (.value | f) | {($k): .}] | add // {} end',
    ),
    ("recurse", 0): ((), ".."),
    ("recurse", 1): (("f",), "def r: ., (f | r); r"),
    ("values", 0): ((), "select(. != null)"),
    ("nulls", 0): ((), "select(. == null)"),
    ("booleans", 0): ((), 'select(type == "boolean")'),
    ("numbers", 0): ((), 'select(type == "number")'),
    ("strings", 0): ((), 'select(type == "string")'),
    ("arrays", 0): ((), 'select(type == "array")'),
    ("objects", 0): ((), 'select(type == "object")'),
    ("iterables", 0): ((), 'select(type == "array" or type == "object")'),
    ("scalars", 0): ((), 'select(type != "array" and type != "object")'),
    ("any", 0): ((), "any(.[]; .)"),
    ("all", 0): ((), "all(.[]; .)"),
    ("any", 1): (("f",), "any(.[]; f)"),
    ("all", 1): (("f",), "all(.[]; f)"),
    ("splits", 1): (("f",), "split(f; null)[]"),
    ("splits", 2): (("f", "flags"), "split(f; flags)[]"),
    ("paths", 1): (("f",), ". as $x | paths | select(. as $p | $x | getpath($p) | f)"),
    ("leaf_paths", 0): ((), 'paths(type != "array" and type != "object")'),
    ("isempty", 1): (("f",), "first((f | false), true)"),
    ("isvalid", 1): (("f",), "try (f | true) catch false"),
    ("add", 1): (("f",), "[f] | add"),
    ("IN", 1): (("f",), ". as $x | any(f; . == $x)"),
    ("IN", 2): (("f", "g"), "any(f; IN(g))"),
    ("recurse", 2): (("f", "p"), "def r: ., (f | select(p) | r); r"),
    ("repeat", 1): (("f",), "def r: ., (f | r); r"),
    ("walk", 1): (("f",), 'def r: if type == "array" or type == "object" then map_values(r) else . end | f; r'),
    ("in", 1): (("f",), ". as $x | f | has($x)"),
    ("range", 1): (("f",), "range(0; f)"),
    ("first", 1): (("f",), "limit(1; f)"),
    ("last", 1): (("f",), "reduce f as $x (null; $x)"),
    ("nth", 2): (("n", "f"), "last(limit(n + 1; f))"),
    ("from_entries", 0): ((), "map({(.key): .value}) | add // {}"),
    ("with_entries", 1): (("f",), "to_entries | map(f) | from_entries"),
    ("while", 2): (("p", "f"), "def r: if p then ., (f | r) else empty end; r"),
    ("until", 2): (("p", "f"), "def r: if p then . else f | r end; r"),
}
