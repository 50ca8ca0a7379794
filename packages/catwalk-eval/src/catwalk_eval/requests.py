"""Requests: from task data or request files to instances, and from instances to the requests artifact."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from .config import Boundary, RequestsConfig, RunConfig
from .errors import UserError
from .fields import MissingFieldError, render
from .files import atomic_artifact, atomic_write, digest_file, write_json
from .own_tasks import FILES, Found, check_metric, find_task
from .prompts import DIALECTS, UNCONDITIONAL_CONTEXT
from .provenance import recorded
from .records import REFUSALS, json_object, json_rows, nearest, read_records, split_file, splits_of, unfit
from .shots import SEED, Asked, choose
from .task import UNCONDITIONAL_OFFSET, VALIDATION, Instance, Letters, Task, Wording, request_rows
from .tasks import ALIASES, TASKS

if TYPE_CHECKING:
    from .tokenize import Encoder

ROWS = "requests.jsonl.gz"
INLOOP = "olmo-inloop"
GOLD_ONLY = "_bpb"  # behind a task's name
NO_SHOTS = Asked()
NOTHING: Mapping[str, Any] = {}
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TaskRequests:
    """The instances of one task in one dialect, and where they come from."""

    name: str
    dialect: str
    shots: int
    split: str
    primary_metric: str
    instances: tuple[Instance, ...]
    unconditional: bool
    """Whether the text form has a twin of each request under the unconditional context."""
    source: Path
    source_digest: str
    shots_source: Mapping[str, Any] | None = None
    """Where the examples come from: how they were chosen, file, digest, seed."""
    shots_path: Path | None = None
    positive: int | None = None
    """The choice that counts as positive in F1."""
    boundary: Boundary | None = None
    """The policy that these requests, read back, were made with; None where they state none."""
    tokenizer_digest: str | None = None
    """Of the tokenizer that their token ids were written with, if they were."""

    def rows(self, *, clusters: bool = False) -> Iterator[dict[str, Any]]:
        """Rows of the text form: all conditional ones, then their unconditional twins.

        With ``clusters`` a row also names its instance's cluster, which the published dumps leave out.
        """
        for unconditional in (False, True) if self.unconditional else (False,):
            for instance in self.instances:
                more = {"cluster": instance.cluster} if clusters and instance.cluster is not None else {}
                for row in request_rows(instance, self.name, unconditional=unconditional):
                    yield row | more

    def description(self, boundary: str) -> dict[str, Any]:
        """What ``task.json`` says."""
        return {
            "name": self.name,
            "dialect": self.dialect,
            "shots": self.shots,
            "shots_source": self.shots_source,
            "split": self.split,
            "primary_metric": self.primary_metric,
            "positive": self.positive,
            "boundary": boundary,
            "instances": len(self.instances),
            "requests": sum(len(instance.contexts) for instance in self.instances) * (2 if self.unconditional else 1),
            "source_digest": self.source_digest,
        }


def split_names(names: str) -> list[str]:
    """``a,b`` as a list; nothing, or one twice, is a UserError."""
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found:
        raise UserError("no task is named", fix="give --tasks NAME,NAME; `catwalk-eval tasks` lists them")
    if len(set(found)) < len(found):
        raise UserError(f"a task is named twice in {names!r}", fix="name each task once")
    return found


def check_dialect(dialect: str) -> None:
    """An unknown dialect is a UserError with the nearest spelling."""
    if dialect not in DIALECTS:
        raise UserError(f"unknown dialect {dialect!r}", where="dialect", fix=nearest(dialect, list(DIALECTS)))


def check_limit(limit: int | None) -> None:
    """A limit below one is a UserError."""
    if limit is not None and limit < 1:
        raise UserError(f"--limit is {limit}", where="limit", fix="give 1 or more")


def worded(task: Task, dialect: str) -> Wording:
    """The task's wording in a dialect; a task that the dialect does not have is a UserError."""
    if dialect not in task.wordings:
        raise UserError(
            f"{task.name} has no wording in {dialect}",
            where="dialect",
            fix=f"it has one in {', '.join(task.wordings)}",
        )
    return task.wordings[dialect]


