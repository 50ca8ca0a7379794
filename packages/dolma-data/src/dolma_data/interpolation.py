"""``${…}`` in configuration files, as Dolma's configurations use it (its own resolvers and OmegaConf's).

``${a.b}`` is another setting (``${.a}`` one beside it, each further dot a level up), ``${oc.env:NAME}`` or
``${oc.env:NAME,default}`` a variable of the environment, ``${d.glob:PATTERN}`` the files that match,
``${d.cache:ADDRESS}`` a local copy of a file (an ``s3://`` address stays what it is: commands fetch it),
``${d.processes:n}`` all processors but n. A value that is one interpolation takes its type.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .errors import UserError
from .remote import WEB, split_url

_REFERENCE = re.compile(r"\.*[A-Za-z_][\w.\-]*(\[\w+\][\w.\-\[\]]*)?")
_STEP = re.compile(r"[\w\-]+")
Place = tuple[str | int, ...]


def resolve(
    settings: dict[str, Any], where: str | Path | None = None, known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The settings with every interpolation filled in; UserError for one that cannot be, with its key.

    ``known`` are the settings that interpolations may name, where these are not just those of the file.
    """
    resolved = _Resolver(settings if known is None else known, where).value(settings, (), ())
    assert isinstance(resolved, dict)
    return resolved


def resolve_text(text: str, place: Place, known: dict[str, Any]) -> Any:
    """What a text with interpolations stands for as the setting at ``place``."""
    return _Resolver(known, None).text(text, place, ())


