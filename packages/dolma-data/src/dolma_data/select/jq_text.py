"""The functions of jq programs that look at strings: regular expressions, formats (``@csv``), trimming, dates."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice, product
from typing import Any
from urllib.parse import quote

import regex  # type: ignore[import-untyped]

from .jq_values import JqError, array_of, fail, kind_of, number_of, split, string_of, text_of, to_json

Many = Callable[[Any, dict[str, Any]], Iterable[Any]]
_FLAGS = {"i": regex.IGNORECASE, "s": regex.DOTALL, "p": regex.DOTALL, "x": regex.VERBOSE, "l": 0, "n": 0, "g": 0}


def _pattern(pattern: Any, flags: Any) -> Any:
    compiled = 0
    for flag in flags or "":
        if flag not in _FLAGS:
            raise fail(flag, "use as a flag")
        compiled |= _FLAGS[flag]
    try:
        return regex.compile(string_of(pattern), compiled)
    except regex.error as error:
        raise fail(pattern, "use as a regular expression") from error


def _matches(value: Any, pattern: Any, flags: Any, every: bool = False) -> Iterator[Any]:
    """The matches: the first, or with the flag ``g`` all; with ``n`` none that is empty."""
    flags = flags or ""
    found = (match for match in _pattern(pattern, flags).finditer(string_of(value)) if match[0] or "n" not in flags)
    return found if every or "g" in flags else islice(found, 1)


def _described(match: Any) -> dict[str, Any]:
    names = {number: name for name, number in match.re.groupindex.items()}

    def part(number: int) -> dict[str, Any]:
        text = match[number]
        return {"offset": match.start(number), "length": len(text or ""), "string": text}

    captures = [{**part(number), "name": names.get(number)} for number in range(1, match.re.groups + 1)]
    return {**part(0), "captures": captures}


def _over_matches(give: Callable[[Any], Any], every: bool = False) -> Callable[..., Iterator[Any]]:
    """A function of a pattern and flags that gives something for each match."""

    def function(value: Any, variables: dict[str, Any], pattern: Many, flags: Many | None = None) -> Iterator[Any]:
        for wanted in flags(value, variables) if flags else ("",):
            for one in pattern(value, variables):
                for match in _matches(value, one, wanted, every):
                    yield give(match)

    return function


def _substitute(most: int | None) -> Callable[..., Iterator[str]]:
    def function(
        value: Any, variables: dict[str, Any], pattern: Many, by: Many, flags: Many | None = None
    ) -> Iterator[str]:
        for wanted in flags(value, variables) if flags else ("",):
            for one in pattern(value, variables):
                text = string_of(value)
                found = list(islice(_pattern(one, wanted).finditer(text), None if "g" in (wanted or "") else most))
                for news in product(*([*map(string_of, by(match.groupdict(), variables))] for match in found)):
                    at, parts = 0, []
                    for match, new in zip(found, news, strict=True):
                        parts += [text[at : match.start()], new]
                        at = match.end()
                    yield "".join([*parts, text[at:]])

    return function


def _test(value: Any, pattern: Any, flags: Any = "") -> bool:
    return next(_matches(value, pattern, flags), None) is not None


def _join(value: Any, separator: Any) -> Any:
    parts = array_of(value)
    if not parts:
        return ""
    return string_of(separator).join("" if part is None else text_of(part) for part in parts)


def _cells(format_one: Callable[[Any], str], separator: str) -> Callable[[Any], str]:
    """A row of an array: numbers and truth values as they are, null empty, strings as ``format_one`` writes them."""

    def row(value: Any) -> str:
        cells = []
        for cell in array_of(value):
            if kind_of(cell) in ("array", "object"):
                raise fail(cell, "write in a row")
            cells.append("" if cell is None else format_one(cell) if type(cell) is str else text_of(cell))
        return separator.join(cells)

    return row


def _for_tables(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _for_shells(value: Any) -> str:
    parts = array_of(value) if kind_of(value) == "array" else [value]
    return " ".join("'" + one.replace("'", "'\\''") + "'" if type(one) is str else text_of(one) for one in parts)


def _decode(value: Any) -> str:
    text = text_of(value)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-8", "replace")
    except ValueError as error:
        raise fail(value, "decode as base64") from error


FORMATS: dict[str, Callable[[Any], str]] = {
    "text": text_of,
    "json": to_json,
    "csv": _cells(lambda text: '"' + text.replace('"', '""') + '"', ","),
    "tsv": _cells(_for_tables, "\t"),
    "html": lambda value: html.escape(text_of(value)).replace("&#x27;", "&#39;"),
    "uri": lambda value: quote(text_of(value), safe="-_.~"),
    "sh": _for_shells,
    "base64": lambda value: base64.b64encode(text_of(value).encode()).decode(),
    "base64d": _decode,
}


def _from_date(value: Any) -> int | float:
    try:
        seconds = datetime.fromisoformat(string_of(value)).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise fail(value, "read as a date") from error
    return int(seconds) if seconds.is_integer() else seconds


def _to_date(value: Any) -> str:
    try:
        return datetime.fromtimestamp(number_of(value), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise fail(value, "write as a date") from error


def _implode(value: Any) -> str:
    try:
        return "".join(chr(number_of(code)) for code in array_of(value))
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, JqError):
            raise
        raise fail(value, "make a string of") from error


# Functions that give one value for the input and one value of each argument.
TEXT_FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("startswith", 1): lambda value, other: string_of(value).startswith(string_of(other)),
    ("endswith", 1): lambda value, other: string_of(value).endswith(string_of(other)),
    ("ltrimstr", 1): lambda value, other: value.removeprefix(other) if type(value) is type(other) is str else value,
    ("rtrimstr", 1): lambda value, other: value.removesuffix(other) if type(value) is type(other) is str else value,
    ("trim", 0): lambda value: string_of(value).strip(),
    ("ltrim", 0): lambda value: string_of(value).lstrip(),
    ("rtrim", 0): lambda value: string_of(value).rstrip(),
    ("ascii_downcase", 0): lambda value: re.sub("[A-Z]+", lambda found: found[0].lower(), string_of(value)),
    ("ascii_upcase", 0): lambda value: re.sub("[a-z]+", lambda found: found[0].upper(), string_of(value)),
    ("explode", 0): lambda value: [ord(character) for character in string_of(value)],
    ("implode", 0): _implode,
    ("split", 1): lambda value, separator: split(string_of(value), string_of(separator)),
    ("split", 2): lambda value, pattern, flags: _pattern(pattern, flags).split(string_of(value)),
    ("join", 1): _join,
    ("test", 1): _test,
    ("test", 2): _test,
    **dict.fromkeys((("fromdate", 0), ("fromdateiso8601", 0)), _from_date),
    **dict.fromkeys((("todate", 0), ("todateiso8601", 0)), _to_date),
    **{(f"@{name}", 0): function for name, function in FORMATS.items()},
}

# Functions of the input and of arguments that are run as they are needed.
TEXTS_FUNCTIONS: dict[tuple[str, int], Callable[..., Iterable[Any]]] = {
    **dict.fromkeys((("match", 1), ("match", 2)), _over_matches(_described)),
    **dict.fromkeys((("capture", 1), ("capture", 2)), _over_matches(lambda match: match.groupdict())),
    **dict.fromkeys(
        (("scan", 1), ("scan", 2)),
        _over_matches(lambda match: list(match.groups()) if match.re.groups else match[0], every=True),
    ),
    **dict.fromkeys((("sub", 2), ("sub", 3)), _substitute(1)),
    **dict.fromkeys((("gsub", 2), ("gsub", 3)), _substitute(None)),
}
