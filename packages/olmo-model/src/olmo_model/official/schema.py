"""The fields together: recognising a file of OLMo's trainer, and finding a field by its key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..config.training import TrainConfig
from ..errors import UserError
from .fields import OfficialField, convert, nearest
from .model_fields import MODEL, OPTIMIZER, SCHEDULER
from .run_fields import DATA, EVALUATORS, RUN

FIELDS: dict[str, OfficialField] = {
    field.key: field for field in (*RUN, *MODEL, *OPTIMIZER, *SCHEDULER, *DATA, *EVALUATORS)
}
INAPPLICABLE = tuple(field for field in FIELDS.values() if field.effect != "translated")


def our_keys(settings: type = TrainConfig, prefix: str = "") -> set[str]:
    """Dotted keys of our settings, those of sections included."""
    from typing import get_type_hints

    found = set()
    hints = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        key = prefix + field.name
        found.add(key)
        if dataclasses.is_dataclass(hints[field.name]):
            found |= our_keys(hints[field.name], key + ".")
    return found


def is_official(tree: Mapping[str, Any]) -> bool:
    """Whether a configuration is one of OLMo's trainer: whether more of its keys are known there alone than here."""
    ours, theirs = our_keys(), set(FIELDS)
    keys = set(_keys(tree))
    return len(keys & (theirs - ours)) > len(keys & (ours - theirs))


def _keys(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            found += _keys(value, f"{prefix}{key}.")
    return found


def effective(tree: Mapping[str, Any], where: str) -> tuple[dict[str, Any], set[str]]:
    """Every field's value, by its key, with OLMo's default where the file sets none; and the keys that it sets.

    An unknown key and a value of a wrong type are UserErrors. Evaluators are a list of such mappings.
    """
    given: dict[str, Any] = {}
    _collect(tree, "", given, where)
    values = {
        key: field.default for key, field in FIELDS.items() if field.kind != "section" and "evaluators." not in key
    }
    return values | given, set(given)


def _collect(tree: Mapping[str, Any], prefix: str, given: dict[str, Any], where: str) -> None:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        field = FIELDS.get(key)
        if field is None:
            near = nearest(key, list(FIELDS))
            fix = "did you mean " + near + "?" if near else "docs/official-configs.md lists the fields"
            raise UserError(f"OLMo's configuration has no field {key}", where=where, fix=fix)
        if key == "evaluators":
            parts = convert(field, value, key, where)
            given[key] = [_evaluator(part, number, where) for number, part in enumerate(parts)]
        elif field.kind == "section":
            part = convert(field, value, key, where)
            given[key] = part
            if part is not None:
                _collect(part, f"{key}.", given, where)
        else:
            given[key] = convert(field, value, key, where)


def _evaluator(part: Any, number: int, where: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise UserError(f"evaluators.{number} is {part!r}", where=where, fix="give a mapping with label and type")
    given: dict[str, Any] = {}
    _collect(part, "evaluators.", given, where)
    if "evaluators.label" not in given:
        raise UserError(f"evaluators.{number} has no label", where=where, fix="give it one")
    return {key.removeprefix("evaluators."): value for key, value in given.items()}
