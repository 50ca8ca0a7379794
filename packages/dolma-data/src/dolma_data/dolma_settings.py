"""Settings as allenai/dolma spells them, brought to ours before a command sees them.

Interpolations are filled in, keys of another spelling renamed, and the closed list of keys that have no meaning here is
taken out, each with one line that says why.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .command_line import load_yaml
from .errors import UserError
from .remote import concealed, split_url

log = logging.getLogger(__name__)

TEMPORARY = "there are no temporary copies: files are read where they lie, and finished work is kept beside the output"
ORDER = "the order is random over the whole corpus, not over batches of open files"
ANEW = "a run that has ended is made anew; an interrupted one goes on under the same settings alone, and ends the same"
MOUNTS = "files are written beside their place and renamed, on mounted buckets too"
# Keys of Dolma that have nothing to set here, and why. Anything else unknown is refused.
WITHOUT_EFFECT: dict[str, dict[str, str]] = {
    "tag": {"work_dir.input": TEMPORARY, "work_dir.output": TEMPORARY, "ignore_existing": ANEW},
    "dedupe": {"work_dir.input": TEMPORARY, "work_dir.output": TEMPORARY, "is_s3_volume": MOUNTS},
    "mix": {"work_dir.input": TEMPORARY, "work_dir.output": TEMPORARY},
    "tokens": {
        "work_dir.input": TEMPORARY,
        "files_per_process": "any number of processes writes the same files, cut by max_size",
        "batch_size": ORDER,
        "ring_size": ORDER,
        "sample_ring_prop": ORDER,
        "tokenizer.refresh": "memory does not grow with the number of documents",
        "tokenizer.fast": "a tokenizer.json is all that is read",
    },
    "stat": {
        "work_dir.input": TEMPORARY,
        "work_dir.output": TEMPORARY,
        "seed": "nothing is drawn at random",
        "debug": "with processes 1 everything runs in one process",
    },
    "warc": {"work_dir.input": TEMPORARY, "work_dir.output": TEMPORARY, "ignore_existing": ANEW},
}
# Their types in Dolma, which say whether a value is a mistake; null is none.
TYPES_WITHOUT_EFFECT: dict[str, type] = {
    "work_dir.input": str,
    "work_dir.output": str,
    "ignore_existing": bool,
    "is_s3_volume": bool,
    "files_per_process": int,
    "batch_size": int,
    "ring_size": int,
    "sample_ring_prop": bool,
    "tokenizer.refresh": int,
    "tokenizer.fast": bool,
    "seed": int,
    "debug": bool,
}
KINDS = {str: "text", bool: "true or false", int: "a whole number"}
# Keys that Dolma leaves unset by null, though they have a default here.
UNSET_BY_NULL = {
    "tag": ("destination",),
    "dedupe": (
        "dedupe.skip_empty",
        "dedupe.num_partitions",
        "dedupe.partition_index",
        "dedupe.file_partition",
        "dedupe.paragraphs.paragraph_separator",
    ),
}
RENAMED = {"dryrun": "dry_run"}
NAMED_BY_USERS = frozenset({"labels", "resources", "set"})  # what follows is a name, not a key of ours


def load_settings(path: str) -> dict[str, Any]:
    """The mapping in a configuration file, which may lie at a URL; UserError with file and line for what is none."""
    url = split_url(path)
    if url is None:
        return load_yaml(path)
    from .storage import Storage, transfers

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "settings")
        with transfers(path):
            Storage().get(url[0], [url[1]], [copy])
        try:
            return load_yaml(copy)
        except UserError as error:
            raise UserError(error.what, where=concealed(path), line=error.line, fix=error.fix) from error


def prepare_line(
    line: list[str], settings: dict[str, Any], where: str | None, defaults: Callable[[str], dict[str, Any]]
) -> tuple[list[str], dict[str, Any]]:
    """A command line, spelt as :func:`prepare_arguments` gives it, and the settings of its file as the command takes
    them; notes about them go to the log.

    An option replaces the setting of the file, in what interpolations name too, and may hold interpolations itself.
    ``defaults`` gives the settings of a command that neither of them needs to have.
    """
    command = line[0]
    unset = defaults(command)
    shape = _merged(unset, settings)
    options = _options(line, shape)
    settings = _without(settings, options)
    known = _merged(_merged(unset, settings), options)
    line = _filled_in(line, known)
    return line, prepare_settings(command, settings, where, known, _options(line, shape))


def prepare_settings(
    command: str,
    settings: dict[str, Any],
    where: str | Path | None = None,
    known: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings of a configuration file as the command takes them; notes about them go to the log.

    ``known`` are the settings that interpolations may name, ``options`` those of the line, which the notes heed too.
    """
    from .interpolation import resolve  # here, so that --help does not pay for it
    from .settings_lint import lint_settings

    settings = resolve(settings, where, known)
    settings = {RENAMED.get(name, name): value for name, value in settings.items()}
    for note in lint_settings(command, _merged(settings, options or {})):
        log.warning("warning: %s", note)
    for key in UNSET_BY_NULL.get(command, ()):
        *above, last = key.split(".")
        inner = settings
        for part in above:
            inner = _section(inner, part)
        if last in inner and inner[last] is None:
            del inner[last]
    removed: dict[str, list[str]] = {}
    for key, reason in WITHOUT_EFFECT.get(command, {}).items():
        value = _remove(settings, key.split("."))
        if value is not None:
            check_type(key, value, where)
            removed.setdefault(reason, []).append(key)
    for reason, keys in removed.items():
        log.warning("note: %s %s no effect here: %s", " and ".join(keys), "have" if keys[1:] else "has", reason)
    return settings


