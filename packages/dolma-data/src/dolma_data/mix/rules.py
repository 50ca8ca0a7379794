"""What a stream of ``mix`` does to a document: its rules compiled, and the account of what they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, Protocol

from ..config.mix import MixStream, SpanReplacement, Syntax
from ..documents import is_blank
from ..errors import UserError
from ..select.jq import JqError, compile_jq
from ..select.jsonpath import Selector, compile_path, spans
from ..select.jsonpath_syntax import Field
from ..select.needs import Needs, all_needs

BLANK = "blank text"
NOT_INCLUDED = "no include rule matches"
NEEDED_FIELDS = ("id", "text", "source")
# White_Space of Unicode, which trimming means here; str.strip() would take U+001C to U+001F as well
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
Counter = dict[str, int]
_START = itemgetter(0)


class Rule(Protocol):
    """A compiled rule or path to spans, in either language."""

    @property
    def text(self) -> str:
        """The rule as it was written."""
        ...

    def find(self, document: Any) -> list[Any]:
        """What it gives for the document."""

    def matches(self, document: Any) -> bool:
        """Whether a document that it includes is kept."""

    def excludes(self, document: Any) -> bool:
        """Whether a document that it excludes is left out."""

    def needs(self) -> Needs:
        """What it looks at."""


@dataclass(frozen=True)
class Replacer:
    """A compiled span replacement: spans with ``low <= score < high`` become ``text``, or what ``program`` gives."""

    selector: Rule
    text: str
    low: float
    high: float
    program: Rule | None = None

    @cached_property
    def is_constant(self) -> bool:
        """Whether every span becomes :attr:`text`."""
        return self.program is None and "{}" not in self.text

    def replacement(self, document: dict[str, Any], span: str) -> str:
        """The text for a span, whose own text takes the place of {}. ValueError where a program gives no string."""
        if self.program is None:
            return self.text.replace("{}", span)
        found = self.program.find(document)
        if len(found) != 1 or type(found[0]) is not str:
            raise ValueError(f"the replacement {self.text} gives {found!r:.80} where one string is needed")
        return found[0].replace("{}", span)


@dataclass(frozen=True)
class Rules:
    """What a stream does to a document, compiled."""

    include: tuple[Rule, ...]
    exclude: tuple[Rule, ...]
    replace: tuple[Replacer, ...]
    discard: tuple[str, ...]
    min_text_length: int
    keep_blank: bool = False
    dolma: bool = False

    def names(self) -> list[str]:
        """The rules that can drop a document, in the order in which they are asked."""
        blank = [] if self.keep_blank else [BLANK]
        include = [NOT_INCLUDED] if self.include else []
        length = [f"min_text_length {self.min_text_length}"] if self.min_text_length else []
        return [*blank, *include, *(rule.text for rule in self.exclude), *length]

    def all(self) -> list[Rule]:
        """Every rule and path."""
        programs = [item.program for item in self.replace if item.program is not None]
        return [*self.include, *self.exclude, *(item.selector for item in self.replace), *programs]

    def needs(self) -> Needs:
        """What all rules together look at."""
        return all_needs(rule.needs() for rule in self.all())

    def keys_of_spans(self) -> frozenset[str]:
        """Keys of attributes that are paths to spans, ``$.attributes.KEY``, where no jq program may look at them."""
        if not all(isinstance(rule, Selector) for rule in self.all()):
            return frozenset()
        return frozenset(filter(None, (attribute_of(item.selector) for item in self.replace)))


@dataclass
class Funnel:
    """Counts of one stream, by source."""

    read: Counter = field(default_factory=dict)
    kept: Counter = field(default_factory=dict)
    read_bytes: Counter = field(default_factory=dict)
    kept_bytes: Counter = field(default_factory=dict)
    dropped: dict[str, Counter] = field(default_factory=dict)
    matched: dict[str, Counter] = field(default_factory=dict)
    replaced: Counter = field(default_factory=dict)  # by path

    def add(self, other: Funnel) -> None:
        """Take in what another part of the stream counted."""
        for name in ("read", "kept", "read_bytes", "kept_bytes", "replaced"):
            mine = getattr(self, name)
            for key, number in getattr(other, name).items():
                count(mine, key, number)
        for mine, theirs in ((self.dropped, other.dropped), (self.matched, other.matched)):
            for rule, counter in theirs.items():
                total = mine.setdefault(rule, {})
                for key, number in counter.items():
                    count(total, key, number)


def count(counter: Counter, key: str, number: int = 1) -> None:
    """Add to the entry of ``key``."""
    counter[key] = counter.get(key, 0) + number


def utf8_length(text: str) -> int:
    """Bytes of a text as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def compile_rules(stream: MixStream, compat: str | None = None) -> Rules:
    """Compile the rules of a stream; UserError for what cannot work."""
    where = f"stream {stream.name}"
    dolma = compat == "dolma"
    if stream.filter is not None and not stream.filter.include and not stream.filter.exclude:
        raise UserError("a filter without include and exclude", where=where, fix="leave it out or give it paths")
    for name in stream.output.discard_fields:
        if name == "text" or (name in NEEDED_FIELDS and not dolma):
            raise UserError(f"discard_fields has {name!r}, which every document needs", where=where, fix="keep it")
    min_text_length = stream.output.min_text_length or 0
    if min_text_length < 0:
        raise UserError("min_text_length is negative", where=where, fix="give 0 or more")
    rules = stream.filter
    return Rules(
        include=tuple(compile_rule(text, rules.syntax, dolma) for text in rules.include) if rules else (),
        exclude=tuple(compile_rule(text, rules.syntax, dolma) for text in rules.exclude) if rules else (),
        replace=tuple(_compile_replacement(item, where, dolma) for item in stream.span_replacement),
        discard=stream.output.discard_fields,
        min_text_length=min_text_length,
        keep_blank=dolma,
        dolma=dolma,
    )


