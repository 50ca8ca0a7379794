"""Finding a task by what the user calls it: a built-in one, task data that make-cloze wrote, or a file of the user's.

A file of the user's declares a task with the same means as the built-in ones, in YAML or in Python.
"""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .command_line import load_yaml
from .errors import UserError
from .fields import Answer, Gold, Record, Text, Texts, kind, parts, render, text_of
from .prompts import DIALECTS
from .records import json_object, keys_of, nearest
from .scores import METRICS
from .task import VALIDATION, Builder, Cloze, Letters, Task, TwoContexts, Wording
from .tasks import ALIASES, TASKS

FILES = (".yaml", ".yml", ".py")
BUILDERS = ("cloze", "letters", "two-contexts")
KEYS = (
    "name", "about", "data", "builder", "context", "question", "sentence", "choices", "gold", "metric", "shots",
    "cluster", "domain", "description", "positive", "id",
)  # fmt: skip
RESERVED = ("provenance", "manifest.json", "metrics.json", "tokenizer.json")  # beside the folders of tasks
QUESTION_KEYS = {"cloze": "context", "letters": "question", "two-contexts": "sentence"}
Found = tuple[Task, Path | None, dict[str, Path]]
"""A task, the folder of its data, and files of splits that it names itself."""


def find_task(name: str, data: Path | None) -> Found:
    """The task that ``name`` means; a UserError with the nearest name where there is none."""
    if name.endswith(FILES):
        return file_task(Path(name), data)
    folder = None if data is None else data / name
    if folder is not None and (folder / "task.json").is_file():
        task = described_task(folder, json_object(folder / "task.json"))
        check_name(task.name, folder / "task.json")
        if task.name != name:
            raise UserError(
                f"the folder is named {name} and its task {task.name}", where=folder, fix="give both the same name"
            )
        return task, folder, {}
    name = ALIASES.get(name, name)
    if name not in TASKS:
        own = sorted(path.parent.name for path in data.glob("*/task.json")) if data is not None else []
        raise UserError(f"unknown task {name!r}", where="tasks", fix=nearest(name, [*TASKS, *ALIASES, *own]))
    task = TASKS[name]
    return task, data_folder(task, data), {}


def data_folder(task: Task, data: Path | None) -> Path | None:
    """The folder of a task's data: by its name or another one it has; the first name where there is none."""
    if data is None:
        return None
    folders = [data / name for name in (task.folder or task.name, *task.aliases)]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def described_task(folder: Path, description: Mapping[str, Any]) -> Task:
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
    domain = description["domain_field"]
    return Task(
        name=description["name"],
        about=str(description.get("description", "")),
        native_id="id",
        extra=lambda record: {"id": record.get("id")} | ({} if domain is None else {"domain": str(record[domain])}),
        domain=None if domain is None else lambda record: str(record[domain]),
        cluster=lambda record: f"{record['source']}:{record['document']}",
        wordings=in_every_dialect(
            Cloze(context=lambda record: text_of(record, context), choices=choices, gold=gold, own_space=True),
            check_metric(description.get("primary_metric"), where),
        ),
    )


def in_every_dialect(builder: Builder, metric: str, **more: Any) -> dict[str, Wording]:
    """One wording under the name of every dialect."""
    return dict.fromkeys(DIALECTS, Wording(builder=builder, primary_metric=metric, **more))


def check_metric(metric: object, where: Path) -> str:
    """The name of a metric that decides; another one is a UserError with the nearest spelling."""
    if not isinstance(metric, str) or metric not in METRICS:
        raise UserError(f"unknown metric {metric!r}", where=where, fix=nearest(str(metric), list(METRICS)))
    return metric


def file_task(path: Path, data: Path | None) -> Found:
    """The task that a file of the user's declares; its data lie beside it, or below ``data``."""
    if not path.is_file():
        raise UserError("no such task file", where=path, fix="check --tasks")
    task, named = python_task(path) if path.suffix == ".py" else yaml_task(path)
    check_name(task.name, path)
    if task.name in TASKS or task.name in ALIASES:
        raise UserError(f"{task.name} is the name of a built-in task", where=path, fix="give the task another name")
    files = {split: path.parent / name for split, name in named.items()}
    for split, file in files.items():
        if not file.is_file():
            raise UserError(f"the {split} records of {task.name} are missing", where=file, fix=f"see data: in {path}")
    return task, None if data is None else data_folder(task, data), files


def check_name(name: str, where: Path) -> None:
    """A name that cannot be that of a task's folder in an artifact is a UserError."""
    if Path(name).name != name or name.startswith(".") or "," in name:
        raise UserError(f"{name!r} cannot name a folder", where=where, fix="use letters, digits, - and _")
    if name in RESERVED:
        raise UserError(f"{name} is a name that every artifact uses itself", where=where, fix="give the task another")


