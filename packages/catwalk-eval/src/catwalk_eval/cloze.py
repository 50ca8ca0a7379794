"""Making a multiple-choice cloze task from held-out text: which of four pieces goes on?

A context and its true continuation are cut from a document at word boundaries; three pieces of as many words come
from elsewhere in the same domain, other documents where there are any. Words are maximal runs of non-white space,
and everything between them stays as it is. A choice begins with the white space that follows the context (a space, or
a line break with indentation), the same for all four, so that the four differ in their words and not in how they join.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from .config import MakeClozeConfig
from .errors import UserError
from .fields import lookup
from .files import atomic_artifact, atomic_write, digest_file, write_json
from .provenance import recorded
from .records import SOURCE, json_object, json_rows

CHOICES = 4
DRAWS = 50  # draws for one piece before it is given up
WORD = re.compile(r"\S+")
log = logging.getLogger(__name__)

Domain = tuple[str, str]  # (source, domain)


@dataclass(frozen=True, order=True)
class Place:
    """Where a document lies. ``key`` is a hash of seed, domain and id: its order is a random order of documents."""

    key: str
    file: int
    line: int
    identifier: str
    words: int


@dataclass
class Found:
    """What a domain offers: its first documents in key order that are long enough to cut from, and a few short ones."""

    long: list[Place] = field(default_factory=list)
    short: list[Place] = field(default_factory=list)
    documents: int = 0


@dataclass(frozen=True)
class Text:
    """A document's text with the (start, end) of its words."""

    identifier: str
    text: str
    words: list[tuple[int, int]]

    def piece(self, first: int, count: int) -> str:
        """``count`` words from word ``first``, verbatim."""
        return self.text[self.words[first][0] : self.words[first + count - 1][1]]


def digest_key(*parts: object) -> str:
    """A hash in place of a random number: the same for the same parts, whatever the order of reading."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def list_files(config: MakeClozeConfig) -> tuple[list[Path], str]:
    """Files of documents, and the key that names the domain; a suite's files are checked against its manifest."""
    root = config.documents
    if (root / "suite.json").is_file():
        return suite_files(root, config.split or "test"), config.domain_field or "subdomain"
    if config.split is not None:
        raise UserError("a documents artifact has no splits", where="split", fix="leave --split out, or give a suite")
    files = sorted(
        path
        for path in (root / "documents").rglob("*")
        if path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")) and path.is_file()
    )
    if not files:
        raise UserError(
            "neither a suite (suite.json) nor documents (documents/**/*.jsonl.gz)", where=root, fix="check --documents"
        )
    return files, config.domain_field or "source"