class _Resolver:
    def __init__(self, settings: dict[str, Any], where: str | Path | None) -> None:
        self.known = settings
        self.where = where

    def refuse(self, problem: str, place: Place, fix: str) -> NoReturn:
        key = ".".join(map(str, place))
        raise UserError(f"{key}: {problem}", where=self.where, fix=fix)

    def value(self, value: Any, place: Place, under_way: tuple[Place, ...]) -> Any:
        if isinstance(value, dict):
            return {name: self.value(one, (*place, name), under_way) for name, one in value.items()}
        if isinstance(value, list):
            return [self.value(one, (*place, number), under_way) for number, one in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return self.text(value, place, under_way)
        return value

    def text(self, text: str, place: Place, under_way: tuple[Place, ...]) -> Any:
        parts: list[Any] = []
        at = 0
        while (start := text.find("${", at)) >= 0:
            if text[start - 1 : start] == "\\":
                parts.append(text[at : start - 1] + "${")
                at = start + 2
                continue
            if start > at:
                parts.append(text[at:start])
            end = self.end_of(text, start, place)
            parts.append(_Found(self.interpolation(text[start + 2 : end], place, under_way)))
            at = end + 1
        if at < len(text):
            parts.append(text[at:])
        if len(parts) == 1 and isinstance(parts[0], _Found):
            return parts[0].value
        return "".join(part if isinstance(part, str) else as_text(part.value) for part in parts)

    def end_of(self, text: str, start: int, place: Place) -> int:
        depth = 0
        for at in range(start, len(text)):
            if text[at] == "{":
                depth += 1
            elif text[at] == "}":
                depth -= 1
                if depth == 0:
                    return at
        return self.refuse(f"the interpolation {text[start:]!r} does not end", place, "close it with }")

    def interpolation(self, inner: str, place: Place, under_way: tuple[Place, ...]) -> Any:
        name, colon, rest = inner.partition(":")
        if colon and "${" not in name:
            arguments = [self.argument(part, place, under_way) for part in _split(rest)]
            return self.call(name.strip(), arguments, place)
        reference = self.text(inner, place, under_way) if "${" in inner else inner
        return self.reference(str(reference).strip(), place, under_way)

    def argument(self, text: str, place: Place, under_way: tuple[Place, ...]) -> str:
        text = text.strip()
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            text = text[1:-1]
        return str(self.text(text, place, under_way)) if "${" in text else text

    def call(self, name: str, arguments: list[str], place: Place) -> Any:
        if name not in RESOLVERS:
            near = difflib.get_close_matches(name, RESOLVERS, 1)
            offered = f"did you mean {near[0]}?" if near else f"offered are {', '.join(RESOLVERS)}"
            self.refuse(f"no interpolation is called {name!r}", place, offered)
        try:
            return RESOLVERS[name](arguments)
        except ValueError as error:
            problem, _, fix = str(error).partition("; ")
            self.refuse(problem, place, fix or "mend the interpolation")

    def reference(self, name: str, place: Place, under_way: tuple[Place, ...]) -> Any:
        if not _REFERENCE.fullmatch(name):
            self.refuse(f"{name!r} names no setting", place, "write ${key.of.the.value}")
        dots = len(name) - len(name.lstrip("."))
        start = place[: len(place) - dots] if dots else ()
        target: Place = (*start, *(int(step) if step.isdigit() else step for step in _STEP.findall(name)))
        if target in under_way:
            self.refuse(f"the interpolation {name!r} comes back to itself", place, "break the circle")
        value: Any = self.known
        for step in target:
            if isinstance(value, dict) and str(step) in value:
                value = value[str(step)]
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                names = [str(key) for key in value] if isinstance(value, dict) else []
                near = difflib.get_close_matches(str(step), names, 1)
                fix = f"did you mean {near[0]}?" if near else "check the name"
                self.refuse(f"there is no setting {'.'.join(map(str, target))}", place, fix)
        return self.value(value, target, (*under_way, target))


class _Found:
    def __init__(self, value: Any) -> None:
        self.value = value


def as_text(value: Any) -> str:
    """A value as it stands inside a text."""
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    return str(value)


def _split(text: str) -> list[str]:
    """Arguments, separated by commas outside of quotes and of inner interpolations."""
    parts = [""]
    depth = 0
    quote = ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "{}":
            depth += 1 if character == "{" else -1
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _environment(arguments: list[str]) -> str | None:
    name, *default = arguments
    if name in os.environ:
        return os.environ[name]
    if not default:
        raise ValueError(f"the environment has no variable {name}; set it, or give a default: ${{oc.env:{name},value}}")
    return None if default[0] == "null" else ",".join(default)


def _glob(arguments: list[str]) -> list[str]:
    pattern = ",".join(arguments)
    url = split_url(pattern)
    if url is not None:
        from .storage import Storage, transfers

        with transfers(pattern):
            names = list(Storage().look(*url))
        if not names:
            raise ValueError(f"no file matches {pattern}; check the pattern")
        return [f"{url[0]}://{name}" for name in names]
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    if not found:
        raise ValueError(f"no file matches {pattern}; check the pattern")
    return found


def _processes(arguments: list[str]) -> int:
    spared = arguments[0] or "0" if arguments else "0"
    if not re.fullmatch(r"-?\d+", spared):
        raise ValueError(f"{spared!r} is no number of processors; write ${{d.processes:1}}")
    return max(1, (os.cpu_count() or 1) - int(spared))


def cache_folder() -> Path:
    """Where fetched files are kept: ``dolma-data`` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dolma-data" / "files"


def _cache(arguments: list[str]) -> str:
    import urllib.error  # here, as few configurations fetch anything
    import urllib.parse
    import urllib.request

    address = ",".join(arguments)
    parsed = urllib.parse.urlparse(address)
    if not parsed.scheme or parsed.scheme == "file":
        path = Path(urllib.parse.unquote(parsed.path)) if parsed.scheme else Path(address)
        if not path.exists():
            raise ValueError(f"there is no file {path}; check the path")
        return str(path)
    if parsed.scheme not in WEB:
        return address  # commands fetch it where a path stands
    target = cache_folder() / parsed.netloc / parsed.path.lstrip("/")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial:
            try:
                with urllib.request.urlopen(address) as source:
                    shutil.copyfileobj(source, partial)
            except (urllib.error.URLError, OSError) as error:
                Path(partial.name).unlink()
                raise ValueError(f"{address} cannot be fetched: {error}; fetch it and give the local path") from error
        os.replace(partial.name, target)
    return str(target)


RESOLVERS: dict[str, Callable[[list[str]], Any]] = {
    "oc.env": _environment,
    "d.glob": _glob,
    "d.cache": _cache,
    "d.processes": _processes,
}