def load_task(
    name: str,
    data: Path | None,
    dialect: str,
    limit: int | None,
    *,
    limit_seed: int | None = None,
    shots: Asked = NO_SHOTS,
    split: str | None = None,
) -> TaskRequests:
    """Instances of a task built from its records; every mistake in them is a UserError with its line.

    ``name`` is that of a built-in task, of a folder of task data below ``data``, or the file of a task of the user's;
    with ``_bpb`` behind it only the right answers are scored.
    """
    check_dialect(dialect)
    (task, folder, files), gold_only = find_form(name, data)
    wording = worded(task, dialect)
    if gold_only and isinstance(wording.builder, Letters):
        raise UserError(
            f"the answers of {task.name} in {dialect} are letters; their bits per byte say nothing",
            where="tasks",
            fix="choose a dialect with answers as text",
        )
    chosen = split or wording.split
    source = files.get(chosen) or (None if folder is None else split_file(folder, chosen))
    if source is None:
        published = None if folder is None or task.published is None else folder / task.published / ROWS
        stands_in = chosen == VALIDATION and not shots.count and limit_seed is None
        if published is None or not published.is_file() or not stands_in or isinstance(wording.builder, Letters):
            raise no_records(task, folder, chosen, split, dialect)
        requests = from_published(task, published, dialect, wording.primary_metric, limit)
        return right_answers(requests) if gold_only else requests
    examples = choose(task, dialect, folder, files, shots)
    instances: list[Instance] = []
    fewer = 0
    for row, number, record in limited(source, limit, limit_seed):
        try:
            domain = None if task.domain is None else render(task.domain, record)
            before = examples.before(record, domain)
            fewer += len(before) < examples.count
            instances.append(task.instance(record, row, dialect, "".join(before)))
        except REFUSALS as error:
            raise unfit(error, task.name, source, number) from error
    if not instances:
        raise UserError("there are no records", where=source, fix="put the data set's records there")
    if name.removesuffix(GOLD_ONLY).endswith(FILES):
        check_cluster(task, source)
    check_positive(wording.positive, instances, source)
    if fewer:
        log.warning("%s: %d instances are among the examples and have one fewer", task.name, fewer)
    requests = TaskRequests(
        name=task.name,
        dialect=dialect,
        shots=examples.count,
        split=chosen,
        primary_metric=wording.primary_metric,
        instances=tuple(instances),
        unconditional=task.unconditional and not isinstance(wording.builder, Letters),
        source=source,
        source_digest=digest_file(source),
        shots_source=examples.source,
        shots_path=examples.path,
        positive=wording.positive,
    )
    return right_answers(requests) if gold_only else requests


def check_cluster(task: Task, source: Path) -> None:
    """A template of clusters whose fields no record has is a UserError: it would join nothing."""
    if not isinstance(task.cluster, str):
        return
    missing: MissingFieldError | None = None
    for _, record in read_records(source):
        try:
            render(task.cluster, record)
            return
        except MissingFieldError as error:
            missing = missing or error
    fix = f"mend cluster: of {task.name}" if missing is None else missing.fix
    raise UserError(f"cluster of {task.name}: no record has the field {missing}", where=source, fix=fix)


def check_positive(positive: int | None, instances: Sequence[Instance], where: Path) -> None:
    """A positive choice of F1 that no instance has is a UserError."""
    if positive is not None and all(len(instance.contexts) <= positive for instance in instances):
        most = max(len(instance.contexts) for instance in instances)
        raise UserError(
            f"positive is {positive}, but no record has more than {most} choices",
            where=where,
            fix=f"give 0 to {most - 1}: choices are numbered from 0",
        )


def find_form(name: str, data: Path | None) -> tuple[Found, bool]:
    """The task that ``name`` means, and whether only its right answers are asked for."""
    base = name.removesuffix(GOLD_ONLY)
    if base == name or (data is not None and (data / name).is_dir()):
        return find_task(name, data), False
    return find_task(base, data), True


def right_answers(requests: TaskRequests) -> TaskRequests:
    """The task with its right answers alone, for their bits per byte."""
    instances = tuple(
        replace(
            instance,
            contexts=(instance.contexts[instance.label],),
            continuations=(instance.continuations[instance.label],),
            label=0,
        )
        for instance in requests.instances
    )
    return replace(
        requests,
        name=requests.name + GOLD_ONLY,
        primary_metric="bits_per_byte",
        instances=instances,
        unconditional=False,
        positive=None,
    )


