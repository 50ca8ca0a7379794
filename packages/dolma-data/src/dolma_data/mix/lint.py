"""What is odd about the rules of a stream, found before any work: one line for each.

Looked at are the settings, the manifests of the attributes and the first rows of the first file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

import msgspec

from ..config.mix import MixConfig, MixStream
from ..documents import ATTRIBUTES, DocumentFile, check_attributes_manifest
from ..errors import UserError
from ..reading import PIECE_BYTES, read_blocks, split_lines
from ..select.jsonpath import Selector
from ..select.jsonpath_syntax import All, Compare, Exists, Field, Filter, Index, Length, Literal, Not, Path, Some, Test
from .rules import Rule, Rules

ROWS_TO_PEEK = 100
WHOLE_MATCH = 1.0  # what Dolma's deduplication writes for a whole document or paragraph, as an integer
# keys whose scores are shares or probabilities
UP_TO_ONE = re.compile(
    r"fraction_of|_frac(_|$)|__label__|(ft_lang_id|cld[23]|langdetect|lingua|jigsaw)\w*__|dclm_oh_eli5__score$|random_number"
)


@dataclass
class Known:
    """Keys that the attributes of a stream have; ``certain`` where nothing else can come later."""

    keys: set[str] = field(default_factory=set)
    certain: bool = True
    scores: dict[str, set[type]] = field(default_factory=dict)  # kinds of number seen in the first rows


def lint_mix(
    config: MixConfig, stream: MixStream, rules: Rules, files: Sequence[DocumentFile], *, refuse: bool
) -> list[str]:
    """The notes about a stream. With ``refuse``, a rule on an attribute that nothing writes is a UserError."""
    where = f"stream {stream.name}"
    notes = list(_lint_settings(config, stream))
    known = _known(stream, files) if files else Known(certain=False)
    for rule in rules.all():
        for key in sorted((rule.needs().attributes or frozenset()) - known.keys):
            if not files:
                continue
            problem = f"no attribute {key!r} is known, which the rule {rule.text} asks for"
            fix = _mend(key, known.keys, stream, files[0])
            if known.certain and refuse and config.compat is None:
                raise UserError(problem, where=where, fix=fix)
            notes.append(f"{problem} ({where}); {fix}")
    for rule in (*rules.include, *rules.exclude):
        notes += [f"{note} ({where})" for note in _lint_thresholds(rule, known, config.compat)]
        notes += [f"{note}: {rule.text} ({where})" for note in _lint_reading(rule)]
    for item in rules.replace:
        notes += [f"{note} ({where})" for note in _lint_bounds(item.selector, item.low, item.high)]
    return notes


def _lint_settings(config: MixConfig, stream: MixStream) -> Iterator[str]:
    if config.shuffle and config.compat is None and stream is config.streams[0]:
        yield f"shuffle: true keeps the order of the input in Dolma; here it shuffles, by seed {config.seed}"
    repeated = [item for place, item in enumerate(stream.documents) if item in stream.documents[:place]]
    for item in repeated:
        times = "are read twice" if config.compat else "are read once; Dolma reads them twice"
        yield f"the documents {item} are named twice and {times} (stream {stream.name})"
    for item in [name for place, name in enumerate(stream.attributes) if name in stream.attributes[:place]]:
        yield f"the attributes {item} are named twice (stream {stream.name}); leave one out"


def _known(stream: MixStream, files: Sequence[DocumentFile]) -> Known:
    """Known are the keys that manifests declare and those in the first rows.

    Where a folder has no manifest, or documents bring attributes of their own, a key may still come later.
    """
    known = Known()
    for root in dict.fromkeys(file.root for file in files if stream.attributes):
        for name in stream.attributes:
            manifest = check_attributes_manifest(root / ATTRIBUTES / name)
            if manifest is None:
                known.certain = False
            else:
                known.keys.update(key for tagger in manifest["taggers"] for key in tagger["keys"])
    places = [files[0].path, *(files[0].attributes_path(name) for name in stream.attributes)]
    for place in places:
        if not place.is_file():
            continue
        for row in _first_rows(place, stream.compression.input):
            own = row.get("attributes")
            if isinstance(own, dict) and own:
                known.certain = known.certain and place != files[0].path
                known.keys.update(own)
                for key, spans in own.items():
                    known.scores.setdefault(key, set()).update(_kinds(spans))
    return known


def _first_rows(place: FilePath, packing: str | None) -> Iterator[dict[str, Any]]:
    """The first rows that can be read; the pass over the documents says what is wrong with others."""
    lines = (line for block in read_blocks(place, PIECE_BYTES, packing) for line in split_lines(block.data))
    for line in islice(lines, ROWS_TO_PEEK):
        try:
            row = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def _kinds(spans: Any) -> set[type]:
    if not isinstance(spans, list):
        return set()
    return {type(span[2]) for span in spans if isinstance(span, list) and len(span) == 3}


def _mend(key: str, known: set[str], stream: MixStream, file: DocumentFile) -> str:
    near = difflib.get_close_matches(key, sorted(known), 1)
    if near:
        return f"did you mean {near[0]}?"
    folder = file.root / ATTRIBUTES
    others = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    for name in sorted(set(others) - set(stream.attributes), key=len, reverse=True):
        if key == name or key.startswith(f"{name}__"):
            return f"it is in the attributes {name}, which the stream does not load: add them"
    return f"attributes that are joined: {', '.join(stream.attributes) or 'none'}"


def _lint_thresholds(rule: Rule, known: Known, compat: str | None) -> Iterator[str]:
    if not isinstance(rule, Selector):
        return
    for key, operator, bound in _thresholds(rule.path):
        if operator in (">=", "<=", "==") and type(bound) is float and bound.is_integer():
            seen = known.scores.get(key, set())
            if int in seen or (not seen and bound == WHOLE_MATCH):
                becomes = "nor does it here (compat)" if compat else "here it does"
                yield (
                    f"in Dolma the integer {bound:.0f}, which its deduplication writes, is not {operator} {bound},"
                    f" so that {rule.text} never matches it; {becomes}"
                )
        if UP_TO_ONE.search(key) and not _reachable(operator, bound):
            yield f"{key} lies between 0 and 1, so that {rule.text} can never match; check the bound {bound}"


def _lint_reading(rule: Rule) -> Iterator[str]:
    """Parts of a path that Dolma does not take for what they say."""
    if not isinstance(rule, Selector):
        return
    for place, step in enumerate(rule.path.steps):
        if not isinstance(step, Filter):
            continue
        if place > 1 and isinstance(step.test, Not | All | Some):
            yield "in Dolma !, && and || on an element that is an array are put to what is in it, not to the element"
        for test in _comparisons(step.test):
            match test:
                case Compare(operator, _, Literal([int(number)])):
                    yield f"in Dolma [{number}] behind {operator} is an index into @, not an array"
                case Compare(_, left, right) if any(
                    isinstance(one, Path) and Length() in one.steps for one in (left, right)
                ):
                    yield "in Dolma .length() gives nothing inside a test"


def _comparisons(test: Test) -> Iterator[Compare]:
    match test:
        case Not(inner):
            yield from _comparisons(inner)
        case All(tests) | Some(tests):
            for one in tests:
                yield from _comparisons(one)
        case Compare():
            yield test


def _reachable(operator: str, bound: float) -> bool:
    """Whether ``score operator bound`` can hold for a score from 0 to 1."""
    return {
        ">": bound < 1,
        ">=": bound <= 1,
        "<": bound > 0,
        "<=": bound >= 0,
        "==": 0 <= bound <= 1,
    }.get(operator, True)


def _lint_bounds(selector: Rule, low: float, high: float) -> Iterator[str]:
    if low >= high:
        yield f"no score is {low} or more and below {high}, so that {selector.text} replaces nothing"
    elif any(UP_TO_ONE.search(key) for key in selector.needs().attributes or ()) and (low > 1 or high <= 0):
        yield f"the scores of {selector.text} lie between 0 and 1, so that it replaces nothing"


def _thresholds(path: Path) -> Iterator[tuple[str, str, float]]:
    """Comparisons of a score with a number: the key, the operator and the number."""
    for place, step in enumerate(path.steps):
        if isinstance(step, Filter):
            inside = place == 1 and path.steps[0] == Field("attributes")
            yield from _of_test(step.test, inside)


def _of_test(test: Test, inside: bool) -> Iterator[tuple[str, str, float]]:
    match test:
        case Not(inner):
            yield from _of_test(inner, inside)
        case All(tests) | Some(tests):
            for one in tests:
                yield from _of_test(one, inside)
        case Compare(operator, Path(from_root, steps), Literal(bound)) if type(bound) in (int, float):
            names = [step.name for step in steps if isinstance(step, Field)]
            if from_root or not inside:
                names = names[1:] if names[:1] == ["attributes"] else []
            if len(names) == 1 and steps and steps[-1] in (Index(2), Index(-1)):
                yield names[0], operator, bound
        case Compare() | Exists():
            return
