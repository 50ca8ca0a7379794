"""The functions of jq programs: those of one value, those that give several, and those written in the language."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, product, zip_longest
from typing import Any

import regex  # type: ignore[import-untyped]

from .jq_values import (
    NUMBER,
    JqError,
    add,
    children,
    fail,
    index,
    is_array,
    is_true,
    kind_of,
    length,
    order_key,
    split,
    text_of,
    to_json,
)

Many = Callable[[Any, dict[str, Any]], Iterable[Any]]


def _text(value: Any) -> str:
    if type(value) is not str:
        raise JqError(f"cannot use {to_json(value):.80} as string")
    return value


def _array(value: Any) -> list[Any]:
    if not is_array(value):
        raise JqError(f"cannot use {to_json(value):.80} as array")
    return list(value)


def _number(value: Any) -> Any:
    if type(value) not in NUMBER:
        raise JqError(f"cannot use {to_json(value):.80} as number")
    return value


def _sum(value: Any) -> Any:
    total: Any = None
    for one in children(value):
        total = add(total, one)
    return total


def _keys(value: Any) -> list[Any]:
    if type(value) is dict:
        return sorted(value)
    return list(range(len(_array(value))))


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


def _to_number(value: Any) -> Any:
    if type(value) in NUMBER:
        return value
    try:
        found = json.loads(_text(value))
    except ValueError as error:
        raise fail(value, "parse as number") from error
    return _number(found)


def _from_json(value: Any) -> Any:
    try:
        return json.loads(_text(value))
    except ValueError as error:
        raise fail(value, "parse as JSON") from error


def _whole(function: Callable[[float], int]) -> Callable[[Any], Any]:
    def rounded(value: Any) -> Any:
        number = _number(value)
        return function(number) if math.isfinite(number) else number

    return rounded


def _round(number: float) -> int:
    return int(math.copysign(math.floor(abs(number) + 0.5), number))


def _mathematics(function: Callable[..., float]) -> Callable[..., float]:
    def computed(value: Any, *more: Any) -> float:
        try:
            return float(function(*map(_number, (value, *more))))
        except (ValueError, OverflowError):
            return math.nan

    return computed


def _flatten(value: Any, depth: float = math.inf) -> list[Any]:
    flat: list[Any] = []
    for one in children(value):
        flat.extend(_flatten(one, depth - 1) if is_array(one) and depth > 0 else [one])
    return flat


def _join(value: Any, separator: Any) -> Any:
    parts = _array(value)
    if not parts:
        return ""
    return _text(separator).join("" if part is None else text_of(part) for part in parts)


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
    keys = [order_key(one) for one in _array(value)]
    return [place for place in range(len(keys)) if looked_for and keys[place : place + len(looked_for)] == looked_for]


def _place(which: int) -> Callable[[Any, Any], Any]:
    def found(value: Any, other: Any) -> Any:
        places = _indices(value, other)
        return places[which] if places else None

    return found


def _pattern(pattern: Any, flags: Any) -> Any:
    kinds = {"i": regex.IGNORECASE, "s": regex.DOTALL, "x": regex.VERBOSE, "n": 0, "g": 0, "l": 0, "p": regex.DOTALL}
    compiled = 0
    for flag in flags or "":
        if flag not in kinds:
            raise fail(flag, "use as a flag")
        compiled |= kinds[flag]
    try:
        return regex.compile(_text(pattern), compiled)
    except regex.error as error:
        raise fail(pattern, "use as a regular expression") from error


def _test(value: Any, pattern: Any, flags: Any = "") -> bool:
    return _pattern(pattern, flags).search(_text(value)) is not None


def _scan(value: Any, variables: dict[str, Any], pattern: Many) -> Iterator[Any]:
    for one in pattern(value, variables):
        for found in _pattern(one, "").finditer(_text(value)):
            yield list(found.groups()) if found.re.groups else found[0]


def _capture(value: Any, variables: dict[str, Any], pattern: Many) -> Iterator[Any]:
    for one in pattern(value, variables):
        found = _pattern(one, "").search(_text(value))
        if found:
            yield found.groupdict()


def _substitute(most: int) -> Callable[[Any, dict[str, Any], Many, Many], Iterator[str]]:
    def function(value: Any, variables: dict[str, Any], pattern: Many, by: Many) -> Iterator[str]:
        for one in pattern(value, variables):

            def put(found: Any) -> str:
                return "".join(_text(new) for new in islice(by(found.groupdict(), variables), 1))

            yield _pattern(one, "").sub(put, _text(value), most)

    return function


def _least(value: Any) -> Any:
    return min(_array(value), key=order_key, default=None)


def _most(value: Any) -> Any:
    best: Any = None
    for one in _array(value):
        if best is None or order_key(one) >= order_key(best):
            best = one
    return best


def _raise(value: Any) -> Any:
    raise JqError(value)


# Functions that give one value for the input and one value of each argument.
VALUE_FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("null", 0): lambda value: None,
    ("true", 0): lambda value: True,
    ("false", 0): lambda value: False,
    ("nan", 0): lambda value: math.nan,
    ("infinite", 0): lambda value: math.inf,
    ("not", 0): lambda value: not is_true(value),
    ("length", 0): length,
    ("utf8bytelength", 0): lambda value: len(_text(value).encode()),
    ("type", 0): kind_of,
    ("add", 0): _sum,
    ("keys", 0): _keys,
    ("keys_unsorted", 0): lambda value: list(value) if type(value) is dict else _keys(value),
    ("has", 1): _has,
    ("contains", 1): _contains,
    ("inside", 1): lambda value, other: _contains(other, value),
    ("tostring", 0): text_of,
    ("tonumber", 0): _to_number,
    ("tojson", 0): to_json,
    ("fromjson", 0): _from_json,
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
    ("isnan", 0): lambda value: bool(_number(value) != value),
    ("isinfinite", 0): lambda value: math.isinf(_number(value)),
    ("isnormal", 0): lambda value: math.isfinite(_number(value)) and abs(value) >= 2.2250738585072014e-308,
    ("startswith", 1): lambda value, other: _text(value).startswith(_text(other)),
    ("endswith", 1): lambda value, other: _text(value).endswith(_text(other)),
    ("ltrimstr", 1): lambda value, other: value.removeprefix(other) if type(value) is type(other) is str else value,
    ("rtrimstr", 1): lambda value, other: value.removesuffix(other) if type(value) is type(other) is str else value,
    ("ascii_downcase", 0): lambda value: re.sub("[A-Z]+", lambda found: found[0].lower(), _text(value)),
    ("ascii_upcase", 0): lambda value: re.sub("[a-z]+", lambda found: found[0].upper(), _text(value)),
    ("explode", 0): lambda value: [ord(character) for character in _text(value)],
    ("implode", 0): lambda value: "".join(chr(_number(code)) for code in _array(value)),
    ("split", 1): lambda value, separator: split(_text(value), _text(separator)),
    ("join", 1): _join,
    ("test", 1): _test,
    ("test", 2): _test,
    ("split", 2): lambda value, pattern, flags: _pattern(pattern, flags).split(_text(value)),
    ("transpose", 0): lambda value: [list(row) for row in zip_longest(*map(_array, _array(value)))],
    ("reverse", 0): lambda value: _array(value)[::-1],
    ("sort", 0): lambda value: sorted(_array(value), key=order_key),
    ("unique", 0): lambda value: _unique(_array(value)),
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
    ("error", 0): _raise,
    ("error", 1): lambda value, problem: _raise(problem),
}


def _select(value: Any, variables: dict[str, Any], test: Many) -> Iterator[Any]:
    for answer in test(value, variables):
        if is_true(answer):
            yield value


def _any(value: Any, variables: dict[str, Any], source: Many, test: Many) -> Iterator[bool]:
    yield any(is_true(answer) for one in source(value, variables) for answer in test(one, variables))


def _all(value: Any, variables: dict[str, Any], source: Many, test: Many) -> Iterator[bool]:
    yield all(is_true(answer) for one in source(value, variables) for answer in test(one, variables))


def _limit(value: Any, variables: dict[str, Any], number: Many, source: Many) -> Iterator[Any]:
    for most in number(value, variables):
        for place, one in enumerate(source(value, variables) if most > 0 else ()):
            yield one
            if place + 1 >= most:
                break


def _one(value: Any, variables: dict[str, Any]) -> Iterator[int]:
    yield 1


def _range(value: Any, variables: dict[str, Any], first: Many, end: Many, step: Many = _one) -> Iterator[Any]:
    for at, stop, by in product(*(list(map(_number, part(value, variables))) for part in (first, end, step))):
        while (at < stop and by > 0) or (at > stop and by < 0):
            yield at
            at += by


def _keyed(
    combine: Callable[[list[tuple[Any, Any]]], Any],
) -> Callable[[Any, dict[str, Any], Many], Iterator[Any]]:
    """A function of an array and what ``by`` gives for its elements, as ``sort_by`` is."""

    def function(value: Any, variables: dict[str, Any], by: Many) -> Iterator[Any]:
        pairs = [(order_key(list(by(one, variables))), one) for one in _array(value)]
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


# Functions of the input and of arguments that are run as they are needed.
FUNCTIONS: dict[tuple[str, int], Callable[..., Iterable[Any]]] = {
    ("empty", 0): lambda value, variables: (),
    ("select", 1): _select,
    ("any", 2): _any,
    ("all", 2): _all,
    ("limit", 2): _limit,
    ("range", 2): _range,
    ("range", 3): _range,
    ("scan", 1): _scan,
    ("capture", 1): _capture,
    ("sub", 2): _substitute(1),
    ("gsub", 2): _substitute(0),
    ("sort_by", 1): _keyed(lambda pairs: [one for _, one in pairs]),
    ("group_by", 1): _keyed(_groups),
    ("unique_by", 1): _keyed(lambda pairs: [group[0] for group in _groups(pairs)]),
    ("min_by", 1): _keyed(lambda pairs: pairs[0][1] if pairs else None),
    ("max_by", 1): _keyed(lambda pairs: pairs[-1][1] if pairs else None),
}

# Functions written in the language: parameters and body.
DEFINED: dict[tuple[str, int], tuple[tuple[str, ...], str]] = {
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
