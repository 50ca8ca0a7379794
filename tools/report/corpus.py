"""What happened to the text: from files to tokens, the funnel of the mix, histograms of length and tags."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from . import charts, words
from .reading import Output, StageNotRunError

# Where a person looks first, in this order; a name holds all words of one entry. Others follow in a fold.
INFORMATIVE = (
    ("char_length",),
    ("__word_count",),
    ("lang_id", "__en/"),
    ("median_word_length",),
    ("fraction_of_duplicate_lines",),
    ("pii", "doc_count"),
    ("quality",),
    ("toxic",),
    ("nsfw",),
    ("alnum_prop",),
    ("max_line_length",),
    ("symbol_to_word",),
)
RULE = re.compile(
    r"\$\.attributes\[\?\((?:@\.(\w+) && @\.\1\[0\] && )?@\.(?P<key>\w+)\[0\]\[2\] "
    r"(?P<sign>[<>]=?|==) (?P<value>[0-9.]+)\)\]"
)
SHOWN_HISTOGRAMS = 6
FOLDED_HISTOGRAMS = 60
STEPS = (
    ("raw/manifest.json", "Extracted", "documents"),
    ("suite/suite.json", "Perplexity suite", "documents"),
    ("mixed/manifest.json", "Mixed", "documents"),
    ("tokens/manifest.json", "Tokenised", "documents"),
)


@dataclass(frozen=True)
class Balance:
    """The counts of one step; ``holds`` where kept + dropped + failed = read."""

    name: str
    read: int
    kept: int
    dropped: int
    failed: int

    @property
    def holds(self) -> bool:
        return self.kept + self.dropped + self.failed == self.read


@dataclass(frozen=True)
class FunnelStep:
    """A rule of the mix: what it dropped and matched, what was left after it."""

    rule: str
    words: str
    stream: str
    dropped: Mapping[str, int]
    total_dropped: int
    total_matched: int
    left: int
    bar: Markup


@dataclass(frozen=True)
class FunnelSource:
    """A source before and after the mix."""

    name: str
    read: int
    kept: int
    read_bytes: int | None
    kept_bytes: int | None
    bar: Markup


@dataclass(frozen=True)
class Funnel:
    """All that the funnel section shows."""

    read: int
    kept: int
    read_bytes: int | None
    kept_bytes: int | None
    steps: Sequence[FunnelStep]
    sources: Sequence[FunnelSource]
    names: Sequence[str]
    adds_up: bool
    replaced: Sequence[tuple[str, int]]
    bar_read: Markup
    bar_kept: Markup


def balances(output: Output) -> list[Balance]:
    """The counts of every step that has run."""
    found = []
    for path, name, _ in STEPS:
        counts = output.json_or_empty(path).get("counts")
        if counts:
            found.append(Balance(name, counts["read"], counts["kept"], counts["dropped"], counts["failed"]))
    if not found:
        raise StageNotRunError("Nothing was extracted yet: there is no raw/manifest.json in this folder.")
    return found


def funnel(output: Output) -> Funnel:
    """Read, dropped by each rule, kept: by source, in documents and bytes."""
    data = output.json("mixed/funnel.json", "The documents were not mixed yet")
    read, kept, sizes = data["read"], data["kept"], data["text_bytes"]
    total = sum(read.values())
    left = total
    steps = []
    for rule in data["rules"]:
        dropped = sum(rule["dropped"].values())
        left -= dropped
        steps.append(
            FunnelStep(
                rule["rule"],
                in_words(rule["rule"]),
                rule["stream"],
                rule["dropped"],
                dropped,
                sum(rule["matched"].values()),
                left,
                charts.share_bar(total, left, dropped),
            )
        )
    names = sorted(read, key=lambda name: (-read[name], name))
    sources = [
        FunnelSource(
            name,
            read[name],
            kept.get(name, 0),
            sizes["read"].get(name),
            sizes["kept"].get(name, 0),
            charts.share_bar(read[name], kept.get(name, 0)),
        )
        for name in names
    ]
    total_kept = sum(kept.values())
    return Funnel(
        read=total,
        kept=total_kept,
        read_bytes=sum(sizes["read"].values()),
        kept_bytes=sum(sizes["kept"].values()),
        steps=steps,
        sources=sources,
        names=names,
        adds_up=left == total_kept,
        replaced=[(span_in_words(name), n) for name, n in data.get("replaced_spans", {}).items()],
        bar_read=charts.share_bar(total, total),
        bar_kept=charts.share_bar(total, total_kept),
    )


def in_words(rule: str) -> str:
    """``gopher_v2 word_count < 20`` for the usual comparison of one score; any other rule as it stands."""
    match = RULE.fullmatch(rule)
    if match is None:
        return rule
    name = " ".join(list(dict.fromkeys(match["key"].split("__")))[-2:])
    sign = {">=": "≥", "<=": "≤", "==": "="}.get(match["sign"], match["sign"])
    return f"{name} {sign} {match['value']}"


def span_in_words(name: str) -> str:
    """``EMAIL_ADDRESS`` for the path of an attribute."""
    path = "$.attributes."
    return name.removeprefix(path).rpartition("__")[2] if name.startswith(path) else name


@dataclass(frozen=True)
class Contamination:
    """Whether evaluation text is in the training documents."""

    documents: int
    contaminated: int
    paragraphs: int
    paragraphs_found: int
    held_out: int
    held_out_found: int
    minimum_words: int
    exempt: Sequence[str]


def contamination(output: Output) -> Contamination:
    """What ``contamination.json`` tells."""
    data = output.json("contamination.json", "Evaluation text was not looked for in the training documents")

    def total(key: str) -> int:
        return sum(int(row[key]) for row in data["sources"])

    return Contamination(
        data["documents_read"],
        data["documents_contaminated"],
        total("paragraphs"),
        total("paragraphs_found"),
        total("held_out_documents"),
        total("held_out_documents_found"),
        data["minimum_words"],
        data["exempt_sources"],
    )


@dataclass(frozen=True)
class Drawn:
    """A histogram and the other keys that have the very same one."""

    chart: Markup
    same: Sequence[str]


@dataclass(frozen=True)
class Histograms:
    """Charts to show, charts to fold, and how many rows had one value only or did not fit."""

    shown: Sequence[Drawn]
    folded: Sequence[Drawn]
    constant: Sequence[tuple[str, int, float]]
    left_out: int


def histograms(output: Output, names: charts.Names) -> Histograms:
    """Histograms of all keys that vary, the informative ones first."""
    rows = list(output.rows("statistics/summaries.jsonl.gz", "The statistics were not made yet"))
    varying = [row for row in rows if varies(row)]
    constant = [
        (row["name"], row["total"], row["sum"] / row["total"]) for row in rows if not varies(row) and row["total"] > 0
    ]
    ranked = sorted(varying, key=lambda row: (rank(row["name"]), -entropy(row["counts"]), row["name"]))
    groups: dict[tuple[tuple[float, ...], ...], list[dict[str, Any]]] = {}
    for row in ranked:
        groups.setdefault((tuple(row["counts"]), tuple(row["bins"])), []).append(row)
    same = {members[0]["name"]: [row["name"] for row in members[1:]] for members in groups.values()}
    first, rest = one_of_each([members[0] for members in groups.values()])
    drawn = [Drawn(draw(row, names), same[row["name"]]) for row in [*first, *rest[:FOLDED_HISTOGRAMS]]]
    return Histograms(drawn[: len(first)], drawn[len(first) :], constant, max(0, len(rest) - FOLDED_HISTOGRAMS))


def varies(row: Mapping[str, Any]) -> bool:
    """Whether the values fall into more than one bin."""
    return sum(1 for count in row["counts"] if count > 0) > 1


def rank(name: str) -> int:
    """Place in ``INFORMATIVE``; scores come before lengths of spans."""
    lowered = name.lower()
    if lowered.endswith("/length"):
        return len(INFORMATIVE) + 1
    for place, wanted in enumerate(INFORMATIVE):
        if all(word in lowered for word in wanted):
            return place
    return len(INFORMATIVE)


def entropy(counts: Sequence[int]) -> float:
    """Bits; a histogram that says little has a small one."""
    total = sum(counts)
    return -sum(n / total * math.log2(n / total) for n in counts if n > 0)


def one_of_each(ranked: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows to show at once, at most one for each informative kind while there are others, and the rest."""
    first: list[dict[str, Any]] = []
    taken: set[int] = set()
    for row in ranked:
        place = rank(row["name"])
        if len(first) < SHOWN_HISTOGRAMS and place < len(INFORMATIVE) and place not in taken:
            taken.add(place)
            first.append(row)
    for row in ranked:
        if len(first) < SHOWN_HISTOGRAMS and row not in first and rank(row["name"]) <= len(INFORMATIVE):
            first.append(row)
    return first, [row for row in ranked if row not in first]


def draw(row: Mapping[str, Any], names: charts.Names) -> Markup:
    """One histogram; the key's parts become a title that can be read."""
    key, _, kind = row["name"].rpartition("/")
    parts = [part for part in key.split("__") if part]
    title = " · ".join(dict.fromkeys(parts[-2:])) or row["name"]
    unit = f"{words.plural(row['total'], 'value')}, mean {words.significant(row['sum'] / row['total'])}"
    what = "length of spans, characters" if kind == "length" else "score"
    return charts.histogram(names, words.label(title, 60), unit, what, row["counts"], row["bins"])
