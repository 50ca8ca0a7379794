"""Requests: from task data or request files to instances, and from instances to the requests artifact."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import RequestsConfig
from .errors import UserError
from .files import atomic_artifact, atomic_write, digest_file, read_json, read_lines, write_json
from .prompts import DIALECTS, UNCONDITIONAL_CONTEXT
from .provenance import recorded
from .scores import METRICS
from .task import UNCONDITIONAL_OFFSET, Cloze, Instance, Task, Wording, request_rows
from .tasks import TASKS

if TYPE_CHECKING:
    from .tokenize import Encoder

SOURCE = "source/validation.jsonl.gz"
ROWS = "requests.jsonl.gz"
SHOTS = 0
SPLIT = "validation"
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

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of the text form: all conditional ones, then their unconditional twins."""
        for unconditional in (False, True) if self.unconditional else (False,):
            for instance in self.instances:
                yield from request_rows(instance, self.name, unconditional=unconditional)

    def description(self, boundary: str) -> dict[str, Any]:
        """What ``task.json`` says."""
        return {
            "name": self.name,
            "dialect": self.dialect,
            "shots": self.shots,
            "split": self.split,
            "primary_metric": self.primary_metric,
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


def nearest(name: str, known: Sequence[str]) -> str:
    """The mend for a misspelt name."""
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)


def check_dialect(dialect: str) -> None:
    """An unknown dialect is a UserError with the nearest spelling."""
    if dialect not in DIALECTS:
        raise UserError(f"unknown dialect {dialect!r}", where="dialect", fix=nearest(dialect, list(DIALECTS)))


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """``(line, object)`` of a JSON Lines file; what is no JSON object is a UserError with its line."""
    for number, line in read_lines(path):
        if not line:
            continue
        try:
            row = json.loads(line)
            if b"\\u" in line:
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            what = "the line holds half a surrogate pair"
            raise UserError(what, where=path, line=number, fix="mend or remove the line") from error
        except (ValueError, RecursionError) as error:
            raise UserError("not valid JSON", where=path, line=number, fix="mend or remove the line") from error
        if not isinstance(row, dict):
            raise UserError("the line is no JSON object", where=path, line=number, fix="mend or remove the line")
        yield number, row


def json_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; anything else is a UserError."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError("the file holds no JSON object", where=path, fix="make it again")
    return value


def check_limit(limit: int | None) -> None:
    """A limit below one is a UserError."""
    if limit is not None and limit < 1:
        raise UserError(f"--limit is {limit}", where="limit", fix="give 1 or more")


def check_metric(metric: object, where: Path) -> str:
    """The name of a metric that decides; another one is a UserError with the nearest spelling."""
    if not isinstance(metric, str) or metric not in METRICS:
        raise UserError(f"unknown metric {metric!r}", where=where, fix=nearest(str(metric), METRICS))
    return metric


def own_task(folder: Path, description: Mapping[str, Any]) -> Task:
    """The task that a ``task.json`` of task data declares; the same in every dialect."""
    where = folder / "task.json"
    if description.get("artifact") != "task":
        raise UserError(
            "this task.json does not describe task data", where=where, fix="give a folder of requests as --requests"
        )
    if description.get("format_version") != 1:
        raise UserError(
            f"format_version {description.get('format_version')!r} is not read", where=where, fix="make the task again"
        )
    if description.get("builder") != "cloze":
        raise UserError(f"unknown builder {description.get('builder')!r}", where=where, fix="known: cloze")
    for key in ("name", "context_field", "choices_field", "gold_field"):
        if not isinstance(description.get(key), str):
            raise UserError(f"{key} is missing, or no text", where=where, fix="see docs/artifacts.md, task data")
    if not isinstance(description.get("domain_field", 0), str | None):
        raise UserError("domain_field is missing, or no text", where=where, fix="see docs/artifacts.md, task data")
    context, choices, gold = (description[f"{part}_field"] for part in ("context", "choices", "gold"))
    name, domain = description["name"], description["domain_field"]
    metric = check_metric(description.get("primary_metric"), where)
    builder = Cloze(
        context=lambda record: str(record[context]),
        choices=lambda record: [str(choice) for choice in record[choices]],
        gold=lambda record: int(record[gold]),
        own_space=True,
    )
    wording = Wording(builder=builder, primary_metric=metric)
    return Task(
        name=name,
        about=str(description.get("description", "")),
        native_id="id",
        extra=lambda record: {"id": record.get("id")} | ({} if domain is None else {"domain": str(record[domain])}),
        domain=None if domain is None else lambda record: str(record[domain]),
        wordings=dict.fromkeys(DIALECTS, wording),
    )


