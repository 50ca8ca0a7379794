"""The thin skin all four commands share: YAML configuration, dotted overrides, one-line errors, exit status.

``-c FILE`` (or ``--config FILE``) may stand anywhere on the line; options override the file. Unknown keys, in the
file or on the line, are refused with the nearest valid spelling (cyclopts does both).
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from cyclopts import (
    App,
    Argument,
    ArgumentCollection,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.config import Dict

from .errors import UserError
from .files import NO_ROOM

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
Prepared = tuple[list[str], dict[str, Any]]
Prepare = Callable[[list[str], dict[str, Any], str | None], Prepared]  # (line, settings, file) → both, prepared


def make_app(name: str, package: str, description: str) -> App:
    """An application whose help is plain text and starts fast."""

    def package_version() -> str:
        from importlib.metadata import version

        return version(package)

    return App(
        name=name,
        help=description,
        help_format="plaintext",
        help_formatter=PlainHelp(),
        version=package_version,
        result_action="return_value",
    )


class PlainHelp:
    """Help as plain text in lines of the terminal's width; a formatter of cyclopts, whose own breaks them twice."""

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        if not panel.entries:
            return
        lines = [f"{panel.title}:"] if panel.title else []
        for entry in panel.entries:
            names = entry.display_labels_with_metavar if panel.format == "parameter" else entry.display_labels
            said = [plain_text(entry.description)]
            said += [f"[choices: {', '.join(entry.choices)}]"] if entry.choices else []
            said += [f"[default: {entry.default}]"] if entry.default is not None else []
            said += ["[required]"] if entry.required else []
            item = f"{', '.join(names)}: {' '.join(filter(None, said))}".removesuffix(": ")
            lines += wrapped(item, console.width, "  ", "      ")
        show(console, [*lines, ""])

    def render_usage(self, console: Any, options: Any, usage: Any) -> None:
        text = plain_text(usage)
        if text:
            show(console, [*wrapped(text if text.startswith("Usage:") else f"Usage: {text}", console.width), ""])

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        text = plain_text(description)
        if text:
            show(console, [*wrapped(text, console.width), ""])


def plain_text(renderable: Any) -> str:
    """What stands in something that rich prints, in one line."""
    from io import StringIO

    from rich.console import Console

    if renderable is None:
        return ""
    wide = Console(file=StringIO(), width=1 << 20, no_color=True, highlight=False, markup=False, emoji=False)
    with wide.capture() as capture:
        wide.print(renderable)
    return one_line(capture.get())


def wrapped(text: str, width: int, first: str = "", other: str = "") -> list[str]:
    import textwrap

    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=other, break_long_words=False, break_on_hyphens=False
    )