def limited(source: Path, limit: int | None, seed: int | None) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(row from 0, line, record)`` of the records that are asked: all, the first, or as many drawn by a seed.

    The draw is that of ``random.Random(seed).sample`` over all records (allenai/catwalk, OLMES).
    """
    if limit is None or seed is None:
        for row, (number, record) in enumerate(islice(read_records(source), limit)):
            yield row, number, record
        return
    records = list(read_records(source))
    drawn = range(len(records)) if len(records) <= limit else random.Random(seed).sample(range(len(records)), limit)
    for row in sorted(drawn):
        yield row, *records[row]


def no_records(task: Task, folder: Path | None, split: str, asked: str | None, dialect: str) -> UserError:
    """The records of a split are not there."""
    if folder is None:
        return UserError(
            f"where the records of {task.name} lie is not said", where="data", fix="give --data, or data: in its file"
        )
    there = splits_of(folder)
    where = folder / "source" / f"{split}.jsonl.gz"
    if not there:
        return UserError(f"the records of {task.name} are missing", where=where, fix="put the data set's records there")
    reason = f"the {split} records of {task.name} are missing"
    if asked is None and split != VALIDATION:
        reason += f", which {dialect} reports"
    return UserError(reason, where=where, fix=f"put them there, or give --split ({', '.join(there)} is there)")


def from_published(task: Task, path: Path, dialect: str, metric: str, limit: int | None) -> TaskRequests:
    """A task whose records are not at hand, scored from its published requests."""
    if dialect != INLOOP:
        log.warning("%s: no records are at hand; its published requests are scored, worded as in %s", task.name, INLOOP)
    return load_published(task.name, path, dialect, metric, limit)


def load_published(
    name: str, path: Path, dialect: str, metric: str, limit: int | None, about: Mapping[str, Any] = NOTHING
) -> TaskRequests:
    """Instances of a file of request rows in the shape of the published dumps; ``about`` is its ``task.json``."""
    if not path.is_file():
        raise UserError(f"the requests of {name} are missing", where=path, fix="put the published requests there")
    instances, unconditional = read_request_rows(path, limit)
    check_positive(about.get("positive"), instances, path.with_name("task.json"))
    stated = about.get("source_digest")  # of the records, which another form of the task may share
    return TaskRequests(
        name=name,
        dialect=dialect,
        shots=about.get("shots", 0),
        split=about.get("split", VALIDATION),
        primary_metric=metric,
        instances=instances,
        unconditional=unconditional,
        source=path,
        source_digest=stated if isinstance(stated, str) else digest_file(path),
        shots_source=about.get("shots_source"),
        positive=about.get("positive"),
        boundary=about.get("boundary"),
        tokenizer_digest=about.get("tokenizer_digest"),
    )


def load_requests(name: str, root: Path, limit: int | None, shots: int = 0) -> TaskRequests:
    """Task ``name`` of a requests artifact (``root/name``) or of published dumps (``root/name/rc_{shots}shot``).

    An artifact has its examples already; others than ``shots``, if that is not 0, are a UserError.
    """
    if not (root / name).is_dir():
        name = ALIASES.get(name, name)
    if (root / name / ROWS).is_file():
        about = task_description(root / name / "task.json")
        if shots not in (0, about["shots"]):
            raise UserError(
                f"the requests of {name} have {about['shots']} examples, {shots} are asked for",
                where=root / name,
                fix="leave --shots out",
            )
        about["tokenizer_digest"] = tokenized_by(root)
        return load_published(name, root / name / ROWS, about["dialect"], about["primary_metric"], limit, about)
    folder = f"rc_{shots}shot"
    if not shots and name in TASKS and TASKS[name].published is not None:
        folder = str(TASKS[name].published)
    path = root / name / folder / ROWS
    if not path.is_file():
        known = sorted({found.relative_to(root).parts[0] for found in root.rglob(ROWS)}) if root.is_dir() else []
        if not known:
            raise UserError("there are no requests here", where=root, fix=f"expected {root / name / ROWS}")
        raise UserError(f"no requests of {name!r}", where=root / name, fix=nearest(name, known))
    config = path.with_name("config.json")
    settings = json_object(config).get("task_config", {}) if config.is_file() else {}
    if not isinstance(settings, dict):
        raise UserError("task_config is no JSON object", where=config, fix="mend it")
    metric, stated = settings.get("primary_metric"), settings.get("num_shots", shots)
    if metric is None:
        if name not in TASKS:
            raise UserError("the primary metric is not stated", where=config, fix="add task_config.primary_metric")
        metric = TASKS[name].wordings[INLOOP].primary_metric
    if type(stated) is not int:
        raise UserError(f"task_config.num_shots is {stated!r}", where=config, fix="give a whole number")
    return load_published(name, path, INLOOP, check_metric(metric, config), limit, {"shots": stated})


def tokenized_by(root: Path) -> str | None:
    """Digest of the tokenizer of a requests artifact with token ids; None of any other folder."""
    file = root / "manifest.json"
    manifest = json_object(file) if file.is_file() else {}
    if manifest.get("artifact") != "requests":
        return None
    stated = manifest.get("tokenizer_digest")
    if not isinstance(stated, str | None):
        raise UserError(f"tokenizer_digest is {stated!r}", where=file, fix="make the requests again")
    return stated


def task_description(path: Path) -> dict[str, Any]:
    """``task.json`` of requests or predictions; a UserError where it does not say what the numbers are of."""
    about = json_object(path)
    if not isinstance(about.get("dialect"), str) or type(about.get("shots")) is not int:
        raise UserError("the file does not describe requests: dialect, shots", where=path, fix="make it again")
    check_metric(about.get("primary_metric"), path)
    for key, kinds in (("split", str), ("shots_source", dict | None), ("positive", int | None)):
        if not isinstance(about.get(key, VALIDATION if key == "split" else None), kinds):
            raise UserError(f"{key} is {about[key]!r}", where=path, fix="make it again")
    if about.get("boundary") not in (None, *get_args(Boundary)):
        raise UserError(f"boundary is {about['boundary']!r}", where=path, fix="make it again")
    return about


def read_request_rows(path: Path, limit: int | None) -> tuple[tuple[Instance, ...], bool]:
    """``(instances, whether there are unconditional twins)`` of a file of request rows.

    The rows of an instance follow each other with ``idx`` 0, 1, …; anything else is a UserError with its line.
    """
    open_rows: list[dict[str, Any]] = []
    instances: list[Instance] = []
    seen: set[int] = set()
    unconditional = False
    for number, row in json_rows(path):
        problem = row_problem(row)
        if problem is not None:
            raise UserError(problem, where=path, line=number, fix="mend the row; see docs/artifacts.md, requests")
        if row["doc_id"] >= UNCONDITIONAL_OFFSET:
            unconditional = True
            if row["request"]["context"] != UNCONDITIONAL_CONTEXT:
                raise UserError(
                    f"the unconditional context is not {UNCONDITIONAL_CONTEXT!r}",
                    where=path,
                    line=number,
                    fix="mend it",
                )
            continue
        if open_rows and open_rows[-1]["doc_id"] != row["doc_id"]:
            instances.append(instance_of(open_rows, path, number - 1))
            seen.add(instances[-1].doc_id)
            open_rows = []
        if limit is not None and len(instances) >= limit:
            continue
        if row["doc_id"] in seen:
            raise UserError(f"instance {row['doc_id']} comes twice", where=path, line=number, fix="mend the file")
        if row["idx"] != len(open_rows):
            raise UserError(
                f"choice {row['idx']} of instance {row['doc_id']} is out of order",
                where=path,
                line=number,
                fix="mend it",
            )
        open_rows.append(row)
    if open_rows:
        instances.append(instance_of(open_rows, path, None))
    if not instances:
        raise UserError("there are no requests", where=path, fix="make the file again")
    return tuple(instances), unconditional


def row_problem(row: Mapping[str, Any]) -> str | None:
    """What is wrong with the shape of a request row, if anything."""
    if row.get("request_type") != "loglikelihood":
        return f"request_type is {row.get('request_type')!r}, not 'loglikelihood'"
    for key in ("doc_id", "idx", "label"):
        if type(row.get(key)) is not int or row[key] < 0:
            return f"{key} is no number from 0"
    request = row.get("request")
    if not isinstance(request, dict) or not all(isinstance(request.get(k), str) for k in ("context", "continuation")):
        return "request needs the texts context and continuation"
    if not request["continuation"]:
        return "the continuation is empty"
    if not isinstance(row.get("doc"), dict):
        return "doc is no object"
    return None


def instance_of(rows: Sequence[Mapping[str, Any]], path: Path, line: int | None) -> Instance:
    """The instance whose choices are ``rows``."""
    first = rows[0]
    if first["label"] >= len(rows) or any(row["label"] != first["label"] for row in rows):
        raise UserError(
            f"instance {first['doc_id']} has no choice numbered {first['label']}, or its rows disagree",
            where=path,
            line=line,
            fix="mend its rows",
        )
    domain, cluster = first["doc"].get("domain"), first.get("cluster")
    return Instance(
        doc_id=first["doc_id"],
        native_id=first.get("native_id"),
        doc=first["doc"],
        contexts=tuple(row["request"]["context"] for row in rows),
        continuations=tuple(row["request"]["continuation"] for row in rows),
        label=first["label"],
        domain=domain if isinstance(domain, str) else None,
        cluster=cluster if isinstance(cluster, str) else None,
    )


def tokenized_rows(requests: TaskRequests, encoder: Encoder) -> Iterator[dict[str, Any]]:
    """Rows of the tokenised form, in the order of the text form; ``doc_id`` is the instance's in both kinds."""
    for kind in ("conditional", "unconditional") if requests.unconditional else ("conditional",):
        pairs = iter(
            encoder.pairs(
                (context if kind == "conditional" else UNCONDITIONAL_CONTEXT, continuation)
                for instance in requests.instances
                for context, continuation in zip(instance.contexts, instance.continuations, strict=True)
            )
        )
        for instance in requests.instances:
            for idx, continuation in enumerate(instance.continuations):
                pair = next(pairs)
                yield {
                    "doc_id": instance.doc_id,
                    "idx": idx,
                    "label": instance.label,
                    "context_ids": list(pair.context_ids),
                    "continuation_ids": list(pair.continuation_ids),
                    "characters": len(continuation),
                    "bytes": len(continuation.encode()),
                    "kind": kind,
                }


