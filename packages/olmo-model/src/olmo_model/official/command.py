"""A command line with a configuration of OLMo's trainer, brought to what our own commands take."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError
from .fields import nearest
from .interpolation import resolve, value_of
from .schema import FIELDS, is_official, our_keys
from .translate import translate

log = logging.getLogger(__name__)
MAPS = tuple(f"{key}." for key, field in FIELDS.items() if field.kind in ("map", "list"))
NO_PRESET = "model.preset"


def bring(options: Sequence[str], tree: dict[str, Any], where: str) -> tuple[list[str], dict[str, Any], list[str]]:
    """Options and file of a command, both in our own schema, and notes for the user.

    A file of our own comes back as it is. Options that are keys of OLMo's schema change its file; keys of ours alone,
    such as ``--evaluation.windows``, stand beside it.
    """
    if not is_official(tree):
        return list(options), tree, []
    tree = copy.deepcopy(tree)
    rest: list[str] = []
    ours: dict[str, Any] = {}
    for words, key, value in _options(options):
        if key is not None and (key in FIELDS or key.startswith(MAPS)):
            _set(tree, key, value, where)
        elif key is not None and "." in key and key not in our_keys():
            _refuse(key, where)
        elif key == NO_PRESET:
            raise UserError(
                "model.preset says nothing beside OLMo's own configuration, which sets every field of the model",
                where=where,
                fix="set the fields, as in --model.n_layers=2",
            )
        else:
            rest += words
            if key is not None:
                ours[key] = value
    found = translate(resolve(tree, where), where, ours)
    return rest, found.settings, found.notes


def tell(notes: Sequence[str]) -> None:
    """Log the notes, once for all ranks."""
    if os.environ.get("RANK", "0") == "0":
        for note in notes:
            log.info("OLMo's configuration: %s", note)


def _options(options: Sequence[str]) -> list[tuple[list[str], str | None, Any]]:
    """Each option with its words, its key and its value; words that are no option have no key."""
    found: list[tuple[list[str], str | None, Any]] = []
    words = list(options)
    while words:
        word = words.pop(0)
        if word == "--":
            found.append(([word, *words], None, None))
            break
        if not word.startswith("--"):
            found.append(([word], None, None))
            continue
        name, equals, text = word.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if equals:
            found.append(([word], key, value_of(text)))
        elif words and not words[0].startswith("--"):
            text = words.pop(0)
            found.append(([word, text], key, value_of(text)))
        else:
            found.append(([word], key, True))
    return found


def _set(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a dotted key, also inside of lists by number."""
    place: Any = tree
    *sections, last = key.split(".")
    for section in sections:
        if isinstance(place, list):
            place = place[_index(place, section, key, where)]
        else:
            if not isinstance(place.get(section), (dict, list)):
                place[section] = {}
            place = place[section]
    if isinstance(place, list):
        place[_index(place, last, key, where)] = value
    elif isinstance(place, dict):
        place[last] = value


def _index(place: Sequence[Any], section: str, key: str, where: str) -> int:
    if not section.isdigit() or int(section) >= len(place):
        raise UserError(f"{key} names none of {len(place)}", where=where, fix="count from 0")
    return int(section)


def _refuse(key: str, where: str) -> None:
    near = nearest(key, [*FIELDS, *our_keys()])
    raise UserError(
        f"unknown option --{key}", where=where, fix=f"did you mean --{near}?" if near else "see --help for ours"
    )


def prepare(tokens: list[str], settings: Mapping[str, Any], file: str | None) -> tuple[list[str], dict[str, Any]]:
    """For ``command_line.run``: the line and the settings of a training command in our own schema; logs the notes."""
    if file is None or tokens[0] not in ("train", "plan"):
        return tokens, dict(settings)
    rest, tree, notes = bring(tokens[1:], dict(settings), file)
    if tokens[0] == "plan":
        tree.pop("dry_run", None)
    tell(notes)
    return [tokens[0], *rest], tree
