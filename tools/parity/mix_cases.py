"""Mixing by dolma and by dolma-data with the same configurations, compared document by document."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import mix_model, path_model
from .attribution import Account, attribute
from .commands import ROOT, USER_ERROR, Command, read_rows, run, write_rows
from .corpus import Document
from .dedupe_cases import pieces, with_copies
from .dedupe_model import LAST_SPAN, mark
from .mix_model import ENDED, NO_FILE, REFUSED, Case, Input, Outcome, mix

SHUFFLE = "mix-shuffle"
FILES = ("a.jsonl.gz", "b.jsonl.gz")
EVERY = 4  # of the documents, one of so many
Rows = list[dict[str, Any]]


def draw(name: str, *what: object) -> int:
    """A number that is always the same for the same arguments."""
    return int.from_bytes(hashlib.sha256(repr((name, *what)).encode()).digest()[:4], "big")


def quality(document: Document) -> dict[str, Any]:
    """Attributes in all the shapes that rules meet: whole and decimal numbers, lists, objects, none at all."""
    name, text = str(document["id"]), document["text"]
    scores = (0.0, 0.25, 0.5, 1.0, 1, 0)
    found: dict[str, Any] = {
        "q__score": [[0, len(text), scores[draw(name, "score") % len(scores)]]],
        "q__year": (2018, 2019, 2019.0, "2019")[draw(name, "year") % 4],
        "q__plain": scores[draw(name, "plain") % len(scores)],
        "q__tags": [["x", "y"], ["x"], [1, 2], [1.0], []][draw(name, "tags") % 5],
        "q__nested": {"b": [0, min(9, len(text)), 1.0], "a": [0, min(4, len(text)), 0.9]},
        "q__lines": list(_lines(text, name)),
    }
    for key in sorted(found):
        if draw(name, key, "gone") % 7 == 0:
            del found[key]
        elif draw(name, key, "empty") % 11 == 0 and isinstance(found[key], list):
            found[key] = []
    return found


def _lines(text: str, name: str) -> Iterator[list[Any]]:
    start = 0
    for number, line in enumerate(text.split("\n")[:40]):
        end = min(start + len(line) + 1, len(text))
        if end > start:
            yield [start, end, (0.0, 0.3, 0.7, 1.0, 1)[draw(name, "line", number) % 5]]
        start = end


def odd(document: Document, empty_only: bool) -> dict[str, Any]:
    """Spans of other tools: empty ones, and if asked for, ones that end before they begin or lie behind the text."""
    size = len(document["text"])
    empty = [[place, place, 1.0] for place in (0, size // 3, size // 2, size)]
    wrong = [[size + 5, size + 9, 1.0], [size // 2, size // 4, 1.0], [0, size + 40, 1.0]]
    chosen = empty if empty_only else [*empty, *wrong]
    kept = [span for k, span in enumerate(chosen) if draw(str(document["id"]), "odd", k) % 3 == 0]
    return {"odd": kept + ([[1, 3, 1.0]] if size > 3 and draw(str(document["id"]), "even") % 2 else [])}


def cases(documents: Sequence[Document], work: Path) -> list[Case]:
    """All comparisons; their inputs are written below ``work``."""
    plain = inputs_of(documents, [quality, _repeated(documents)])
    empty = inputs_of(documents, [lambda document: odd(document, True)])
    wrong = inputs_of(documents, [lambda document: odd(document, False)])
    numbered = [
        replace(each, document={**each.document, "id": k if k % 5 == 0 else each.document["id"]})
        for k, each in enumerate(plain)
    ]
    short = [
        replace(each, attributes=(each.attributes[0], ENDED if each.file == FILES[1] and each.line > 20 else {}))
        for each in plain
    ]
    absent = [replace(each, attributes=(NO_FILE, *each.attributes[1:])) for each in plain]
    given = {
        "plain": plain, "empty": empty, "wrong": wrong, "numbered": numbered, "short": short, "absent": absent
    }  # fmt: skip
    for name, inputs in given.items():
        write_inputs(work / name, inputs)
    given["cut"] = cut_file(work / "cut", plain)
    found = []
    for name, which, ids, stream in _streams():
        folder = (work / which).absolute()
        patterns, shuffle = stream.pop("patterns", ("*.gz",)), stream.pop("shuffle", None)
        full = {
            "name": f"s{len(found)}",
            "documents": [f"{folder}/documents/{pattern}" for pattern in patterns],
            "attributes": [f"n{k}" for k in range(len(given[which][0].attributes))],
            **stream,
            "output": {"path": f"{ROOT}/out/{len(found)}", **stream.get("output", {})},
        }
        found.append(Case(name, full, given[which], frozenset(ids), shuffle))
    return found


def _streams() -> Iterator[tuple[str, str, set[str], dict[str, Any]]]:
    """Name, inputs, the differences that can play a part, and the stream."""
    blank, integer = mix_model.BLANK, path_model.INTEGER

    def rules(*include: str, exclude: Sequence[str] = (), syntax: str = "jsonpath") -> dict[str, Any]:
        return {"filter": {"include": list(include), "exclude": list(exclude), "syntax": syntax}}

    def spans(path: str, new: str, **bounds: Any) -> dict[str, Any]:
        return {"span": path, "replacement": new, **(bounds or {"min_score": 0.5})}

    yield "a bound", "plain", {blank}, rules("$.attributes[?(@.q__score[0][2] < 0.6)]")
    ends = "$.attributes[?(@.q__score && @.q__score[0] && @.q__score[0][2] >= 1.0)]"
    yield ">= 1.0", "plain", {blank, integer}, rules(exclude=[ends])
    yield "== 1", "plain", {blank, integer}, rules("$.attributes[?(@.q__score[0][2] == 1)]")
    yield "!= 1.0", "plain", {blank, integer}, rules("$.attributes[?(@.q__score[0][2] != 1.0)]")
    yield "<= 0", "plain", {blank, integer}, rules("$.attributes[?(@.q__plain <= 0)]")
    index = path_model.INDEX_FOR_ARRAY
    yield "in [2019]", "plain", {blank, index, integer}, rules("$.attributes[?(@.q__year in [2019])]")
    yield "in [2018,2019]", "plain", {blank, integer}, rules("$.attributes[?(@.q__year in [2018,2019])]")
    yield "anyOf [1]", "plain", {blank, index, integer}, rules("$.attributes[?(@.q__tags anyOf [1])]")
    yield "subsetOf", "plain", {blank, integer}, rules("$.attributes[?(@.q__tags subsetOf ['x','y'])]")
    length = path_model.LENGTH
    yield ".length()", "plain", {blank, length}, rules("$.attributes[?(@.q__lines.length() > 3)]")
    of_array = path_model.TEST_OF_ARRAY
    yield "&& on spans", "plain", {blank, of_array}, rules("$.attributes.q__lines[?(@[2] > 0.5 && @[0] < 100)]")
    yield "! on spans", "plain", {blank, of_array}, rules("$.attributes.q__lines[?(!@[7])]")
    yield "[1:3]", "plain", {blank, path_model.SLICE}, rules("$.attributes.q__lines[1:3]")
    yield "[-2:]", "plain", {blank, path_model.SLICE}, rules("$.attributes[?(@.q__lines[-2:])]")
    yield "keep all", "plain", {blank}, rules("$.id")
    order = path_model.FIELD_ORDER
    odd_spans = mix_model.ODD_SPANS
    yield (
        "spans of several fields",
        "plain",
        {blank, order, odd_spans},
        {"span_replacement": [spans("$.attributes.q__nested.*", "<{}>")]},
    )
    yield "lines, repeated paragraphs", "plain", {blank}, {
        **rules(exclude=["$.attributes[?(@.q__score[0][2] < 0.1)]"]),
        "span_replacement": [
            spans("$.attributes.q__lines", " ||| ", min_score=0.3, max_score=0.9), spans("$.attributes.repeated", "")
        ],
        "output": {"min_text_length": 20, "discard_fields": ["attributes", "added"]},
    }  # fmt: skip
    yield "emptied texts", "plain", {blank}, {"span_replacement": [spans("$.attributes.q__score", " ", min_score=0.4)]}
    zero = mix_model.ZERO
    yield "jq: a bound", "plain", {blank}, rules("(.attributes.q__score[0]?[2]? // 0) >= 1.0", syntax="jq")
    yield "jq: a score", "plain", {blank, zero}, rules(".attributes.q__plain", syntax="jq")
    yield "jq: exclude scores", "plain", {blank, zero}, rules(
        exclude=[".attributes.q__lines[]?[2]", ".source == \"code\""], syntax="jq"
    )  # fmt: skip
    yield (
        "jq: spans and replacement",
        "plain",
        {blank},
        {
            "span_replacement": [
                {"span": ".attributes.q__lines", "syntax": "jq", "min_score": 0.7, "replacement": "$.source"},
                {"span": ".attributes.repeated // []", "syntax": "jq", "min_score": 0.5, "replacement": "[{}]"},
            ]
        },
    )
    yield "a file for each file", "plain", {blank}, {**rules("$.id"), "shuffle": False}
    yield "two patterns, one file", "plain", {blank, mix_model.TWICE}, {**rules("$.id"), "patterns": ["*.gz", "[ab].*"]}
    yield "shuffled", "plain", {blank}, {**rules("$.id"), "shuffle": True}
    yield "empty spans", "empty", {blank, odd_spans}, {"span_replacement": [spans("$.attributes.odd", "<{}>")]}
    yield (
        "spans behind the text",
        "wrong",
        {blank, odd_spans},
        {"span_replacement": [spans("$.attributes.odd", "<{}>")]},
    )
    yield "numbers as ids", "numbered", {blank, mix_model.TYPES}, rules("$.text")
    yield "attributes that end early", "short", {blank, integer, mix_model.MISSING}, rules(exclude=[ends])
    yield "attributes that are not there", "absent", {blank, integer, mix_model.MISSING}, rules(exclude=[ends])
    yield (
        "a pattern without files",
        "plain",
        {blank, mix_model.NO_INPUT},
        {**rules("$.id"), "patterns": ["*.gz", "nothing*"]},
    )
    yield "a cut archive", "cut", {blank, mix_model.DAMAGE}, rules("$.id")


def _repeated(documents: Sequence[Document]) -> Callable[[Document], dict[str, Any]]:
    """Attributes of deduplication as dolma writes them."""
    rule = pieces(skip_empty=True)
    rule["paragraphs"]["attribute_name"] = "repeated"
    rows = mark(documents, rule, frozenset([LAST_SPAN]))
    by_id = {document["id"]: row for document, row in zip(documents, rows, strict=True)}
    return lambda document: by_id[document["id"]]


def inputs_of(documents: Sequence[Document], attributes: Sequence[Callable[[Document], Any]]) -> list[Input]:
    half = -(-len(documents) // 2)
    return [
        Input(FILES[k // half], k % half + 1, document, tuple(one(document) for one in attributes))
        for k, document in enumerate(documents)
    ]


def write_inputs(folder: Path, inputs: Sequence[Input]) -> None:
    for name in FILES:
        here = [each for each in inputs if each.file == name]
        write_rows(folder / "documents" / name, [each.document for each in here])
        for number in range(len(here[0].attributes)):
            found = [(each.document["id"], each.attributes[number]) for each in here]
            if not any(row == NO_FILE for _, row in found):
                rows = [{"id": name, "attributes": row} for name, row in found if row != ENDED]
                write_rows(folder / "attributes" / f"n{number}" / name, rows)


def cut_file(folder: Path, inputs: Sequence[Input]) -> list[Input]:
    """The inputs with the first file cut in its middle; the line within which that is, is marked."""
    write_inputs(folder, inputs)
    path = folder / "documents" / FILES[0]
    packed = path.read_bytes()
    path.write_bytes(packed[: len(packed) // 2])
    lines = zlib.decompressobj(wbits=31).decompress(path.read_bytes()).count(b"\n")
    return [replace(each, cut=each.file == FILES[0] and each.line == lines + 1) for each in inputs]


def compare(
    documents: Sequence[Document], runners: Mapping[str, Command], report: Callable[[str, Account], None]
) -> None:
    """Run every case with the three commands; each account goes to ``report``."""
    work = next(iter(runners.values())).root.parent / "inputs"
    groups: dict[object, list[Case]] = {}
    for number, case in enumerate(cases(with_copies(documents[::EVERY]), work)):
        alone = number if REFUSED in mix(case, frozenset()) else None
        groups.setdefault((alone, case.shuffle), []).append(case)
    for together in groups.values():
        for who, command in runners.items():
            _run(command, together, who == "default")
        for case in together:
            outcomes = {who: _read(command, case) for who, command in runners.items()}
            account = attribute(
                [f"{each.file}:{each.line}" for each in case.inputs],
                *(outcomes[who][0] for who in ("dolma", "default", "compat")),
                lambda ways, case=case: mix(case, ways),
                {each: lambda k: True for each in sorted(case.differences)},
            )
            account.add(account_for_order(*(outcomes[who][1] for who in ("dolma", "default", "compat")), case.shuffle))
            report(f"mix: {case.name}", account)


def _run(command: Command, together: Sequence[Case], may_refuse: bool) -> None:
    """Mix the streams of these cases; a run that is refused leaves no output."""
    settings: dict[str, Any] = {"streams": [case.stream for case in together], "processes": 1}
    if together[0].shuffle is not None:
        settings["shuffle"] = together[0].shuffle
    done = run(command, "mix", settings)
    if done.returncode and not (done.returncode == USER_ERROR and may_refuse):
        names = ", ".join(case.name for case in together)
        raise SystemExit(f"{' '.join(command.words)} failed with {names}:\n{done.stderr[-3000:]}")


def _read(command: Command, case: Case) -> tuple[list[Outcome], list[str]]:
    """What became of every input, and the order of what came out."""
    folder = Path(case.stream["output"]["path"].replace(ROOT, str(command.root)))
    paths = sorted(folder.rglob("*.gz"))
    if not paths:
        return [REFUSED] * len(case.inputs), []
    found: dict[str, list[Document]] = {}
    order = []
    for row in read_rows(paths):
        place = row["metadata"]["provenance"]
        found.setdefault(place, []).append(row)
        order.append(place)
    return [found.get(f"{each.file}:{each.line}", []) for each in case.inputs], order


def account_for_order(dolma: list[str], default: list[str], compat: list[str], shuffle: bool | None) -> Account:
    """The order as one more row: by default it is another one where ``shuffle`` is true."""
    common = set(dolma) & set(default)
    ours, theirs = ([place for place in dict.fromkeys(order) if place in common] for order in (default, dolma))
    if compat != dolma:
        return Account(unexplained=["the order under compat is not dolma's"])
    if not default:  # the run was refused
        return Account()
    if ours == theirs:
        return Account(equal=1)
    if shuffle and theirs == sorted(theirs, key=_place):
        return Account(differing=Counter({SHUFFLE: 1}))
    return Account(unexplained=["the order is not dolma's"])


def _place(provenance: str) -> tuple[str, int]:
    name, line = provenance.split(":")
    return name, int(line)