def show(console: Any, lines: Iterable[str]) -> None:
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML or JSON mapping; what is not one is a UserError with file and line."""
    import yaml  # here, so that --help does not pay for it

    try:
        loader = yaml.SafeLoader(Path(path).read_text(encoding="utf-8"))
        root = loader.get_single_node()
        problem = problem_of_keys(root)
        value = None if root is None else loader.construct_document(root)
    except FileNotFoundError as error:
        raise UserError("no such configuration file", where=path, fix="check the path") from error
    except UnicodeDecodeError as error:
        raise UserError("not valid YAML: not text", where=path, fix="save the file as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "a character that is not allowed"
        raise UserError(
            f"not valid YAML: {what}", where=path, line=None if mark is None else mark.line + 1, fix="mend the file"
        ) from error
    except (ValueError, RecursionError) as error:  # a date that does not exist, brackets without end
        raise UserError(f"not valid YAML: {error}", where=path, fix="mend the file") from error
    if problem is not None:
        raise UserError(problem[0], where=path, line=problem[1], fix="mend the file")
    if not isinstance(value, dict):
        raise UserError(
            "the configuration is not a mapping of keys to values", where=path, fix="see --help for the keys"
        )
    return value


def problem_of_keys(root: Any) -> tuple[str, int] | None:
    """What is wrong, with its line, where a mapping below a YAML node has a key twice (YAML takes the last) or one
    that is no text."""
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen or not isinstance(getattr(node, "value", None), list):
            continue
        seen.add(id(node))
        keys = set()
        for item in node.value:
            if not isinstance(item, tuple):
                pending.append(item)
                continue
            key, value = item
            pending.append(value)
            line = key.start_mark.line + 1
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                return f"the key {key.value!r} is not text", line
            if key.value in keys:
                return f"the key {key.value!r} comes twice", line
            keys.add(key.value)
    return None


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


def parse_and_run(
    app: App,
    arguments: Sequence[str],
    positional_config: frozenset[str],
    prepare: Prepare | None = None,
    load: Callable[[str], dict[str, Any]] = load_yaml,
) -> int:
    """Bind the configuration file and the line to the command and run it; its status, else 0."""
    tokens, config = take_config(arguments, positional_config)
    if tokens and not tokens[0].startswith("-"):
        names = [name for name in app if not name.startswith("-")]
        if names and tokens[0] not in names:
            near = difflib.get_close_matches(tokens[0], names, 1)
            fix = f"did you mean {near[0]}?" if near else "commands: " + ", ".join(names)
            raise UserError(f"unknown command {tokens[0]!r}", fix=fix)
    options = tokens[: tokens.index("--")] if "--" in tokens else tokens
    if any(flag in options for flag in app.help_flags):
        # what cyclopts comes to as well, after it has assembled every option once more
        app.help_print([token for token in tokens if token not in app.help_flags])
        return 0
    settings = load(config) if config is not None and tokens else {}
    if prepare is not None and tokens:
        tokens, settings = prepare(tokens, settings, config)
    if config is not None and tokens:
        app.config = given(tokens[0], settings, config)
    result = app(tokens, exit_on_error=False, print_error=False)
    return result if isinstance(result, int) else 0


def given(command: str, settings: dict[str, Any], source: str) -> tuple[Callable[..., None], Dict]:
    """A configuration of cyclopts that takes ``settings`` of a command and checks them; errors name ``source``."""
    # they belong to the command named; at the top level cyclopts would pass over keys named like commands
    taken = Dict({command: settings}, source=source, use_commands_as_keys=True)
    return (lambda _app, _commands, arguments: check_mappings(settings, source, arguments)), taken


def named(error: CycloptsError) -> str:
    """The error's text; cyclopts leaves the option out of some, and says of others nothing that helps."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        words = " ".join(error.unused_tokens)
        return f"nothing takes {words!r}; a switch stands alone (--name or --no-name), other values after their option"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return lacking(error, error.argument.name)
    if isinstance(error, UnknownOptionError) and error.token.keyword and error.token.source != "cli":
        return unknown_key(error)
    if isinstance(error, CoercionError) and (unknown := unknown_field(error)):
        return unknown
    text = one_line(str(error))
    name = "" if error.argument is None else error.argument.name
    return text if name.removeprefix("--") in text.replace("][", ".").replace("_", "-") else f"{name}: {text}"


def setting_paths(arguments: Iterable[Argument]) -> list[list[str]]:
    """The keys that lead to each setting, sorted, without the names that switch one off."""
    options = [name for each in arguments if each.parse for name in {*each.names} - {*each.negatives}]
    return [name.removeprefix("--").replace("-", "_").split(".") for name in sorted(options) if name.startswith("--")]


def check_mappings(settings: dict[str, Any], config: str, arguments: ArgumentCollection) -> None:
    """UserError for a value in a file where keys belong; cyclopts would take it for that of the first key."""
    kinds = {keys[0]: each.hint for each in arguments for keys in setting_paths([each]) if len(keys) == 1}
    named = ((str(key).replace("-", "_"), value) for key, value in settings.items())
    pending: list[tuple[str, Any, Any]] = [(key, value, kinds.get(key)) for key, value in named]
    while pending:
        path, value, kind = pending.pop()
        mapping = next(
            (each for each in (kind, *get_args(kind)) if isinstance(each, type) and is_dataclass(each)), None
        )
        if mapping is None or value is None:
            continue
        if isinstance(value, list):
            pending += [(path, each, mapping) for each in value]
        elif isinstance(value, dict):
            hints = get_type_hints(mapping)
            pending += [(f"{path}.{key}", each, hints.get(str(key).replace("-", "_"))) for key, each in value.items()]
        else:
            keys = ", ".join(sorted(each.name for each in fields(mapping)))
            raise UserError(f"{path} is {value!r}, not a mapping", where=config, fix=f"keys of {path} are {keys}")