def check_type(key: str, value: Any, where: str | Path | None = None) -> None:
    """UserError for a value of another type than Dolma's of a key that has no effect; numbers may be text."""
    kind = TYPES_WITHOUT_EFFECT[key]
    if isinstance(value, str) and kind is not str:
        spelled = value.strip().lower()
        fits = spelled in ("true", "false") if kind is bool else spelled.removeprefix("-").isdecimal()
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        what = f"{key} is {value!r}, not {KINDS[kind]}"
        raise UserError(what, where=where, fix="leave it out: it has no effect here")


def _remove(settings: dict[str, Any], key: list[str]) -> Any:
    """Take out a key, and a mapping that has become empty with it; its value, None where it is not there or null."""
    inner = settings.get(key[0])
    if len(key) == 1:
        return settings.pop(key[0], None)
    if not isinstance(inner, dict):
        return None
    found = _remove(inner, key[1:])
    if not inner:
        del settings[key[0]]
    return found


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Settings with others over them, mapping by mapping."""
    both = {name: (below[name], value) for name, value in above.items() if name in below}
    inner = {
        name: _merged(old, new) for name, (old, new) in both.items() if isinstance(old, dict) and isinstance(new, dict)
    }
    return {**below, **above, **inner}


def _section(settings: dict[str, Any], name: str) -> dict[str, Any]:
    value = settings.get(name)
    return value if isinstance(value, dict) else {}


def _without(settings: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Settings less those that others replace; a mapping of which nothing is left goes too."""
    rest = {}
    for name, value in settings.items():
        if name not in others:
            rest[name] = value
        elif isinstance(value, dict) and isinstance(others[name], dict) and (inner := _without(value, others[name])):
            rest[name] = inner
    return rest


def _options_of(line: Sequence[str]) -> Iterator[tuple[list[str], bool, list[int]]]:
    """Key of each option, whether it is negated, and where its values are; ``--key=value`` is itself its value."""
    end = line.index("--") if "--" in line else len(line)
    starts = [place for place in range(end) if line[place].startswith("--")]
    for start, after in zip(starts, [*starts, end][1:], strict=True):
        name, equals, _ = line[start][2:].partition("=")
        *above, last = name.split(".")
        if above[:1] and above[0] in NAMED_BY_USERS:
            key, negated = [*above, last], False
        else:
            key = [part.replace("-", "_") for part in (*above, last.removeprefix("no-"))]
            negated = last.startswith("no-")
        yield key, negated, [start] if equals else list(range(start + 1, after))