def load_task(name: str, data: Path, dialect: str, limit: int | None) -> TaskRequests:
    """Instances of task ``name`` built from ``data/name``; every mistake in them is a UserError with its line."""
    check_dialect(dialect)
    folder = data / name
    if (folder / "task.json").is_file():
        task = own_task(folder, json_object(folder / "task.json"))
        if task.name != name:
            raise UserError(
                f"the folder is named {name} and its task {task.name}", where=folder, fix="give both the same name"
            )
    elif name in TASKS:
        task = TASKS[name]
    else:
        own = sorted(path.parent.name for path in data.glob("*/task.json")) if data.is_dir() else []
        raise UserError(f"unknown task {name!r}", where="tasks", fix=nearest(name, [*TASKS, *own]))
    wording = task.wordings[dialect]
    if wording.builder is None:
        return load_published(name, folder / str(task.published) / ROWS, dialect, wording.primary_metric, limit)
    source = folder / SOURCE
    if not source.is_file():
        raise UserError(f"the records of {name} are missing", where=source, fix="put the data set's records there")
    instances: list[Instance] = []
    for number, record in json_rows(source):
        if limit is not None and len(instances) == limit:
            break
        try:
            instances.append(task.instance(record, len(instances), dialect))
        except KeyError as error:
            raise UserError(f"the record has no field {error}", where=source, line=number, fix="mend it") from error
        except (ValueError, IndexError, TypeError) as error:
            raise UserError(
                f"the record does not fit {name}: {error}", where=source, line=number, fix="mend it"
            ) from error
    if not instances:
        raise UserError("there are no records", where=source, fix="put the data set's records there")
    return TaskRequests(
        name=name,
        dialect=dialect,
        shots=SHOTS,
        split=SPLIT,
        primary_metric=wording.primary_metric,
        instances=tuple(instances),
        unconditional=task.unconditional,
        source=source,
        source_digest=digest_file(source),
    )


def load_published(name: str, path: Path, dialect: str, metric: str, limit: int | None, shots: int = 0) -> TaskRequests:
    """Instances of a file of request rows in the shape of the published dumps."""
    if not path.is_file():
        raise UserError(f"the requests of {name} are missing", where=path, fix="put the published requests there")
    instances, unconditional = read_request_rows(path, limit)
    return TaskRequests(
        name=name,
        dialect=dialect,
        shots=shots,
        split=SPLIT,
        primary_metric=metric,
        instances=instances,
        unconditional=unconditional,
        source=path,
        source_digest=digest_file(path),
    )


def load_requests(name: str, root: Path, limit: int | None) -> TaskRequests:
    """Task ``name`` of a requests artifact (``root/name``) or of published dumps (``root/name/rc_0shot``)."""
    if (root / name / ROWS).is_file():
        about = task_description(root / name / "task.json")
        return load_published(
            name, root / name / ROWS, about["dialect"], about["primary_metric"], limit, about["shots"]
        )
    folder = "rc_0shot"
    if name in TASKS and TASKS[name].published is not None:
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
    metric, shots = settings.get("primary_metric"), settings.get("num_shots", 0)
    if metric is None:
        if name not in TASKS:
            raise UserError("the primary metric is not stated", where=config, fix="add task_config.primary_metric")
        metric = TASKS[name].wordings["olmo-inloop"].primary_metric
    if type(shots) is not int:
        raise UserError(f"task_config.num_shots is {shots!r}", where=config, fix="give a whole number")
    return load_published(name, path, "olmo-inloop", check_metric(metric, config), limit, shots)


def task_description(path: Path) -> dict[str, Any]:
    """``task.json`` of requests or predictions; a UserError where it does not say what the numbers are of."""
    about = json_object(path)
    if not isinstance(about.get("dialect"), str) or type(about.get("shots")) is not int:
        raise UserError("the file does not describe requests: dialect, shots", where=path, fix="make it again")
    check_metric(about.get("primary_metric"), path)
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
    domain = first["doc"].get("domain")
    return Instance(
        doc_id=first["doc_id"],
        native_id=first.get("native_id"),
        doc=first["doc"],
        contexts=tuple(row["request"]["context"] for row in rows),
        continuations=tuple(row["request"]["continuation"] for row in rows),
        label=first["label"],
        domain=domain if isinstance(domain, str) else None,
    )


def tokenized_rows(requests: TaskRequests, encoder: Encoder) -> Iterator[dict[str, Any]]:
    """Rows of the tokenised form, in the order of the text form; ``doc_id`` is the instance's in both kinds."""
    for kind in ("conditional", "unconditional") if requests.unconditional else ("conditional",):
        for instance in requests.instances:
            for idx, (context, continuation) in enumerate(zip(instance.contexts, instance.continuations, strict=True)):
                pair = encoder.pair(context if kind == "conditional" else UNCONDITIONAL_CONTEXT, continuation)
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


def write_requests(config: RequestsConfig) -> list[TaskRequests]:
    """Write the requests artifact that ``config`` asks for; whole or not at all."""
    from .tokenize import Encoder, tokenizer_file

    check_limit(config.limit)
    tokenizer = None if config.tokenizer is None else tokenizer_file(config.tokenizer)
    encoder = None if tokenizer is None else Encoder.load(tokenizer, config.boundary)
    tasks = [load_task(name, config.data, config.dialect, config.limit) for name in split_names(config.tasks)]
    with (
        atomic_artifact(config.output, "requests") as folder,
        recorded(
            "catwalk-eval",
            "requests",
            folder=folder,
            config=config,
            inputs=[task.source for task in tasks] + ([] if tokenizer is None else [tokenizer]),
        ) as record,
    ):
        for task in tasks:
            with atomic_write(folder / task.name / ROWS) as stream:
                for row in task.rows():
                    stream.write(json.dumps(row).encode() + b"\n")
            if encoder is not None:
                with atomic_write(folder / task.name / "tokenized.jsonl.gz") as stream:
                    for row in tokenized_rows(task, encoder):
                        stream.write(json.dumps(row).encode() + b"\n")
            about = task.description(config.boundary)
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