def compile_rule(text: str, syntax: Syntax, dolma: bool = False) -> Rule:
    """A rule of either language; UserError with the place where it makes no sense."""
    if syntax == "jq":
        return compile_jq(text, dolma=dolma)
    if syntax != "jsonpath":
        raise UserError(f"syntax {syntax!r} is not offered", fix="write jsonpath or jq")
    return compile_path(text, dolma=dolma)


def _compile_replacement(item: SpanReplacement, where: str, dolma: bool) -> Replacer:
    if item.min_score is None and item.max_score is None:
        raise UserError(f"{item.span} has neither min_score nor max_score", where=where, fix="give one of them")
    low = -float("inf") if item.min_score is None else item.min_score
    high = float("inf") if item.max_score is None else item.max_score
    program = compile_jq(item.replacement[1:]) if item.replacement.startswith("$") else None
    return Replacer(compile_rule(item.span, item.syntax, dolma), item.replacement, low, high, program)


def apply_rules(rules: Rules, document: dict[str, Any], funnel: Funnel) -> str | None:
    """Apply the rules to ``document``, whose text is replaced; returns the rule that dropped it, None if it is kept.

    Every rule is asked, so that the funnel knows all that match. Raises ValueError for spans that do not fit the text
    and for jq programs that fail.
    """
    source, text = document["source"], document["text"]
    size = utf8_length(text)
    count(funnel.read, source)
    count(funnel.read_bytes, source, size)
    matched = [BLANK] if not rules.keep_blank and is_blank(text) else []
    if rules.include and not any(rule.matches(document) for rule in rules.include):
        matched.append(NOT_INCLUDED)
    for rule in rules.exclude:
        if matched and rules.dolma:
            break
        try:
            if rule.excludes(document):
                matched.append(rule.text)
        except JqError:
            if not matched:  # a document that is left out already needs no answer
                raise
    if not matched:
        if rules.replace:
            document["text"] = replace_spans(document, rules, funnel.replaced)
            if document["text"] is not text:
                text = document["text"]
                size = utf8_length(text)
        if rules.min_text_length and utf8_length(text.strip(WHITE_SPACE)) < rules.min_text_length:
            matched.append(f"min_text_length {rules.min_text_length}")
        elif not rules.keep_blank and is_blank(text):
            matched.append(BLANK)
    if matched:
        return _dropped(matched, source, funnel)
    count(funnel.kept, source)
    count(funnel.kept_bytes, source, size)
    return None


