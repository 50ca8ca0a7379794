"""Every field that a configuration of OLMo's trainer can have (allenai/OLMo, olmo/config.py, v0.2.5 and v0.6.0), with
its type and default there, and what it becomes here or why it cannot apply."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..errors import UserError

Effect = Literal["translated", "speed", "left out", "refused"]
Kind = Literal["int", "float", "number", "bool", "text", "texts", "map", "duration", "list", "section", "pair"]


@dataclass(frozen=True, kw_only=True)
class OfficialField:
    """A field of OLMo's configuration.

    ``effect``: ``translated`` into ``becomes``; ``speed``: a knob of OLMo's machinery that changes no result, named in
    one line; ``left out``: something is not done, said in a line where the value is not ``neutral``; ``refused``: a
    value that is not ``neutral`` would change the result, so it is a UserError.
    """

    key: str
    kind: Kind
    default: Any
    about: str
    becomes: str = ""
    effect: Effect = "translated"
    reason: str = ""
    neutral: tuple[Any, ...] = ()
    choices: tuple[str, ...] = ()
    optional: bool = False
    late: bool = False

    @property
    def type_name(self) -> str:
        """The type for a person."""
        name = " | ".join(self.choices) if self.choices else self.kind
        return f"{name} or null" if self.optional else name

    def harmless(self, value: Any) -> bool:
        """Whether nothing is lost with this value."""
        return value in self.neutral


def translated(
    key: str, kind: Kind, default: Any, becomes: str, about: str, *, null: bool = False, late: bool = False,
    choices: tuple[str, ...] = (),
) -> OfficialField:  # fmt: skip
    """A field with an effect here."""
    return OfficialField(
        key=key, kind=kind, default=default, about=about, becomes=becomes, optional=null, late=late, choices=choices
    )


def inapplicable(
    key: str, kind: Kind, default: Any, effect: Effect, reason: str, about: str, *neutral: Any, null: bool = False,
    late: bool = False, choices: tuple[str, ...] = (),
) -> OfficialField:  # fmt: skip
    """A field that cannot apply."""
    return OfficialField(
        key=key, kind=kind, default=default, about=about, effect=effect, reason=reason, neutral=neutral, optional=null,
        late=late, choices=choices,
    )  # fmt: skip


def nearest(key: str, known: list[str]) -> str | None:
    """The known key that an unknown one most likely means: near as a whole, or in its last part."""
    close = difflib.get_close_matches(key, known, 1)
    if close:
        return close[0]
    last = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
    close = difflib.get_close_matches(key.rsplit(".", 1)[-1], list(last), 1)
    return last[close[0]] if close else None


def convert(field: OfficialField, value: Any, key: str, where: str) -> Any:
    """A value in the field's type; what is of another is a UserError."""
    if value is None:
        if field.optional or field.kind == "section":
            return None
        raise _wrong(field, value, key, where)
    if field.choices:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text not in field.choices:
            raise _wrong(field, value, key, where)
        return text
    shapes: dict[Kind, type] = {
        "bool": bool, "texts": list, "list": list, "pair": list, "map": dict, "section": dict,
    }  # fmt: skip
    if field.kind in shapes:
        if not isinstance(value, shapes[field.kind]):
            raise _wrong(field, value, key, where)
        return _converted(field, cast("Any", value), key, where)
    if isinstance(value, (dict, list)):
        raise _wrong(field, value, key, where)
    if field.kind in ("text", "duration"):
        return str(value)
    return _number(field.kind, value, field, key, where)


def _converted(field: OfficialField, value: Any, key: str, where: str) -> Any:
    if field.kind == "texts":
        return [str(item) for item in value]
    if field.kind == "pair":
        if len(value) != 2:
            raise _wrong(field, value, key, where)
        return [_number("float", item, field, key, where) for item in value]
    return value


def _number(kind: Kind, value: Any, field: OfficialField, key: str, where: str) -> Any:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value.replace("_", "") if isinstance(value, str) else value)
        if kind == "float":
            return number
        if number == int(number):
            return int(value) if isinstance(value, int) else int(number)
        if kind == "number":
            return number
    except (ValueError, TypeError, OverflowError):
        pass
    raise _wrong(field, value, key, where)


def _wrong(field: OfficialField, value: Any, key: str, where: str) -> UserError:
    return UserError(f"{key} is {value!r}", where=where, fix=f"give {field.type_name}")