def unknown_key(error: UnknownOptionError) -> str:
    """A key of a configuration file that no setting has: its dotted path, and the nearest one that there is."""
    path = keys_of(str(error.token.keyword))
    known = setting_paths(error.argument_collection)
    spelled = [key.replace("-", "_") for key in path]
    depth = 0  # keys from the beginning that there are
    while any(keys[: depth + 1] == spelled[: depth + 1] for keys in known):
        depth += 1
    here = sorted({keys[depth] for keys in known if keys[:depth] == spelled[:depth] and len(keys) > depth})
    near = difflib.get_close_matches(spelled[depth], here, 1) if depth < len(spelled) else []
    elsewhere = [keys for keys in known if keys[-1] == spelled[-1]]
    if near:
        fix = f"did you mean {'.'.join([*spelled[:depth], *near, *spelled[depth + 1 :]])}?"
    elif elsewhere:
        fix = f"did you mean {'.'.join(elsewhere[0])}?"
    elif here:
        fix = f"keys {'of ' + '.'.join(spelled[:depth]) if depth else 'there'} are {', '.join(here)}"
    else:
        fix = f"{'.'.join(spelled[:depth])} takes a value, no keys"
    return f"unknown key {'.'.join(path)} ({error.token.source}); {fix}"


def unknown_field(error: CoercionError) -> str | None:
    """The same of a key in a mapping that stands in a list, with its number from 0; None of any other error."""
    token, kind = error.token, error.target_type
    if token is None or not (isinstance(kind, type) and is_dataclass(kind)):
        return None
    try:
        value = json.loads(token.value)
    except ValueError:
        return None
    known = [each.name for each in fields(kind)]
    unknown = sorted(set(value) - set(known)) if isinstance(value, dict) else []
    if not unknown:
        return None
    path = f"{'.'.join(keys_of(str(token.keyword)))}[{token.index}]"
    near = difflib.get_close_matches(unknown[0], known, 1)
    fix = f"did you mean {path}.{near[0]}?" if near else f"keys of {path} are {', '.join(sorted(known))}"
    whence = "" if token.source in ("", "cli") else f" ({token.source})"
    return f"unknown key {path}.{unknown[0]}{whence}; {fix}"


def keys_of(keyword: str) -> list[str]:
    """The keys of a setting as cyclopts names it: ``[dedupe][name]`` of a file, ``--dedupe.name`` of the line."""
    if keyword.startswith("["):
        return keyword.removeprefix("[").removesuffix("]").split("][")
    return keyword.removeprefix("--").split(".")


def lacking(error: MissingArgumentError, name: str) -> str:
    """What to do where the setting ``name`` has no value, or is not there at all."""
    if error.keyword is not None or (error.argument is not None and error.argument.tokens):
        return f"{error.keyword or name} stands without a value; give one behind it"
    options = [token for token in error.unused_tokens or () if token.startswith("--")]
    near = difflib.get_close_matches(name, options, 1)
    if near:
        return f"unknown option {near[0]}; did you mean {name}?"
    command = " ".join(error.command_chain or ())
    whence = "on the line, or in a file with -c FILE" if name.startswith("-") else "on the line"
    return f"{command} needs {name}; give it {whence} ({command} --help says what it is)"


def settle_output() -> bool:
    """Whether standard output refuses what it was given; that is dropped, so that the interpreter does not try, and
    complain, at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def run(
    app: App,
    arguments: Sequence[str] | None = None,
    *,
    positional_config: frozenset[str] = frozenset(),
    spell: Callable[[Sequence[str]], list[str]] = list,
    prepare: Prepare | None = None,
    load: Callable[[str], dict[str, Any]] = load_yaml,
) -> int:
    """Parse, run and translate errors; returns the exit status (0 only when everything was done).

    ``spell`` brings the line, and ``prepare`` the line with the settings of a configuration file, to what the commands
    take; ``load`` reads that file.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    app.config = ()
    try:
        with sigterm_as_interrupt():
            line = spell(sys.argv[1:] if arguments is None else arguments)
            status = parse_and_run(app, line, positional_config, prepare, load)
            if sys.stdout is not None:  # closed by whoever started the command
                sys.stdout.flush()
            return status
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
    except CycloptsError as error:
        print(f"error: {named(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; nothing half-written was kept, the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        settle_output()
        return EXIT_INTERRUPTED
    except MemoryError as error:
        what = one_line(str(error))
        print(f"error: not enough memory{what and f' ({what})'}; take less at a time", file=sys.stderr)
    except ValueError as error:
        if "embedded null" not in str(error):  # what Python says of a path that no system takes
            raise
        print("error: a path holds a NUL character; check the settings", file=sys.stderr)
    except OSError as error:
        refused = settle_output()
        if error.filename is None and error.errno not in NO_ROOM and not refused:
            raise
        # whatever else is written carries its name
        place = f" ({error.filename or 'standard output'})"
        print(f"error: {error.strerror}{place}; check the path, its rights and the space left", file=sys.stderr)
    return EXIT_USER_ERROR
