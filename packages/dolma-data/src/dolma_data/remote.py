"""URLs (``s3://`` and whatever else fsspec opens) in settings and in texts; see :mod:`remote_commands`.

Which settings name files is said by their types (:class:`config.kinds.Place`); a URL in any other setting is text.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from .config.kinds import Local, Place
from .errors import UserError

URL = re.compile(r"([a-z][a-z0-9+]+):/+(.*)", re.DOTALL)  # a Path keeps one of the two slashes
TAGGER = re.compile(r"(fasttext\w*:(?:[^=:/]*=)?)(.+)")  # a tagger that names the place of its model
MIRRORS = "dolma-data-remote"
WEB = ("http", "https")
REMOTE = "is remote, so that a dry run does not look at it"
Role = Place | Local | None
Change = Callable[[str, str, Place | Local], str | Path]  # (scheme, path, role) → what takes the URL's place


def split_url(value: object) -> tuple[str, str] | None:
    """``(scheme, path)`` of a setting that is a URL, else None; UserError for one without a host or with a password."""
    found = URL.fullmatch(str(value)) if isinstance(value, str | Path) else None
    if found is None or TAGGER.fullmatch(str(value)):
        return None
    scheme, path = found[1], found[2] if found[1] in WEB else found[2].rstrip("/")
    if not path:
        raise UserError("the address names nothing", where=f"{scheme}://", fix="write scheme://bucket/key")
    if "@" in path.partition("/")[0]:
        raise UserError(
            "an address must hold no password",
            where=f"{scheme}://…@…",
            fix="use AWS_PROFILE, or the like of the storage",
        )
    if ".." in path.split("/"):
        raise UserError("the address has a part '..'", where=concealed(str(value)), fix="write it out")
    return scheme, path


def as_text(value: object) -> str:
    """A setting as text: a Path has kept only one slash of a URL."""
    url = split_url(value)
    return str(value) if url is None else concealed(f"{url[0]}://{url[1]}")


@functools.cache
def roles_of(described: Any) -> dict[str, Role]:
    """Role of every setting of a dataclass, or of every parameter of a command; None where it names no files."""
    hints = get_type_hints(described, include_extras=True)
    roles: dict[str, Role] = {}
    for name, hint in hints.items():
        marks = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Place | Local)]
        roles[name] = marks[0] if marks else None
    return roles


def map_urls(value: Any, change: Change, role: Role = None) -> Any:
    """``value`` (settings, all through) with what ``change`` gives in place of every URL that names files."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        roles = roles_of(type(value))
        return dataclasses.replace(
            value, **{name: map_urls(getattr(value, name), change, roles[name]) for name in roles}
        )
    if isinstance(value, dict):
        return {key: map_urls(one, change, role) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(map_urls(one, change, role) for one in value)
    if role is None or not isinstance(value, str | Path):
        return value
    tagger = TAGGER.fullmatch(str(value))
    before, place = tagger.groups() if tagger else ("", str(value))
    url = split_url(place)
    if url is None:
        return value
    put = before + str(change(*url, role))
    return Path(put) if isinstance(value, Path) else put


def map_arguments(command: Callable[..., None], arguments: Any, named: Any, change: Change) -> tuple[Any, Any]:
    """The same over the arguments of a command."""
    bound = inspect.signature(command).bind(*arguments, **named)
    roles = roles_of(command)
    for name, value in bound.arguments.items():
        bound.arguments[name] = map_urls(value, change, roles.get(name))
    return bound.args, bound.kwargs


def urls_of(*values: Any) -> list[str]:
    """The URLs in settings, in order."""
    found: list[str] = []

    def note(scheme: str, path: str, role: Role) -> str:
        found.append(concealed(f"{scheme}://{path}"))
        return path

    for value in values:
        map_urls(value, note, Place.READ)
    return found


def unseen(*values: Any) -> list[str]:
    """For a dry run, what it does not know because it is remote."""
    return [f"{url} {REMOTE}" for url in urls_of(*values)]


def mirrors() -> Path:
    """The folder of all mirrors."""
    return Path(tempfile.gettempdir()).resolve() / MIRRORS


def concealed(text: str) -> str:
    """``text`` without what addresses may hold of secrets: passwords before a host, what is asked for behind a path."""
    if "://" not in text:
        return text
    text = re.sub(r"(?<=://)[^/\s\"'@]*@", "…@", text)
    return re.sub(r"(https?://[^\s\"'?]*)\?[^\s\"',;)]*", r"\1?…", text)


def with_urls(text: str) -> str:
    """``text`` with URLs instead of places in a mirror."""
    if MIRRORS not in text:
        return text
    return re.sub(re.escape(str(mirrors())) + "/[0-9a-f]{16}/([a-z][a-z0-9+]+)/", r"\1://", text)


def shown(text: str) -> str:
    """The same for people and records: without the secrets of URLs too."""
    return concealed(with_urls(text))


def refuse_urls(call: functools.partial[None], fix: str) -> None:
    """UserError where the call of a command names a remote file."""

    def refuse(scheme: str, path: str, role: Place | Local) -> str:
        raise UserError("no remote file can stand here", where=concealed(f"{scheme}://{path}"), fix=fix)

    map_arguments(inspect.unwrap(call.func), call.args, call.keywords, refuse)
