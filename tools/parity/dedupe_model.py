"""Deduplication told in plain Python, right or as dolma does it, to predict every row of attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import regex

from .corpus import Document

DOCUMENT_SPAN = "dedupe-document-span"
LAST_SPAN = "dedupe-last-span"
SEPARATOR = "dedupe-separator"
MIN_WORDS = "dedupe-min-words"
STRIDE = "dedupe-stride"
PLAIN_WORD_BOUNDARY = regex.compile(r"(?wV1)\b")  # right but for apostrophes and some scripts
BLANK = regex.compile(r"\p{White_Space}*")
Key = tuple[str, ...]
Attributes = dict[str, list[list[Any]]]


def mark(documents: Sequence[Document], rule: dict[str, Any], ways: frozenset[str]) -> list[Attributes]:
    """The attributes of every document by ``rule``, the block ``dedupe`` of a configuration, with dolma's ``ways``."""
    seen: set[Key] = set()
    step = _mark_document if "documents" in rule else _mark_paragraphs
    return [step(document, rule, ways, seen) for document in documents]


def conditions(documents: Sequence[Document], rule: dict[str, Any]) -> dict[str, Callable[[int], bool]]:
    """The differences that can play a part by ``rule``, each with the rows in which it can."""
    if "documents" in rule:
        path = rule["documents"]["key"]
        found = {DOCUMENT_SPAN: lambda k: not (key := value_at(documents[k], path)).isascii() or key != text(k)}
    else:
        separator = rule["paragraphs"].get("paragraph_separator", "\n")
        found = {LAST_SPAN: lambda k: not text(k).isascii() or text(k).endswith(separator) or len(separator) > 1}
        if len(separator) > 1:
            found[SEPARATOR] = lambda k: separator in text(k)
        if rule["paragraphs"].get("by_ngram", {}).get("stride", 0) > 1:
            found[STRIDE] = lambda k: True
    if rule.get("min_words", 0):
        found[MIN_WORDS] = lambda k: True

    def text(k: int) -> str:
        return str(documents[k]["text"])

    return found


def value_at(document: Document, key: str) -> str:
    """The string at a path such as ``$.metadata.url``."""
    value: Any = document
    for name in key.removeprefix("$.").split("."):
        value = value[name]
    return str(value)


@cache
def words(text: str) -> list[str]:
    """Words by the word boundaries of Unicode Standard Annex 29, without those of white space."""
    if text.isascii() and "'" not in text:
        found = PLAIN_WORD_BOUNDARY.split(text)
    else:
        from uniseg import wordbreak  # slower, and installed for the comparison alone

        found = list(wordbreak.words(text))
    return [piece for piece in found if not BLANK.fullmatch(piece)]


def _few_words(text: str, least: int) -> bool:
    return sum(any(map(str.isalnum, word)) for word in words(text)) < least


def _mark_document(document: Document, rule: dict[str, Any], ways: frozenset[str], seen: set[Key]) -> Attributes:
    name, text = rule["documents"]["attribute_name"], document["text"]
    key = value_at(document, rule["documents"]["key"])
    least = rule.get("min_words", 0)
    if least and MIN_WORDS in ways:
        return {name: []} if len(words(key)) < least else {}
    size = len(key.encode()) if DOCUMENT_SPAN in ways else len(key)
    blank = rule.get("skip_empty", False) and BLANK.fullmatch(key)
    if size < rule.get("min_length", 0) or blank or (least and _few_words(key, least)):
        return {name: []}
    if (key,) in seen:
        return {name: [[0, size if DOCUMENT_SPAN in ways else len(text), 1]]}
    seen.add((key,))
    return {}


def _mark_paragraphs(document: Document, rule: dict[str, Any], ways: frozenset[str], seen: set[Key]) -> Attributes:
    settings, text = rule["paragraphs"], document["text"]
    if not text:
        return {}
    separator = settings.get("paragraph_separator", "\n")
    width = 1 if SEPARATOR in ways else len(separator)
    size = len(text.encode())
    pieces = text.split(separator)
    spans: list[list[Any]] = []
    end = 0
    for number, piece in enumerate(pieces, 1):
        start = end
        end += len(piece)
        last = number == len(pieces)
        if end < size - 1 if LAST_SPAN in ways else not last:
            end += 1 if last else width
        if len(piece) < rule.get("min_length", 0) or _left_alone(piece, rule, ways):
            continue
        by_ngram = settings.get("by_ngram", {})
        if by_ngram.get("ngram_length", 0):
            score = _overlap(piece, by_ngram, ways, seen)
            if score is not None and score >= np.float32(by_ngram.get("overlap_threshold", 1.0)):
                spans.append([start, end, float(score)])
        elif (piece,) in seen:
            spans.append([start, end, 1])
        else:
            seen.add((piece,))
    return {settings["attribute_name"]: spans}


def _left_alone(piece: str, rule: dict[str, Any], ways: frozenset[str]) -> bool:
    least = rule.get("min_words", 0)
    if least and (MIN_WORDS in ways or _few_words(piece, least)):
        return True
    return bool(rule.get("skip_empty", False) and BLANK.fullmatch(piece))


def _overlap(piece: str, by_ngram: dict[str, Any], ways: frozenset[str], seen: set[Key]) -> np.float32 | None:
    """The part of the n-grams that were seen; None without any. Few n-grams are decided by the whole piece."""
    length, stride = by_ngram["ngram_length"], by_ngram.get("stride", 0)
    found = words(piece)
    places = range(len(found) - length + 1)
    if STRIDE in ways:
        chosen = [place for place in places if place == 0 or (place - 1) % max(stride, 1) == 0]
    else:
        chosen = list(places[:: max(stride, 1)])
    known = 0
    for place in chosen:
        key = tuple(found[place : place + length])
        known += key in seen
        seen.add(key)
    if len(chosen) < 2 and not by_ngram.get("skip_short_paragraphs", False):
        known = (piece,) in seen
        seen.add((piece,))
        return np.float32(known)
    return np.float32(known) / np.float32(len(chosen)) if chosen else None
