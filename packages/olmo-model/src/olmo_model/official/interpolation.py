"""``${...}`` in configuration files, as OmegaConf resolves it for OLMo's trainer.

OmegaConf itself is not used: its parser needs a package that comes as source alone. Here are the forms that OLMo's
files are written in: ``${key}`` and ``${section.key}`` from the root, ``${.key}`` and ``${..key}`` from where they
stand, and the resolvers ``oc.env``, ``oc.decode``, ``path.glob``, ``path.choose`` and ``path.last_checkpoint`` of
allenai/OLMo, olmo/config.py, with ``path.join`` beside them; nested to any depth.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError

MISSING = object()
MARK = re.compile(r"(\\*)\$\{")
CHECKPOINT = re.compile(r"step(\d+)(-unsharded)?")


class Loader(yaml.SafeLoader):
    """YAML as OmegaConf reads it: ``1e-4`` is a number, a date is text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith((":float", ":timestamp"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9_]+(?:[eE][-+]?[0-9]+)?"
        r"|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def value_of(text: str) -> Any:
    """A value as it is written behind ``--key=``; what is no YAML is the text itself."""
    try:
        return yaml.load(text, Loader=Loader)  # a SafeLoader
    except yaml.YAMLError:
        return text


def resolve(tree: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
    """The tree with everything resolved. What cannot be is a UserError that names the key."""
    return _Resolver(tree, where).mapping(tree, ())


@dataclass
class _Resolver:
    tree: Mapping[str, Any]
    where: str | Path
    open: tuple[tuple[str, ...], ...] = ()  # keys that are being resolved, to find circles

    def mapping(self, part: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        return {key: self.value(value, (*path, key)) for key, value in part.items()}

    def value(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value, path)
        if isinstance(value, list):
            return [self.value(item, (*path, str(number))) for number, item in enumerate(value)]
        return self.text(value, path) if isinstance(value, str) and "${" in value else value

    def text(self, text: str, path: tuple[str, ...]) -> Any:
        if path in self.open:
            raise self.problem(path, f"{text!r} refers to itself")
        inner = _Resolver(self.tree, self.where, (*self.open, path))
        pieces: list[Any] = []
        place = 0
        while place < len(text):
            mark = MARK.search(text, place)
            if mark is None:
                pieces.append(text[place:])
                break
            # of backslashes before a mark two are one, and a single one makes the mark text
            written = text[place : mark.start()] + "\\" * (len(mark[1]) // 2) + ("${" if len(mark[1]) % 2 else "")
            pieces += [written] if written else []
            place = mark.end()
            if len(mark[1]) % 2 == 0:
                end = closing(text, place - 2)
                if end is None:
                    raise self.problem(path, f"{text!r} has a ${{ without its }}")
                pieces.append(inner.expression(text[place:end], path))
                place = end + 1
        return pieces[0] if len(pieces) == 1 else "".join(map(str, pieces))

    def expression(self, inside: str, path: tuple[str, ...]) -> Any:
        name, colon, rest = _head(inside)
        if not colon:
            return self.reference(self._filled(inside.strip(), path), path)
        name = name.strip()
        if name not in RESOLVERS:
            fix = "use one of " + ", ".join(RESOLVERS)
            raise UserError(f"{_dotted(path)}: no resolver {name!r}", where=self.where, fix=fix)
        arguments = [self.text(part.strip(), (*path, "")) for part in _split(rest)] if rest.strip() else []
        try:
            return RESOLVERS[name](arguments)
        except UserError as error:
            raise UserError(f"{_dotted(path)}: {error.what}", where=self.where, fix=error.fix) from error

    def _filled(self, text: str, path: tuple[str, ...]) -> str:
        return str(self.text(text, (*path, ""))) if "${" in text else text

    def reference(self, name: str, path: tuple[str, ...]) -> Any:
        dots = len(name) - len(name.lstrip("."))
        start = path[: len(path) - dots] if dots else ()
        keys = (*start, *name[dots:].replace("[", ".").replace("]", "").split("."))
        found: Any = self.tree
        for key in keys:
            if isinstance(found, Mapping):
                found = found.get(key, MISSING)
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                found = MISSING
        if found is MISSING:
            raise self.problem(path, f"${{{name}}} names no key of the file")
        return self.value(found, keys)

    def problem(self, path: tuple[str, ...], what: str) -> UserError:
        return UserError(f"{_dotted(path)}: {what}", where=self.where, fix="mend the file")


def closing(text: str, start: int) -> int | None:
    """Place of the brace that closes the ``${`` at ``start``."""
    depth = 0
    for place in range(start, len(text)):
        depth += text.startswith("${", place) - (text[place] == "}")
        if depth == 0 and text[place] == "}":
            return place
    return None


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(part for part in path if part)


def _head(inside: str) -> tuple[str, str, str]:
    """A resolver's name before its colon; no colon where there is none outside of nested braces."""
    before = inside.split("${", 1)[0]
    return inside.partition(":") if ":" in before else (inside, "", "")


def _split(text: str) -> list[str]:
    """Arguments between commas that stand outside of braces, brackets and quotes; quotes are taken off."""
    parts, depth, quote, last = [], 0, "", 0
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[last:place])
            last = place + 1
    parts.append(text[last:])
    return [
        part.strip()[1:-1] if len(part.strip()) > 1 and part.strip()[0] == part.strip()[-1] in "'\"" else part
        for part in parts
    ]


def _env(arguments: list[Any]) -> Any:
    if not 1 <= len(arguments) <= 2:
        raise UserError("oc.env takes a name and, where wanted, a default", fix="write ${oc.env:NAME,default}")
    found = os.environ.get(str(arguments[0]))
    if found is not None:
        return found
    if len(arguments) == 1:
        raise UserError(
            f"the environment has no variable {arguments[0]}", fix="set it, or write ${oc.env:NAME,default}"
        )
    return None if arguments[1] in (None, "null") else str(arguments[1])


def _glob(arguments: list[Any]) -> list[str]:
    found: list[str] = []
    for pattern in arguments:
        matches = sorted(glob.glob(str(pattern)))  # noqa: PTH207  # pathlib takes no absolute patterns
        if not matches:
            raise UserError(f"{pattern} matches no file", fix="check the path")
        found += matches
    return found


def _choose(arguments: list[Any]) -> str:
    for path in arguments:
        if "://" in str(path) or Path(str(path)).exists():
            return str(path)
    raise UserError(f"none of {', '.join(map(str, arguments))} exists", fix="check the paths")


def _join(arguments: list[Any]) -> str:
    return str(Path(*map(str, arguments))) if arguments else ""


def _last_checkpoint(arguments: list[Any]) -> str:
    """The highest step; of both kinds of one step the sharded."""
    folder = Path(str(arguments[0])) if arguments else Path()
    found = [
        (int(match[1]), match[2] is None, place)
        for place in (folder.iterdir() if folder.is_dir() else ())
        if place.is_dir() and (match := CHECKPOINT.fullmatch(place.name))
    ]
    if not found:
        raise UserError(f"no checkpoint in {folder}", fix="check the path")
    return str(max(found)[2])


RESOLVERS: dict[str, Callable[[list[Any]], Any]] = {
    "oc.env": _env,
    "oc.decode": lambda arguments: value_of(str(arguments[0])),
    "path.glob": _glob,
    "path.choose": _choose,
    "path.join": _join,
    "path.last_checkpoint": _last_checkpoint,
}