def python_task(path: Path) -> tuple[Task, dict[str, str]]:
    """``TASK`` and, if it is there, ``DATA`` of a Python file."""
    spec = importlib.util.spec_from_file_location(f"catwalk_eval_task_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) else innermost(error, path)
        what = f"the file does not run: {type(error).__name__}: {error}"
        raise UserError(what, where=path, line=line, fix="mend it") from error
    task = getattr(module, "TASK", None)
    if not isinstance(task, Task):
        raise UserError(
            "the file has no TASK that is a catwalk_eval.task.Task", where=path, fix="see README, own tasks"
        )
    for name, wording in task.wordings.items():
        if name not in DIALECTS:
            raise UserError(f"unknown dialect {name!r}", where=path, fix=nearest(name, list(DIALECTS)))
        check_metric(wording.primary_metric, path)
    return task, splits(getattr(module, "DATA", None), path)


def innermost(error: BaseException, path: Path) -> int | None:
    """The last line of ``path`` that an error went through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None


def splits(value: object, where: Path) -> dict[str, str]:
    """``data``: one file, of the validation split, or a file per split."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {VALIDATION: value}
    if not isinstance(value, dict) or not all(isinstance(item, str) for pair in value.items() for item in pair):
        raise UserError("data is neither a file nor split: file", where=where, fix="write data: records.jsonl")
    return dict(value)


def yaml_task(path: Path) -> tuple[Task, dict[str, str]]:
    """The task that a YAML file declares."""
    stated = load_yaml(path)
    keys_of(stated, KEYS, path, "a task")
    take = Taker(stated, path)
    builder = take.text("builder", default="cloze")
    if builder not in BUILDERS:
        raise UserError(f"unknown builder {builder!r}", where=path, fix=nearest(builder, BUILDERS))
    asked = QUESTION_KEYS[builder]
    for key in QUESTION_KEYS.values():
        if key != asked and key in stated:
            raise UserError(f"{key} does nothing with builder {builder}", where=path, fix=f"write {asked}")
    question, choices, gold = take.template(asked), take.choices(), take.gold()
    built: Builder
    if builder == "cloze":
        built = Cloze(context=question, choices=choices, gold=gold, own_space=True)
    elif builder == "letters":
        built = Letters(question=question, choices=choices, gold=gold)
    else:
        built = TwoContexts(sentence=question, options=choices, gold=gold)
    shots = take.optional("shots")
    metric = check_metric(stated.get("metric", "acc_raw" if builder != "cloze" else "acc_per_char"), path)
    positive = take.number("positive")
    if metric == "f1" and positive is None:
        raise UserError("f1 needs the number of the positive choice", where=path, fix="add positive: 1")
    more = {
        "description": take.template("description", ""),
        "shots": shots if shots in ("first", "seed") else None,
        "positive": positive,
    }
    return (
        Task(
            name=take.text("name"),
            about=take.text("about", default=""),
            native_id=take.optional("id"),
            domain=take.template("domain", None),
            cluster=take.template("cluster", None),
            extra=None if "domain" not in stated else domain_of(take.template("domain")),
            shots_file=None if shots in (None, "first", "seed") else str(path.parent / shots),
            wordings=in_every_dialect(built, metric, **more),
        ),
        splits(stated.get("data"), path),
    )


def domain_of(domain: Text) -> Callable[[Record], Mapping[str, Any]]:
    """``doc.domain``, which requests are read back by."""
    return lambda record: {"domain": render(domain, record)}


class Taker:
    """Values of a YAML task, each checked; a wrong one is a UserError that names the key."""

    def __init__(self, stated: Mapping[str, Any], path: Path) -> None:
        self.stated, self.path = stated, path

    def wrong(self, key: str, expected: str) -> UserError:
        what = f"{key} is missing" if key not in self.stated else f"{key} is {kind(self.stated[key])}, not {expected}"
        return UserError(what, where=self.path, fix=f"{key}: {expected}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.stated.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def optional(self, key: str) -> str | None:
        return self.text(key) if key in self.stated else None

    def number(self, key: str) -> int | None:
        value = self.stated.get(key)
        if value is not None and (type(value) is not int or value < 0):
            raise self.wrong(key, "a number from 0")
        return value

    def template(self, key: str, default: Any = ...) -> Any:
        if key not in self.stated and default is not ...:
            return default
        return self.checked(key, self.text(key))

    def checked(self, key: str, template: str) -> str:
        try:
            parts(template)
        except ValueError as error:
            raise UserError(f"{key}: {error}", where=self.path, fix="mend it") from error
        return template

    def choices(self) -> Texts:
        value = self.stated.get("choices")
        if isinstance(value, str):
            if "{" in value:
                raise UserError(
                    "choices is one template", where=self.path, fix="name a field that is a list, or list templates"
                )
            return value
        if isinstance(value, list) and len(value) > 1 and all(isinstance(item, str) for item in value):
            return tuple(self.checked("choices", item) for item in value)
        if isinstance(value, list) and any(isinstance(item, bool) for item in value):
            raise UserError("a choice is true or false, not text", where=self.path, fix='put it in quotes: "yes"')
        raise self.wrong("choices", "the name of a list, or a list of two or more templates")

    def gold(self) -> Gold:
        value = self.stated.get("gold")
        if isinstance(value, str) or (type(value) is int and value >= 0):
            return value
        if not isinstance(value, dict):
            raise self.wrong("gold", "the name of a field, a number, or field: and labels: or start:")
        keys_of(value, ("field", "labels", "start"), self.path, "gold")
        key, labels, start = value.get("field"), value.get("labels"), value.get("start", 0)
        if not isinstance(key, str):
            raise UserError("gold.field is missing, or no text", where=self.path, fix="name the field of the answer")
        if not isinstance(labels, str | list | None) or type(start) is not int:
            raise UserError(
                "gold.labels is no list and no field, or gold.start no number", where=self.path, fix="mend it"
            )
        return Answer(field=key, labels=tuple(labels) if isinstance(labels, list) else labels, start=start)
