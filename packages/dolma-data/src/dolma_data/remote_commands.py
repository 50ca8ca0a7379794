"""Commands that take URLs wherever they take paths: they work on a :class:`mirror.Mirror`, which is published after."""

from __future__ import annotations

import functools
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.kinds import Local, Place
from .errors import UserError
from .files import write_json
from .locking import held
from .remote import URL, WEB, concealed, map_arguments, mirrors, shown

if TYPE_CHECKING:
    from .mirror import Mirror

active: ContextVar[tuple[Mirror, ...]] = ContextVar("active", default=())  # mirrors that a command works on


def local_of(text: str) -> Path:
    """Where the file lies that ``text``, a path or a URL out of :func:`shown`, names."""
    url = URL.fullmatch(text)
    places = [] if url is None else [mirror.root / url[1] / url[2] for mirror in active.get()]
    return next((place for place in places if place.exists()), Path(text))


def content_of(path: Path) -> bytes | None:
    """What a file of an output holds, None where it is not there; of a mirror's, at its URL."""
    mirror = next((mirror for mirror in active.get() if path.is_relative_to(mirror.root)), None)
    if mirror is not None:
        return mirror.read(path)
    return path.read_bytes() if path.is_file() else None


def publish() -> None:
    """Upload what was finished so far; nothing where no mirror is worked on."""
    for mirror in active.get():
        mirror.publish()


def remote_paths(
    command: Callable[..., None] | None = None, *, resumes: bool = False, explains: bool = False
) -> Callable[..., Any]:
    """Let a command take URLs wherever its arguments and settings name files.

    ``resumes``: the command itself finds out what of its output is done. ``explains``: it reads everything, what it
    could write too, and the attributes of its documents.
    """
    if command is None:
        return functools.partial(remote_paths, resumes=resumes, explains=explains)

    @functools.wraps(command)
    def run(*arguments: Any, **named: Any) -> None:
        dry = any(getattr(value, "dry_run", False) for value in (*arguments, *named.values()))
        found: list[str] = []
        written: list[str] = []

        def note(scheme: str, path: str, role: Place | Local) -> str:
            url = f"{scheme}://{path}"
            if isinstance(role, Local):
                raise UserError(f"this cannot be remote: {role.reason}", where=url, fix=role.fix)
            if scheme in WEB and role in (Place.WRITTEN, Place.KEPT) and not explains:
                raise UserError("nothing can be written there", where=concealed(url), fix="give a folder, or s3://")
            found.append(url)
            if role in (Place.WRITTEN, Place.KEPT):
                written.append(concealed(url))
            return url

        map_arguments(command, arguments, named, note)
        if dry or not found:  # a dry run fetches nothing
            return command(*arguments, **named)
        with ExitStack() as locks:
            for url in () if explains else sorted(set(written)):
                locks.enter_context(held(lock_of(url), url))
            return run_mirrored(command, arguments, named, resumes=resumes, explains=explains)

    return run


def lock_of(url: str) -> Path:
    """The file, beside the mirrors, that is the lock of ``url`` on this machine."""
    name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    return mirrors().with_name(f"{mirrors().name}-locks") / name


def run_mirrored(
    command: Callable[..., None], arguments: Any, named: Any, *, resumes: bool = False, explains: bool = False
) -> None:
    """Run ``command`` on a mirror of what its arguments and settings name by URLs."""
    from .mirror import Mirror  # most commands have no use for it, and start sooner without

    called = hashlib.sha256(repr((command.__name__, arguments, sorted(named.items()))).encode()).hexdigest()[:16]
    mirror = Mirror(mirrors() / called, resumes=resumes, explains=explains)
    before = active.set((*active.get(), mirror))
    try:
        with _with_urls():
            _run_mirrored(mirror, command, arguments, named)
    finally:
        active.reset(before)
    shutil.rmtree(mirror.root)


def _run_mirrored(mirror: Mirror, command: Callable[..., None], arguments: Any, named: Any) -> None:
    from .documents import QUARANTINE
    from .mirror import FINISHED

    finished = mirror.root / FINISHED
    local, named_local = map_arguments(command, arguments, named, mirror.take)
    mirror.fetch_attributes([*arguments, *named.values()])
    mirror.drop_others()
    if not finished.is_file() or mirror.changed:
        finished.unlink(missing_ok=True)
        try:
            command(*local, **named_local)
        except UserError:
            mirror.publish("." + QUARANTINE)
            raise
        if mirror.pending():
            write_json(finished, {"command": command.__name__})
    mirror.publish()


@contextmanager
def _with_urls() -> Iterator[None]:
    """Errors and the log name URLs, not places in the mirror."""
    make = logging.getLogRecordFactory()

    def make_shown(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        record.msg, record.args = shown(record.getMessage()), ()
        return record

    logging.setLogRecordFactory(make_shown)
    try:
        yield
    except UserError as error:
        where = None if error.where is None else shown(error.where)
        fix = None if error.fix is None else shown(error.fix)
        raise UserError(shown(error.what), where=where, line=error.line, fix=fix) from error
    finally:
        logging.setLogRecordFactory(make)
