"""What a setting does, where its value comes from, and whether a configuration holds: ``olmo-model config``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import yaml
from cyclopts import App, Parameter
from cyclopts.config import Dict

from .command_line import load_yaml
from .config.training import TrainConfig, plain
from .errors import UserError
from .official.command import bring, tell
from .official.fields import OfficialField, nearest
from .official.schema import FIELDS, is_official
from .ranges import KEY
from .run_folder import flat

FIRST_COLUMN = 12
SECTIONS = {name for field in FIELDS.values() if field.kind == "section" for name in field.becomes.split(", ")}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting of ours, as its dataclass declares it; ``default`` is text."""

    key: str
    type_name: str
    default: str
    allowed: str | None
    text: str
    place: str


@dataclass(frozen=True, kw_only=True)
class Read:
    """A training configuration that was read, and for every dotted key where it comes from."""

    config: TrainConfig
    origins: dict[str, str]


def settings(kind: type = TrainConfig, prefix: str = "") -> Iterator[Setting]:
    """Every setting of ours, sections included."""
    hints = get_type_hints(kind)
    texts = field_texts(kind)
    for field in dataclasses.fields(kind):
        key = prefix + field.name
        section = dataclasses.is_dataclass(hints[field.name])
        yield Setting(
            key=key,
            type_name="section" if section else str(field.type),
            default="" if section else _default(field),
            allowed=str(field.metadata[KEY]) if KEY in field.metadata else None,
            text=texts[field.name],
            place=f"{kind.__module__}.{kind.__name__}",
        )
        if section:
            yield from settings(hints[field.name], key + ".")


def field_texts(kind: type) -> dict[str, str]:
    """The documentation string below each field of a dataclass."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return _written(field.default)
    return "none: it has to be given"


def _written(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_written, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def explain(key: str) -> list[str]:
    """What a key does, in our schema and in that of OLMo's trainer; an unknown one is a UserError."""
    wanted = key.strip().removeprefix("--").replace("-", "_")
    ours = {setting.key: setting for setting in settings()}
    lines: list[str] = []
    if wanted in ours:
        lines += _of_ours(ours[wanted])
        below = [name for name in ours if name.startswith(wanted + ".")]
        lines += [_row("holds", ", ".join(below))] if below else []
        theirs = [field.key for field in FIELDS.values() if wanted in field.becomes.split(", ")]
        lines += [_row("in OLMo's", ", ".join(theirs))] if theirs else []
    if wanted in FIELDS:
        lines += [""] if lines else []
        lines += _of_olmo(FIELDS[wanted])
    if not lines:
        near = nearest(wanted, [*ours, *FIELDS])
        raise UserError(f"no setting {key}", fix=f"did you mean {near}?" if near else "see olmo-model train --help")
    return lines


def _row(name: str, text: str) -> str:
    return f"{name:<{FIRST_COLUMN}} {text}"


def _of_ours(setting: Setting) -> list[str]:
    lines = [setting.key, _row("does", setting.text), _row("type", setting.type_name)]
    lines += [_row("range", setting.allowed)] if setting.allowed else []
    lines += [_row("default", setting.default)] if setting.default else []
    return [*lines, _row("defined in", setting.place)]


def _of_olmo(field: OfficialField) -> list[str]:
    lines = [f"{field.key}, in a configuration of OLMo's trainer", _row("does", field.about)]
    lines += [_row("type", field.type_name)]
    if field.kind != "section":
        lines.append(_row("default", _written(field.default)))
    if field.effect == "translated":
        return [*lines, _row("becomes", field.becomes or "what its fields become")]
    named = {
        "speed": "cannot apply, without effect on any result",
        "left out": "cannot apply, and is told where it is set",
        "refused": "cannot apply, and is refused, for it would change the result",
    }[field.effect]
    lines.append(_row("here", f"{named}: {field.reason}"))
    if field.neutral and field.effect != "speed":
        lines.append(_row("fine with", " or ".join(map(_written, field.neutral))))
    return lines


def read(file: str, options: Sequence[str]) -> Read:
    """The training configuration of a file of either schema with options over it, as ``train`` takes them."""
    given = load_yaml(file)
    rest, tree, notes = bring(options, given, file)
    tell(notes)
    tree.pop("dry_run", None)
    binder = App(result_action="return_value", help_flags=(), version_flags=())

    @binder.command
    def train(config: Annotated[TrainConfig, Parameter(name="*")]) -> TrainConfig:
        return config

    binder.config = Dict({"train": tree}, source=file, use_commands_as_keys=True)
    config = binder(["train", *rest], exit_on_error=False, print_error=False)
    assert isinstance(config, TrainConfig)
    origins = _origins(config, tree, rest, options)
    if is_official(given):
        _tell_defaults_of_olmo(origins, given)
    return Read(config=config, origins=origins)


def _origins(
    config: TrainConfig, tree: Mapping[str, Any], rest: Sequence[str], options: Sequence[str]
) -> dict[str, str]:
    """Where each value comes from: a flag, the file, or the default."""
    in_file = flat(tree)
    flags = {_name(word) for word in rest if word.startswith("--")}
    of_olmo = {_name(word) for word in options if word.startswith("--")} - flags
    moved = {name for key in of_olmo if key in FIELDS for name in FIELDS[key].becomes.split(", ")}
    found = {}
    for key in flat(plain(config)):
        near = {key, *_sections(key)}
        if near & flags or near & moved:
            found[key] = "flag"
        else:
            found[key] = "file" if near & set(in_file) else "default"
    return found


def _tell_defaults_of_olmo(origins: dict[str, str], given: Mapping[str, Any]) -> None:
    """Of what a translation holds, the file says what its own fields become; the rest follows or is OLMo's default."""
    said = {name for key in flat(given) if key in FIELDS for name in FIELDS[key].becomes.split(", ")}
    known = {name for field in FIELDS.values() for name in field.becomes.split(", ")}
    for key, origin in origins.items():
        near = {key, *_sections(key)}
        if origin == "file" and not near & (said - SECTIONS):
            origins[key] = "OLMo's default" if key in known else "derived"


def _sections(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:number]) for number in range(1, len(parts))]


def _name(word: str) -> str:
    return word.removeprefix("--").partition("=")[0].replace("-", "_")


def show(found: Read, resolved: Mapping[str, Any] | None) -> list[str]:
    """The settings as YAML, each with its origin; with ``resolved``, what a plan made of them, ``derived`` where it
    filled a value in."""
    tree = plain(found.config) if resolved is None else resolved
    before = flat(plain(found.config))
    return list(_lines(tree, "", 0, found.origins, before))


def _lines(
    tree: Mapping[str, Any], prefix: str, depth: int, origins: Mapping[str, str], before: Mapping[str, Any]
) -> Iterator[str]:
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, Mapping):
            yield "  " * depth + f"{name}:"
            yield from _lines(value, key + ".", depth + 1, origins, before)
            continue
        text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=float("inf")).strip()[1:-1]
        origin = origins.get(key, "default") if value == before.get(key, value) else "derived"
        yield "  " * depth + f"{name}: {text}  # {origin}"
