"""Mixing told in plain Python, right or as dolma does it, to predict what becomes of every document."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from dolma_data.select.jq import compile_jq

from . import path_model
from .corpus import Document

ZERO = "mix-zero"
TRY = "mix-try"
MISSING = "mix-attributes-missing"
DAMAGE = "mix-damage"
BLANK = "mix-blank"
ODD_SPANS = "mix-odd-spans"
TYPES = "mix-types"
TWICE = "mix-twice"
NO_INPUT = "mix-inputs-missing"
REFUSED = "the run is refused"
NO_FILE = "no file"  # in the place of a row of attributes
ENDED = "ended"
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
Outcome = list[Document] | str  # the documents that come out, or that none does since the run is refused


class RefusedError(Exception):
    """The whole run is refused."""


@dataclass(frozen=True)
class Input:
    """A line of a document file, with the rows of attributes beside it."""

    file: str
    line: int
    document: Document
    attributes: Sequence[dict[str, Any] | str]  # rows, NO_FILE, or ENDED where the file has fewer
    cut: bool = False  # the archive ends within this line


@dataclass(frozen=True)
class Case:
    """A stream, what it reads, and the differences that it runs into."""

    name: str
    stream: dict[str, Any]
    inputs: Sequence[Input]
    differences: frozenset[str]
    shuffle: bool | None = None


def mix(case: Case, ways: frozenset[str]) -> list[Outcome]:
    """What becomes of every input, with dolma's ``ways``."""
    patterns = case.stream["documents"]
    if any("nothing" in pattern for pattern in patterns) and NO_INPUT not in ways:
        return [REFUSED] * len(case.inputs)
    times = len([pattern for pattern in patterns if "nothing" not in pattern]) if TWICE in ways else 1
    outcomes: list[Outcome] = []
    ended: set[str] = set()
    try:
        for each in case.inputs:
            if each.cut:
                ended.add(each.file)
                if DAMAGE not in ways:
                    raise RefusedError
            kept = None if each.file in ended else mix_one(case.stream, each, ways)
            outcomes.append([] if kept is None else [kept] * times)
    except RefusedError:
        return [REFUSED] * len(case.inputs)
    return outcomes


def mix_one(stream: dict[str, Any], given: Input, ways: frozenset[str]) -> Document | None:
    """The document that comes out, if any does."""
    document = copy.deepcopy(given.document)
    if TYPES not in ways and not all(type(document.get(name)) is str for name in ("id", "text", "source")):
        raise RefusedError
    if MISSING not in ways and not all(isinstance(row, dict) for row in given.attributes):
        raise RefusedError
    there = [row for row in given.attributes if row != NO_FILE]
    if there:
        read = takewhile(lambda row: isinstance(row, dict), there)  # none of a later file either
        joined = {name: value for row in read for name, value in row.items()}  # type: ignore[union-attr]
        document["attributes"] = {**document.get("attributes", {}), **copy.deepcopy(joined)}
    if BLANK not in ways and not document["text"].strip():
        return None
    if not _is_kept(stream.get("filter"), document, ways):
        return None
    text = replace(document, stream.get("span_replacement", []), ways)
    document["text"] = text
    if len(text.strip(WHITE_SPACE).encode()) < stream["output"].get("min_text_length", 0):
        return None
    if BLANK not in ways and not text.strip():
        return None
    for name in stream["output"].get("discard_fields", []):
        document.pop(name, None)
    metadata = document.get("metadata")
    provenance = {"provenance": f"{given.file}:{given.line}"}
    document["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), **provenance}
    return document


def _is_kept(rules: dict[str, Any] | None, document: Document, ways: frozenset[str]) -> bool:
    if rules is None:
        return True
    language = rules.get("syntax", "jsonpath")
    include, exclude = rules.get("include", []), rules.get("exclude", [])
    if include and not any(matches(rule, language, document, ways, all) for rule in include):
        return False
    return not any(matches(rule, language, document, ways, any) for rule in exclude)


def matches(
    rule: str, language: str, document: Any, ways: frozenset[str], of_several: Callable[[list[bool]], bool]
) -> bool:
    """Whether a rule matches; of what a jq program gives, all has to be true to include and any to exclude."""
    if language == "jsonpath":
        return bool(path_model.select(rule, document, ways))
    found = compile_jq(rule, dolma=TRY in ways).find(document)
    return bool(found) and of_several([bool(each) or (ZERO in ways and type(each) is float) for each in found])


def replace(document: Document, replacements: Sequence[dict[str, Any]], ways: frozenset[str]) -> str:
    """The text with its spans replaced."""
    text: str = document["text"]
    found: list[tuple[int, int, str]] = []
    for item in replacements:
        low, high = item.get("min_score", -float("inf")), item.get("max_score", float("inf"))
        new = item["replacement"]
        if new.startswith("$"):
            (new,) = compile_jq(new[1:]).find(document)
        for start, end, score in spans(item, document, ways):
            if low <= score < high:
                found.append((start, end, new))
    found.sort(key=lambda each: each[0])
    if ODD_SPANS in ways and any(start >= end or start >= len(text) for start, end, _ in found):
        return walk(text, found)
    parts, at = [], 0
    for start, end, new in found:
        if not 0 <= start <= end <= len(text) + 1 and ODD_SPANS not in ways:
            raise RefusedError
        if start >= at:
            parts += [text[at:start], new.replace("{}", text[start:end])]
            at = end
    return "".join([*parts, text[at:]])


def spans(item: dict[str, Any], document: Document, ways: frozenset[str]) -> list[list[Any]]:
    """The spans that a path names: one, or arrays of them."""
    if item.get("syntax", "jsonpath") == "jq":
        hits = compile_jq(item["span"]).find(document)
    else:
        hits = path_model.select(item["span"], document, ways)
    found: list[list[Any]] = []
    for hit in hits:
        found += [] if not hit else hit if isinstance(hit[0], list) else [hit]
    return found


def walk(text: str, found: Sequence[tuple[int, int, str]]) -> str:
    """The text as dolma's loop over its characters makes it where spans are empty or lie behind its end."""
    parts = []
    now = began = 0
    for at, character in enumerate(text):
        if now == len(found):
            parts.append(text[at:])
            break
        start, end, new = found[now]
        began = at if at == start else began
        if start <= at < end:
            continue
        if at == end:
            parts.append(new.replace("{}", text[began:at]))
            while now < len(found) and found[now][0] < at:
                now += 1
        if now < len(found) and found[now][0] == at:
            began = at
        else:
            parts.append(character)
    if now < len(found):
        parts.append(found[now][2].replace("{}", text[began:]))
    return "".join(parts)
