"""Recipes: a whole pipeline in one YAML file, its variables filled in.

A recipe has a `name`, a `description`, `variables` with their defaults, and `steps`. A step has one key, a command of
dolma-data, with the settings of that command; `when` names a variable (or `not` one; several in a list) that must be
set, `name` tells steps apart. A setting or an entry of a list may be `{when: …, use: …}` and is left out otherwise.
`${name}` stands for a variable, in a list for the entries of one that is a list; beside the recipe's own there are
`documents`, `output` and `processes`. A variable may hold others. `optional` says of variables, which are empty at
first, what the recipe leaves out without them; a run says it before its first step.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..command_line import load_yaml
from ..config.run import RunConfig
from ..errors import UserError

KEYS = {"name", "description", "variables", "optional", "steps"}
STEP_KEYS = {"name", "when", "description"}
COMMANDS = ("extract", "warc", "tag", "dedupe", "decontaminate", "mix", "stat", "analyze", "train-tokenizer", "tokens")
WITH_DOCUMENTS = ("tag", "dedupe", "decontaminate")  # where `documents` may be left out
MAY_FAIL = tuple(name for name in COMMANDS if name != "stat")  # that take max_failed
SUFFIX = ".yaml"
RAW = "raw"
CONDITIONAL = {"when", "use"}
ABSENT = object()  # a conditional value that is left out


@dataclass(frozen=True)
class Step:
    """A command with its settings; ``name`` is unique in the recipe."""

    name: str
    command: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A recipe whose variables are filled in; ``left_out`` says by variable what lacks without it."""

    name: str
    description: str
    variables: dict[str, Any]
    steps: list[Step]
    left_out: dict[str, str]


def recipe_names() -> list[str]:
    """Names of the recipes in this package."""
    folder = resources.files("dolma_data") / "recipes"
    return sorted(entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX))


def find_recipe(name: str) -> Path:
    """A file, or one of the recipes in this package; UserError for neither."""
    if Path(name).is_file():
        return Path(name)
    names = recipe_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        fix = f"did you mean {near[0]}?" if near else f"give a file or one of {', '.join(names)}"
        raise UserError(f"there is no recipe {name!r}", fix=fix)
    return Path(str(resources.files("dolma_data") / "recipes" / f"{name}{SUFFIX}"))


def read_recipe(path: Path) -> dict[str, Any]:
    """The keys of a recipe; UserError for unknown and for missing ones."""
    content = load_yaml(path)
    unknown = sorted(set(content) - KEYS)
    if unknown or not {"name", "steps"} <= set(content):
        problem = f"unknown key {unknown[0]!r}" if unknown else "name or steps are missing"
        raise UserError(problem, where=path, fix=f"a recipe has {', '.join(sorted(KEYS))}")
    mapping = (dict, "a mapping")
    for key, (kind, name) in {"steps": (list, "a list"), "variables": mapping, "optional": mapping}.items():
        value = content.get(key)
        if not isinstance(value, kind) and (value is not None or key == "steps"):
            raise UserError(f"{key} is {value!r}, not {name}", where=path, fix="see the recipes of this package")
    return content


def stated_variables(name: str, config: RunConfig) -> dict[str, Any]:
    """The recipe's own variables with what the settings say of them, not filled in; UserError for unknown ones."""
    path = find_recipe(name)
    variables = dict(read_recipe(path).get("variables") or {})
    for name, value in config.set.items():
        if name not in variables:
            near = difflib.get_close_matches(name, variables, 1)
            fix = f"did you mean {near[0]}?" if near else f"variables: {', '.join(sorted(variables)) or 'none'}"
            raise UserError(f"the recipe has no variable {name!r}", where=path, fix=fix)
        variables[name] = _parse(value)
    return variables


