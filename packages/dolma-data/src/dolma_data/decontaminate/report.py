"""What of the evaluation text was found: by source of documents, by source of evaluation, by item with the text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config.decontaminate import EvaluationRule
from ..files import atomic_write, write_json
from .evaluation_texts import EvaluationTexts

EXAMPLES = 5  # places of a unit that are shown
SHOWN = 300  # characters of a text in the readable report


@dataclass
class UnitHits:
    """Where a unit was found."""

    hits: int = 0
    documents: set[tuple[str, int]] = field(default_factory=set)  # file and line
    best: float = 0.0
    places: list[dict[str, Any]] = field(default_factory=list)


class Contamination:
    """Counts by source of the documents, and hits by unit; ``short`` are numbers of units that cannot be compared."""

    def __init__(self, texts: EvaluationTexts, short: Collection[int] = ()) -> None:
        self.texts = texts
        self.units = texts.units
        self.short = short
        self.sources: dict[str, list[int]] = {}  # documents, documents hit, characters, characters covered
        self.found: dict[int, UnitHits] = {}

    def add_documents(self, source: str, counts: Sequence[int]) -> None:
        """Count documents of a source: all, those hit, their characters, and those covered by hits."""
        total = self.sources.setdefault(source, [0, 0, 0, 0])
        self.sources[source] = [before + now for before, now in zip(total, counts, strict=True)]

    def add_hit(self, unit: int, place: dict[str, Any]) -> None:
        """Count a unit found at a place: ``id``, ``source``, ``file`` and ``line`` of the document, ``start`` and
        ``end`` (code points), ``score``, and the ``text`` that stands there."""
        found = self.found.setdefault(unit, UnitHits())
        found.hits += 1
        found.documents.add((place["file"], place["line"]))
        found.best = max(found.best, place["score"])
        if len(found.places) < EXAMPLES:
            found.places.append(place)

    def summary(self) -> list[str]:
        """One line for each source of the documents."""
        return [
            f"{source}: {hit} of {documents} documents hit ({hit / documents:.3%}), "
            f"{covered} of {characters} characters ({covered / max(characters, 1):.3%})"
            for source, (documents, hit, characters, covered) in sorted(self.sources.items())
        ]

    def evaluation(self) -> list[dict[str, Any]]:
        """For each source of the evaluation its units, its items, how many of them are compared and how many found.

        A text that several items have counts for each of them.
        """
        rows: dict[str, dict[str, Any]] = {}
        items: dict[str, dict[str, set[str]]] = {}

        def enter(source: str, item: str, *kinds: str) -> None:
            rows.setdefault(source, {"source": source, "units": 0, "units_found": 0})
            sets = items.setdefault(source, {"items": set(), "items_compared": set(), "items_found": set()})
            for kind in ("items", *kinds):
                sets[kind].add(item)

        for number, first in enumerate(self.units):
            found = number in self.found
            kinds = ("items_compared",) * (number not in self.short) + ("items_found",) * found
            for unit in (first, *self.texts.repeats.get(number, ())):
                enter(unit.source, unit.id, *kinds)
                rows[unit.source]["units"] += 1
                rows[unit.source]["units_found"] += found
        for unit in self.texts.short:
            enter(unit.source, unit.id)
        for source, sets in items.items():
            rows[source] |= {kind: len(every) for kind, every in sets.items()}
        return [rows[source] for source in sorted(rows)]

    def items_too_short(self) -> int:
        """Items of the evaluation nothing of which can be compared."""
        return sum(row["items"] - row["items_compared"] for row in self.evaluation())

    def items(self) -> list[dict[str, Any]]:
        """Units that were found, those of the most documents first."""
        ranked = sorted(self.found.items(), key=lambda entry: (-len(entry[1].documents), entry[0]))
        return [
            {
                "unit_id": self.units[number].id,
                "unit_source": self.units[number].source,
                "unit_domain": self.units[number].domain,
                "same_text": [
                    {"unit_id": unit.id, "unit_source": unit.source, "unit_domain": unit.domain, "part": unit.part}
                    for unit in self.texts.repeats.get(number, ())
                ],
                "kind": self.units[number].kind,
                "part": self.units[number].part,
                "text": self.units[number].text,
                "documents": len(found.documents),
                "hits": found.hits,
                "best_score": found.best,
                "places": found.places,
            }
            for number, found in ranked
        ]


def write_report(folder: Path, contamination: Contamination, rule: EvaluationRule) -> None:
    """Write ``report.json`` and ``report.md`` into ``folder``."""
    names = ("documents", "documents_hit", "characters", "characters_covered")
    report = {
        "rule": asdict(rule),
        "documents": [
            {"source": source} | dict(zip(names, counts, strict=True))
            for source, counts in sorted(contamination.sources.items())
        ],
        "evaluation": contamination.evaluation(),
        "found": contamination.items(),
    }
    write_json(folder / "report.json", report)
    with atomic_write(folder / "report.md") as stream:
        stream.write("\n".join(_readable(report, contamination)).encode() + b"\n")


def _readable(report: dict[str, Any], contamination: Contamination) -> Iterator[str]:
    yield "# Evaluation text in the documents\n"
    yield from (f"- {line}" for line in contamination.summary())
    yield "\n| evaluation source | texts | found | items | compared | found |\n| --- | --- | --- | --- | --- | --- |"
    for row in report["evaluation"]:
        cells = ("source", "units", "units_found", "items", "items_compared", "items_found")
        yield "| " + " | ".join(str(row[cell]) for cell in cells) + " |"
    for item in report["found"]:
        yield f"\n## {item['unit_source']}: {item['unit_id']}\n"
        kind = item["kind"] if item["part"] is None else f"{item['part']} of an item"
        yield f"{kind}, in {item['documents']} documents, best score {item['best_score']:.3f}\n"
        for other in item["same_text"]:
            yield f"the same text: {other['unit_source']}: {other['unit_id']}\n"
        if item["text"] is not None:
            yield _quoted(item["text"])
        for place in item["places"]:
            where = f"{place['start']} to {place['end']}, score {place['score']:.3f}"
            yield f"\n- {place['source']} `{place['id']}` ({place['file']}, line {place['line']}), {where}:\n"
            yield _quoted(place["text"])


def _quoted(text: str) -> str:
    """A block that shows the text as it is, whatever it holds."""
    shown = text if len(text) <= SHOWN else text[:SHOWN] + " …"
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown.strip()}\n{fence}"
