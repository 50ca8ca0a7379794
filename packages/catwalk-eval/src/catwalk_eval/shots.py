"""Examples before a question: the same for all questions of a task (of a subject), chosen once and recorded."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UserError
from .fields import Record, render
from .files import digest_file
from .prompts import DIALECTS
from .records import REFUSALS, SUFFIXES, read_records, split_file, splits_of, unfit
from .task import Task
from .tasks import TASKS

SEED = 1234  # of OLMES and of lm-evaluation-harness
Numbered = tuple[int, Record]
SOURCES = ("train", "dev")  # splits that examples may come from, in this order


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How many examples the user wants, from where (``first``, ``seed``, a file, None) and by which seed."""

    count: int = 0
    source: str | None = None
    seed: int = SEED


@dataclass(frozen=True)
class Chosen:
    """Candidates of one subject in order, more than are wanted: a question that is one of them does without itself."""

    records: tuple[Record, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Shots:
    """The examples of a task in a dialect, and what ``task.json`` records of them."""

    count: int = 0
    source: Mapping[str, Any] | None = None
    path: Path | None = None
    by_domain: Mapping[str | None, Chosen] = field(default_factory=dict)

    def before(self, record: Record, domain: str | None) -> list[str]:
        """The texts of the examples for a record, which is never its own: where the file has no other, one fewer."""
        if not self.count:
            return []
        chosen = self.by_domain.get(domain)
        if chosen is None:
            raise ValueError(f"no examples of {domain!r} in {self.path}")
        texts = [text for other, text in zip(chosen.records, chosen.texts, strict=True) if other != record]
        return texts[: self.count]


def choose(task: Task, dialect: str, folder: Path | None, files: Mapping[str, Path], asked: Asked) -> Shots:
    """The examples that ``asked`` wants, from a file it names, a split among ``files``, or one in ``folder``.

    Whatever stands against them is a UserError.
    """
    if asked.count < 0:
        raise UserError(f"--shots is {asked.count}", where="shots", fix="give 0 or more")
    if not asked.count:
        if asked.source is not None:
            raise UserError("--shots-from does nothing without --shots", where="shots-from", fix="add --shots N")
        return Shots()
    way = asked.source or task.wordings[dialect].shots
    if way is None and task.shots_file is not None:
        way = task.shots_file
    if way in (None, "first", "seed") and curated(task, dialect):
        raise UserError(
            f"the examples of {task.name} in {dialect} were chosen by hand and are not part of this package",
            where="shots",
            fix="give their records as --shots-from FILE",
        )
    way = way or "seed"
    path, record = locate(task, folder, files, way)
    where = record | {"digest": digest_file(path), "seed": asked.seed if way == "seed" else None}
    return Shots(asked.count, where, path, by_domain(task, dialect, path, way, asked))


def curated(task: Task, dialect: str) -> bool:
    """Whether the dialect has examples of its own for a task; MMLU's are those of the data set."""
    return DIALECTS[dialect].curated_shots and task.name in TASKS and task.wordings[dialect].shots is None


def locate(task: Task, folder: Path | None, files: Mapping[str, Path], way: str) -> tuple[Path, dict[str, Any]]:
    """The file of examples, and how it is recorded."""
    if way not in ("first", "seed"):
        path = Path(way)
        if not path.name.endswith(SUFFIXES):
            raise UserError(
                f"--shots-from is {way!r}", where="shots-from", fix="give first, seed, or a file of records"
            )
        if not path.is_file():
            raise UserError("no such file of examples", where=path, fix="check --shots-from")
        return path, {"from": "file", "file": path.name}
    found: Path | None = next((files[split] for split in SOURCES if split in files), None)
    if found is None and folder is not None:
        found = next((file for split in SOURCES if (file := split_file(folder, split))), None)
    if found is None:
        there = [*files, *([] if folder is None else splits_of(folder))]
        raise UserError(
            f"there are no records of {task.name} to take examples from (there are: {', '.join(there) or 'none'})",
            where=folder,
            fix="put train.jsonl.gz or dev.jsonl.gz there, or give --shots-from FILE",
        )
    return found, {"from": way, "file": found.name}


def by_domain(task: Task, dialect: str, path: Path, way: str, asked: Asked) -> dict[str | None, Chosen]:
    """The candidates of each domain; a UserError where one has fewer than are wanted."""
    domains: dict[str | None, list[Numbered]] = {}
    records = read_records(path)
    if task.domain is None:
        domains[None] = list(records) if way == "seed" else enough(records, asked.count)
    else:
        for number, record in records:
            try:
                domains.setdefault(render(task.domain, record), []).append((number, record))
            except REFUSALS as error:
                raise unfit(error, task.name, path, number) from error
    found = {}
    for domain, taken in domains.items():
        if len(taken) < asked.count:
            of = "" if domain is None else f" of {domain!r}"
            what = f"there are {len(taken)} examples{of}, {asked.count} are wanted"
            raise UserError(what, where=path, fix="lower --shots")
        order = random.Random(asked.seed).sample(taken, len(taken)) if way == "seed" else taken
        chosen = enough(order, asked.count)
        texts = tuple(spell(task, dialect, path, chosen))
        found[domain] = Chosen(tuple(record for _, record in chosen), texts)
    return found


def enough(records: Iterable[Numbered], count: int) -> list[Numbered]:
    """The first records, until ``count + 1`` of them differ; all where there are not so many."""
    taken: list[Numbered] = []
    seen: list[Record] = []
    for number, record in records:
        taken.append((number, record))
        if record not in seen:
            seen.append(record)
        if len(seen) > count:
            break
    return taken


def spell(task: Task, dialect: str, path: Path, records: Iterable[Numbered]) -> Iterator[str]:
    """The text of each record as an example."""
    for number, record in records:
        try:
            yield task.shot(record, dialect)
        except REFUSALS as error:
            raise unfit(error, task.name, path, number) from error
