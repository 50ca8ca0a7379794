"""The thin skin all four commands share: YAML configuration, dotted overrides, one-line errors, exit status.

``-c FILE`` (or ``--config FILE``) may stand anywhere on the line; options override the file. Unknown keys, in the
file or on the line, are refused with the nearest valid spelling (cyclopts does both).
"""

from __future__ import annotations

import difflib
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError
from cyclopts.config import Dict

from .errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}  # raised by a write, without the file's name


def make_app(name: str, package: str, description: str) -> App:
    """An application whose help is plain text and starts fast."""

    def package_version() -> str:
        from importlib.metadata import version

        return version(package)

    return App(
        name=name,
        help=description,
        help_format="plaintext",
        help_formatter="plain",
        version=package_version,
        result_action="return_value",
    )


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML or JSON mapping; what is not one is a UserError with file and line."""
    import yaml  # here, so that --help does not pay for it

    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("no such configuration file", where=path, fix="check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not text"
        raise UserError(
            f"not valid YAML: {problem}", where=path, line=None if mark is None else mark.line + 1, fix="mend the file"
        ) from error
    if not isinstance(value, dict):
        raise UserError(
            "the configuration is not a mapping of keys to values", where=path, fix="see --help for the keys"
        )
    return value


def take_config(arguments: Sequence[str], positional: frozenset[str] = frozenset()) -> tuple[list[str], str | None]:
    """Take ``-c FILE`` out of the line; for commands in ``positional``, also a first argument ``*.yaml``."""
    rest: list[str] = []
    config: str | None = None
    pending = list(arguments)
    while pending:
        token = pending.pop(0)
        if token in ("-c", "--config"):
            if not pending:
                raise UserError(f"{token} needs a file", fix=f"write {token} FILE.yaml")
            config = pending.pop(0)
        elif token.startswith("--config="):
            config = token.removeprefix("--config=")
        elif config is None and len(rest) == 1 and rest[0] in positional and token.endswith((".yaml", ".yml", ".json")):
            config = token
        else:
            rest.append(token)
    return rest, config


def one_line(text: str) -> str:
    return " ".join(str(text).split())


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Inside the block SIGTERM ends a command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def parse_and_run(app: App, arguments: Sequence[str], positional_config: frozenset[str]) -> int:
    """Bind the configuration file and the line to the command and run it; its status, else 0."""
    tokens, config = take_config(arguments, positional_config)
    if config is not None and tokens:
        # the file belongs to the command named; at the top level cyclopts would pass over keys named like commands
        app.config = Dict({tokens[0]: load_yaml(config)}, source=config, use_commands_as_keys=True)
    if tokens and not tokens[0].startswith("-"):
        names = [name for name in app if not name.startswith("-")]
        if names and tokens[0] not in names:
            near = difflib.get_close_matches(tokens[0], names, 1)
            fix = f"did you mean {near[0]}?" if near else "commands: " + ", ".join(names)
            raise UserError(f"unknown command {tokens[0]!r}", fix=fix)
    result = app(tokens, exit_on_error=False, print_error=False)
    return result if isinstance(result, int) else 0


def run(app: App, arguments: Sequence[str] | None = None, *, positional_config: frozenset[str] = frozenset()) -> int:
    """Parse, run and translate errors; returns the exit status (0 only when everything was done)."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    app.config = ()
    try:
        with sigterm_as_interrupt():
            return parse_and_run(app, sys.argv[1:] if arguments is None else arguments, positional_config)
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
    except CycloptsError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; nothing half-written was kept, the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        place = "" if error.filename is None else f" ({error.filename})"
        print(f"error: {error.strerror}{place}; check the path, its rights and the space left", file=sys.stderr)
    return EXIT_USER_ERROR