def _split(word: str) -> tuple[str, str]:
    """``--key=`` and the value of one word of a line."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals, value


def _options(line: Sequence[str], below: dict[str, Any]) -> dict[str, Any]:
    """The options of a line as settings; a single value is a list where the setting below is one."""
    options: dict[str, Any] = {}
    for key, negated, places in _options_of(line):
        values = [_split(line[place])[1] for place in places]
        inner, old = options, below
        for part in key[:-1]:
            inner[part] = inner[part] if isinstance(inner.get(part), dict) else {}
            inner, old = inner[part], _section(old, part)
        several = len(values) > 1 or isinstance(old.get(key[-1]), list | tuple)
        inner[key[-1]] = values if several else values[0] if values else not negated
    return options


def _filled_in(line: list[str], known: dict[str, Any]) -> list[str]:
    """The line with what interpolations in its options stand for, a list with a word for each item."""
    from .interpolation import as_text, resolve_text

    filled: dict[int, list[str]] = {}
    for key, _, places in _options_of(line):
        for place in places if key[0] not in NAMED_BY_USERS else ():
            option, text = _split(line[place])
            if "${" not in text:
                continue
            value = resolve_text(text, tuple(key), known)
            values = value if isinstance(value, list | tuple) else [value]
            if any(one is None or isinstance(one, dict) for one in values) or (option and len(values) != 1):
                raise UserError(f"--{'.'.join(key)}: {text} is no single value", fix="write the value itself")
            filled[place] = [option + as_text(one) for one in values]
    return [word for place, text in enumerate(line) for word in filled.get(place, [text])]


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line as the commands take it: Dolma's spellings, and ``--compat`` behind the command.

    ``--a.b_c`` and ``--a.b-c`` are the same, ``--no-a.b`` is ``--a.no-b``, ``--dryrun`` is ``--dry-run``. Names that
    users give, such as that of a tagger in ``--resources.c4_v2``, stay as they are.
    """
    rest = list(arguments)
    before: list[str] = []  # what stands before the command and may: -c FILE
    compat: list[str] = []
    while rest and rest[0].partition("=")[0] in ("-c", "--config", "--compat"):
        taken = 1 if "=" in rest[0] else 2
        if len(rest) < taken:
            raise UserError(f"{rest[0]} needs a value", fix="write it behind")
        (compat if rest[0].startswith("--compat") else before).extend(rest[:taken])
        del rest[:taken]
    if compat and (not rest or rest[0].startswith("-")):
        raise UserError("--compat belongs to a command", fix="write dolma-data --compat dolma COMMAND")
    command = rest[0] if rest else ""
    return [*before, *rest[:1], *compat, *_respelt(rest[1:], WITHOUT_EFFECT.get(command, {}))]


def _respelt(arguments: Sequence[str], without_effect: dict[str, str]) -> list[str]:
    prepared: list[str] = []
    dropping = False
    for place, argument in enumerate(arguments):
        if argument == "--":
            return [*prepared, *arguments[place:]]
        if not argument.startswith("--"):
            if not dropping:
                prepared.append(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        if name.partition(".")[0] in NAMED_BY_USERS:
            dropping = False
            prepared.append(argument)
            continue
        key = name.replace("-", "_")
        reason = without_effect.get(key.removeprefix("no_"))
        dropping = reason is not None
        if dropping:
            rest = [value] if equals else arguments[place + 1 : place + 2]
            if rest and (equals or not rest[0].startswith("--")):
                check_type(key.removeprefix("no_"), rest[0], f"--{name}")
            log.warning("note: --%s has no effect here: %s", name, reason)
            continue
        prepared.append(f"--{_spelling(key)}{equals}{value}")
    return prepared


def _spelling(key: str) -> str:
    negative, key = (True, key.removeprefix("no_")) if key.startswith("no_") else (False, key)
    key = RENAMED.get(key, key)
    *above, last = key.replace("_", "-").split(".")
    return ".".join([*above, f"no-{last}" if negative else last])