def load_tasks(config: RequestsConfig | RunConfig, dialect: str) -> list[TaskRequests]:
    """The tasks that ``config`` names, built from their records."""
    if config.limit_seed is not None and config.limit is None:
        raise UserError("--limit-seed does nothing without --limit", where="limit-seed", fix="add --limit N")
    shots = Asked(count=config.shots, source=config.shots_from, seed=SEED if config.seed is None else config.seed)
    tasks = [
        load_task(
            name, config.data, dialect, config.limit, limit_seed=config.limit_seed, shots=shots, split=config.split
        )
        for name in split_names(config.tasks)
    ]
    split_names(",".join(task.name for task in tasks))  # one task under two names
    if config.seed is not None and not any((task.shots_source or {}).get("from") == "seed" for task in tasks):
        raise UserError("--seed does nothing where no examples are drawn", where="seed", fix="leave it out")
    return tasks


def input_files(tasks: Sequence[TaskRequests]) -> list[Path]:
    """The files that the tasks were built from."""
    return [path for task in tasks for path in (task.source, task.shots_path) if path is not None]


def write_text_form(folder: Path, task: TaskRequests) -> None:
    """Write the text form of a task's requests into its folder."""
    with atomic_write(folder / ROWS) as stream:
        for row in task.rows(clusters=True):
            stream.write(json.dumps(row).encode() + b"\n")


