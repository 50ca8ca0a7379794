"""Settings as allenai/dolma spells them, brought to ours before a command sees them.

Interpolations are filled in, keys of another spelling renamed, and the closed list of keys that have no meaning here is
taken out, each with one line that says why.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
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


def prepare_settings(command: str, settings: dict[str, Any], where: str | Path | None = None) -> dict[str, Any]:
    """The settings of a configuration file as the command takes them; notes about them go to the log."""
    from .interpolation import resolve  # here, so that a line without a file does not pay for them
    from .settings_lint import lint_settings

    settings = resolve(settings, where)
    settings = {RENAMED.get(name, name): value for name, value in settings.items()}
    for note in lint_settings(command, settings):
        log.warning("warning: %s", note)
    removed: dict[str, list[str]] = {}
    for key, reason in WITHOUT_EFFECT.get(command, {}).items():
        if _remove(settings, key.split(".")):
            removed.setdefault(reason, []).append(key)
    for reason, keys in removed.items():
        log.warning("note: %s %s no effect here: %s", " and ".join(keys), "have" if keys[1:] else "has", reason)
    return settings


def _remove(settings: dict[str, Any], key: list[str]) -> bool:
    """Take out a key; a mapping that has become empty goes too."""
    inner = settings.get(key[0])
    if len(key) == 1:
        return settings.pop(key[0], None) is not None
    if not isinstance(inner, dict):
        return False
    found = _remove(inner, key[1:])
    if not inner:
        del settings[key[0]]
    return found


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
            log.warning("note: --%s has no effect here: %s", name, reason)
            continue
        prepared.append(f"--{_spelling(key)}{equals}{value}")
    return prepared


def _spelling(key: str) -> str:
    negative, key = (True, key.removeprefix("no_")) if key.startswith("no_") else (False, key)
    key = RENAMED.get(key, key)
    *above, last = key.replace("_", "-").split(".")
    return ".".join([*above, f"no-{last}" if negative else last])