def load_recipe(path: Path, config: RunConfig, stated: Mapping[str, Any]) -> Recipe:
    """Read a recipe and fill in its variables, ``stated`` ones; UserError for what makes no sense, with the step."""
    content = read_recipe(path)
    if bool(config.documents) == bool(config.input):
        raise UserError("give one of --documents and --input", fix="documents that exist, or raw files")
    variables = dict(stated)
    raw = str(config.output / RAW)
    variables |= {
        "documents": list(config.documents) or [raw],
        "output": str(config.output),
        "processes": config.processes,
    }
    variables = {name: fill(value, variables, str(path)) for name, value in variables.items()}
    extraction = {"paths": list(config.input), "output": raw, "repeated_ids": config.repeated_ids}
    steps = [Step("extract", "extract", extraction)] if config.input else []
    for number, entry in enumerate(content["steps"], start=1):
        step = _step(entry, variables, path, number)
        if step is not None:
            if step.name in {other.name for other in steps}:
                raise UserError(f"two steps are called {step.name!r}", where=path, fix="give one another name")
            steps.append(step)
    for step in steps:
        step.settings["processes"] = config.processes
        if config.max_failed and step.command in MAY_FAIL:
            step.settings.setdefault("max_failed", config.max_failed)
    left_out = _left_out(content.get("optional") or {}, variables, path)
    return Recipe(content["name"], _one_line(content.get("description", "")), variables, steps, left_out)


def _left_out(optional: Any, variables: Mapping[str, Any], path: Path) -> dict[str, str]:
    for name in optional:
        if name not in variables:
            raise UserError(f"unknown variable {name!r} in optional", where=path, fix="name it under variables")
    return {name: _one_line(what) for name, what in optional.items() if not variables[name]}


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())


def _parse(value: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _step(entry: Any, variables: Mapping[str, Any], path: Path, number: int) -> Step | None:
    where = f"{path}, step {number}"
    commands = [key for key in entry if key not in STEP_KEYS] if isinstance(entry, dict) else []
    if len(commands) != 1 or commands[0] not in COMMANDS or not isinstance(entry[commands[0]], dict):
        raise UserError("a step has one command with its settings", where=where, fix=f"one of {', '.join(COMMANDS)}")
    if not _wanted(entry.get("when"), variables, where):
        return None
    command = commands[0]
    settings = fill(entry[command], variables, where)
    if command in WITH_DOCUMENTS:
        settings.setdefault("documents", variables["documents"])
    return Step(str(entry.get("name", command)), command, settings)


def _wanted(conditions: Any, variables: Mapping[str, Any], where: str) -> bool:
    for condition in conditions if isinstance(conditions, list) else [conditions]:
        if condition is None:
            continue
        name = str(condition).removeprefix("not ")
        if name not in variables:
            raise UserError(f"unknown variable {name!r} in when", where=where, fix="name one of the recipe's variables")
        if bool(variables[name]) == str(condition).startswith("not "):
            return False
    return True


def fill(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    """Variables in place of ``${name}``; a text that is one ``${name}`` alone keeps the variable's type.

    ``{when: CONDITIONS, use: VALUE}`` is the value or, where a condition fails, left out of what holds it.
    """
    if isinstance(value, dict):
        if value.keys() == CONDITIONAL:
            return fill(value["use"], variables, where) if _wanted(value["when"], variables, where) else ABSENT
        filled = {key: fill(entry, variables, where) for key, entry in value.items()}
        return {key: entry for key, entry in filled.items() if entry is not ABSENT}
    if isinstance(value, list):
        return _fill_list(value, variables, where)
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> Any:
        if match[1] not in variables:
            raise UserError(f"unknown variable ${{{match[1]}}}", where=where, fix="name it under variables")
        return variables[match[1]]

    whole = re.fullmatch(r"\$\{(\w+)\}", value)
    return look_up(whole) if whole else re.sub(r"\$\{(\w+)\}", lambda match: str(look_up(match)), value)


def _fill_list(values: Sequence[Any], variables: Mapping[str, Any], where: str) -> list[Any]:
    filled: list[Any] = []
    for entry in values:
        value = fill(entry, variables, where)
        if value is ABSENT:
            continue
        conditional = isinstance(entry, dict) and entry.keys() == CONDITIONAL
        spread = isinstance(value, list) and (isinstance(entry, str) or conditional)
        filled += value if spread else [value]
    return filled