def write_requests(config: RequestsConfig) -> list[TaskRequests]:
    """Write the requests artifact that ``config`` asks for; whole or not at all."""
    from .tokenize import Encoder, tokenizer_file

    check_limit(config.limit)
    if config.boundary is not None and config.tokenizer is None:
        raise UserError("--boundary does nothing without --tokenizer", where="boundary", fix="add --tokenizer FILE")
    boundary = config.boundary or "separate"
    tokenizer = None if config.tokenizer is None else tokenizer_file(config.tokenizer)
    encoder = None if tokenizer is None else Encoder.load(tokenizer, boundary)
    tasks = load_tasks(config, config.dialect)
    with (
        atomic_artifact(config.output, "requests") as folder,
        recorded(
            "catwalk-eval",
            "requests",
            folder=folder,
            config=config,
            inputs=input_files(tasks) + ([] if tokenizer is None else [tokenizer]),
        ) as record,
    ):
        for task in tasks:
            write_text_form(folder / task.name, task)
            if encoder is not None:
                with atomic_write(folder / task.name / "tokenized.jsonl.gz") as stream:
                    for row in tokenized_rows(task, encoder):
                        stream.write(json.dumps(row).encode() + b"\n")
            about = task.description(boundary)
            write_json(folder / task.name / "task.json", about)
            record.counts[task.name] = {key: about[key] for key in ("instances", "requests")}
            log.info("%s: %d instances, %d requests", task.name, about["instances"], about["requests"])
        if tokenizer is not None:
            (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
        write_json(
            folder / "manifest.json",
            {
                "artifact": "requests",
                "format_version": 1,
                "tasks": [task.name for task in tasks],
                "dialect": config.dialect,
                "tokenizer_digest": None if tokenizer is None else digest_file(tokenizer),
            },
        )
    return tasks