def suite_files(root: Path, split: str) -> list[Path]:
    """Files of a split as ``suite.json`` lists them; one that is not the one listed is a UserError."""
    suite = json_object(root / "suite.json")
    if suite.get("artifact") != "suite" or suite.get("format_version") != 1:
        raise UserError("not a suite of format 1", where=root / "suite.json", fix="prepare the suite again")
    try:
        listed = [
            (root / entry["path"], entry["digest"])
            for source in suite["sources"].values()
            for entry in source[split]["files"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            "the manifest does not list the files", where=root / "suite.json", fix="prepare the suite again"
        ) from error
    for path, digest in listed:
        if not path.is_file() or digest_file(path) != digest:
            raise UserError(
                "the file is missing or not the one that suite.json names", where=path, fix="prepare the suite again"
            )
    return [path for path, _ in listed]


def survey(files: Sequence[Path], key: str, config: MakeClozeConfig) -> dict[Domain, Found]:
    """First pass: which documents each domain could use. Memory: at most ``items`` places a domain."""
    need = config.context_words + config.continuation_words
    domains: dict[Domain, Found] = {}
    for number, path in enumerate(files):
        for line, row in json_rows(path):
            try:
                identifier, text, source = str(row["id"]), row["text"], row["source"]
                if not isinstance(text, str) or not isinstance(source, str):
                    raise UserError("text or source is no text", where=path, line=line, fix="mend the document")
                domain = (source, str(lookup(row, key)))
            except KeyError as error:
                raise UserError(
                    f"the document has no {error}", where=path, line=line, fix="choose another --domain-field"
                ) from error
            found = domains.setdefault(domain, Found())
            found.documents += 1
            words = len(WORD.findall(text))
            if words < config.continuation_words:
                continue
            place = Place(digest_key(config.seed, *domain, identifier), number, line, identifier, words)
            kept, most = (found.long, config.items + CHOICES) if words >= need else (found.short, CHOICES)
            kept.append(place)
            if len(kept) > 2 * most:
                kept[:] = heapq.nsmallest(most, kept)
    for found in domains.values():
        found.long.sort()
        found.short.sort()
        for one, other in pairwise(found.long):
            if one.identifier == other.identifier:
                raise UserError(
                    f"two documents of one source have the id {one.identifier!r}",
                    where=files[other.file],
                    line=other.line,
                    fix="give each document of a source an id of its own",
                )
    return domains


def shares(capacities: Mapping[Domain, int], items: int) -> dict[Domain, int]:
    """``items`` spread as evenly as the capacities allow; what is left over goes to the first domains by name."""
    quota = dict.fromkeys(sorted(capacities), 0)
    left = items
    while left > 0:
        open_domains = [domain for domain in quota if quota[domain] < capacities[domain]]
        if not open_domains:
            break
        each = max(1, left // len(open_domains))
        for domain in open_domains:
            give = min(each, capacities[domain] - quota[domain], left)
            quota[domain] += give
            left -= give
    return quota


def items_by_place(places: Sequence[Place], quota: int, config: MakeClozeConfig) -> dict[Place, int]:
    """How many items each document gives: one each before any gives a second."""
    need = config.context_words + config.continuation_words
    counts = dict.fromkeys(places, 0)
    for _ in range(config.items_per_document):
        for place in places:
            if sum(counts.values()) < quota and (counts[place] + 1) * need <= place.words:
                counts[place] += 1
    return {place: count for place, count in counts.items() if count}


def load_texts(files: Sequence[Path], places: Sequence[Place]) -> dict[Place, Text]:
    """Second pass: the texts of the chosen documents."""
    wanted = {(place.file, place.line): place for place in places}
    texts: dict[Place, Text] = {}
    for number in sorted({place.file for place in places}):
        for line, row in json_rows(files[number]):
            place = wanted.get((number, line))
            if place is not None:
                text = str(row["text"])
                texts[place] = Text(place.identifier, text, [match.span() for match in WORD.finditer(text)])
    return texts


def cut_items(
    domain: Domain,
    items: Mapping[Place, int],
    pool: Sequence[Text],
    texts: Mapping[Place, Text],
    config: MakeClozeConfig,
) -> Iterator[dict[str, Any]]:
    """The records of one domain; an item without three pieces that differ from the truth is left out."""
    need = config.context_words + config.continuation_words
    for place, count in items.items():
        text = texts[place]
        share = len(text.words) // count
        for k in range(count):
            draw = random.Random(digest_key(config.seed, *domain, place.identifier, k))
            first = k * share + draw.randrange(share - need + 1)
            last = first + config.context_words  # first word of the true continuation
            join = text.text[text.words[last - 1][1] : text.words[last][0]]
            truth = text.piece(last, config.continuation_words)
            pieces = other_pieces(text, (first, first + need), truth, pool, draw, config.continuation_words)
            if pieces is None:
                continue
            choices = [truth, *pieces]
            draw.shuffle(choices)
            yield {
                "id": f"{domain[0]}:{place.identifier}:{k}",
                "context": text.piece(first, config.context_words),
                "choices": [join + choice for choice in choices],
                "gold": choices.index(truth),
                "source": domain[0],
                "domain": domain[1],
                "document": place.identifier,
            }


def other_pieces(
    text: Text, window: tuple[int, int], truth: str, pool: Sequence[Text], draw: random.Random, count: int
) -> list[str] | None:
    """Three pieces of ``count`` words that differ from ``truth`` and from each other; None where there are none.

    They come from different other documents while there are enough, and never from words of ``window``.
    """
    others = [other for other in pool if other is not text]
    draw.shuffle(others)
    taken = [window]  # word ranges of ``text`` itself that are used up
    seen = {tuple(truth.split())}
    pieces: list[str] = []
    for attempt in range(DRAWS * CHOICES):
        if len(pieces) == CHOICES - 1:
            break
        other = others[attempt % len(others)] if others and attempt < DRAWS * (CHOICES - 1) else text
        if len(other.words) < count:
            continue
        first = draw.randrange(len(other.words) - count + 1)
        if other is text and any(first < end and start < first + count for start, end in taken):
            continue
        piece = other.piece(first, count)
        if tuple(piece.split()) in seen:
            continue
        seen.add(tuple(piece.split()))
        if other is text:
            taken.append((first, first + count))
        pieces.append(piece)
    return pieces if len(pieces) == CHOICES - 1 else None


def make_cloze(config: MakeClozeConfig) -> dict[str, int]:
    """Write the task to ``config.output / config.name``; counts of items, domains and documents."""
    for name in ("items", "items_per_document", "context_words", "continuation_words"):
        if getattr(config, name) < 1:
            raise UserError(f"{name} is {getattr(config, name)}", where=name, fix="give 1 or more")
    if Path(config.name).name != config.name or config.name.startswith("."):
        raise UserError(f"{config.name!r} cannot name a folder", where="name", fix="use letters, digits, - and _")
    need = config.context_words + config.continuation_words
    files, key = list_files(config)
    domains = survey(files, key, config)
    capacities = {
        domain: sum(min(config.items_per_document, place.words // need) for place in found.long)
        for domain, found in domains.items()
    }
    quota = shares(capacities, config.items)
    plan: dict[Domain, tuple[dict[Place, int], list[Place]]] = {}
    for domain, found in sorted(domains.items()):
        items = items_by_place(found.long, quota[domain], config)
        pool = list(
            dict.fromkeys([*items, *found.long[:CHOICES], *found.short[: CHOICES - min(CHOICES, len(found.long))]])
        )
        plan[domain] = (items, pool if items else [])
    texts = load_texts(files, [place for _, pool in plan.values() for place in pool])
    records: list[dict[str, Any]] = []
    for domain, (items, pool) in plan.items():
        made = list(cut_items(domain, items, [texts[place] for place in pool], texts, config))
        if not made and quota[domain] == capacities[domain]:
            log.warning(
                "domain %s of %s is too small, skipped: %d documents, %d of %d words or more",
                domain[1], domain[0], domains[domain].documents, len(domains[domain].long), need,
            )  # fmt: skip
        records += made
    if not records:
        raise UserError(
            f"no domain has text for an item of {need} words", where=config.documents, fix="lower --context-words"
        )
    # hash order: the first N records, which --limit takes, are a random sample of all domains
    records.sort(key=lambda record: digest_key(config.seed, record["id"]))
    totals = {
        "items": len(records),
        "domains": len({(record["source"], record["domain"]) for record in records}),
        "domains_skipped": len(domains) - len({(record["source"], record["domain"]) for record in records}),
        "documents": len({(record["source"], record["document"]) for record in records}),
    }
    with (
        atomic_artifact(config.output / config.name, "task", "task.json") as folder,
        recorded("catwalk-eval", "make-cloze", folder=folder, config=config, inputs=files, seed=config.seed) as record,
    ):
        with atomic_write(folder / SOURCE) as stream:
            for row in records:
                stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        write_json(folder / "task.json", task_description(config))
        record.counts.update(totals)
    log.info(
        "%s: %d items from %d documents of %d domains, %d domains skipped",
        config.name, totals["items"], totals["documents"], totals["domains"], totals["domains_skipped"],
    )  # fmt: skip
    return totals


def task_description(config: MakeClozeConfig) -> dict[str, Any]:
    """``task.json`` of the task."""
    return {
        "artifact": "task",
        "format_version": 1,
        "name": config.name,
        "builder": "cloze",
        "context_field": "context",
        "choices_field": "choices",
        "gold_field": "gold",
        "domain_field": "domain",
        "description": (
            f"which of {CHOICES} pieces of {config.continuation_words} words goes on after "
            f"{config.context_words} words; the wrong ones come from the same domain"
        ),
        "primary_metric": config.primary_metric,
    }