def attribute_of(rule: Rule) -> str | None:
    """The key where a path is ``$.attributes.KEY``."""
    if isinstance(rule, Selector):
        match rule.path.steps:
            case (Field("attributes"), Field(name)):
                return name
    return None


def _dropped(matched: list[str], source: str, funnel: Funnel) -> str:
    for rule in dict.fromkeys(matched):
        count(funnel.matched.setdefault(rule, {}), source)
    count(funnel.dropped.setdefault(matched[0], {}), source)
    return matched[0]


def spans_to_replace(document: dict[str, Any], rules: Rules) -> list[tuple[int, int, float, Replacer]]:
    """``(start, end, score, replacer)`` of the spans whose score asks for it, by their starts (then as named)."""
    found = []
    for replacer in rules.replace:
        low, high = replacer.low, replacer.high
        found += [
            (start, end, score, replacer)
            for start, end, score in spans(replacer.selector.find(document))
            if low <= score < high
        ]
    found.sort(key=_START)
    return found


def replace_spans(document: dict[str, Any], rules: Rules, replaced: Counter) -> str:
    """The text with spans replaced; of overlapping spans the one that starts first (then: is named first) counts.

    An end one past the text is taken as the end, since Dolma's deduplication writes that. Raises ValueError for spans
    that lie outside otherwise.
    """
    text = document["text"]
    found = [(start, end, replacer) for start, end, _, replacer in spans_to_replace(document, rules)]
    if not found:
        return str(text)
    if rules.dolma and any(start < 0 or start >= end or start >= len(text) for start, end, _ in found):
        return _replace_as_dolma(document, found, replaced)
    parts = []
    at = 0
    limit = len(text) + 1
    numbers = {replacer.selector.text: 0 for _, _, replacer in found}
    for start, end, replacer in found:
        if not 0 <= start <= end <= limit and not rules.dolma:
            raise ValueError(f"the span [{start}, {end}] of {replacer.selector.text} lies outside the text")
        if start < at:
            continue
        if start > at:
            parts.append(text[at:start])
        if not replacer.is_constant:
            parts.append(replacer.replacement(document, text[start:end]))
        elif replacer.text:
            parts.append(replacer.text)
        at = end
        numbers[replacer.selector.text] += 1
    for name, number in numbers.items():
        if number:
            count(replaced, name, number)
    return "".join([*parts, text[at:]])


def _replace_as_dolma(document: dict[str, Any], found: Sequence[tuple[int, int, Replacer]], replaced: Counter) -> str:
    """What allenai/dolma (src/shard.rs) makes of empty spans and of spans that begin behind the text.

    An empty span swallows the character behind it and stops all later ones; its text, and that of a span behind the
    end, comes once more at the end.
    """
    text = document["text"]
    parts: list[str] = []
    here = began = 0  # span under way, where the last span began

    def put(end: int) -> None:
        parts.append(found[here][2].replacement(document, text[began:end]))
        count(replaced, found[here][2].selector.text)

    for at, character in enumerate(text):
        if here >= len(found):
            parts.append(character)
            continue
        start, end, _ = found[here]
        if at == start:
            began = at
        if start <= at < end:
            continue
        if at == end:
            put(at)
            while here < len(found) and found[here][0] < at:
                here += 1
        if here < len(found) and found[here][0] == at:
            began = at
        else:
            parts.append(character)
    if here < len(found):
        put(len(text))
    return "".join(parts)
