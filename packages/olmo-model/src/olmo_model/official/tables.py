"""The fields of OLMo's configuration as tables in Markdown; docs/official-configs.md holds them."""

from __future__ import annotations

from collections.abc import Iterable

from .evaluators import SETS, TASKS
from .fields import OfficialField
from .schema import FIELDS, INAPPLICABLE

EFFECTS = {
    "speed": "changes no result; named in one line",
    "left out": "said in a line where it is set",
    "refused": "refused where it is set",
}

OF_EVALUATORS = (
    "The fields of `evaluators.data` beside `paths` and `datasets` change no result either: windows and requests are "
    "made by paloma-ppl and catwalk-eval, which decide about it."
)
OTHER_LABELS = (
    "Any other label of type `lm`, and every name in `datasets`, is the source that is left without `vN-small-` before "
    "and `-validation` behind it. Any other label of type `downstream` is a task of that name in the requests folder; "
    "without it the label is left out and a line says so."
)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _is_shown(field: OfficialField) -> bool:
    return not field.key.startswith("evaluators.data.") or field.effect == "translated"


def _what_happens(field: OfficialField) -> str:
    if field.effect == "speed" or not field.neutral:
        return EFFECTS[field.effect]
    return EFFECTS[field.effect] + ", but for " + " and ".join(f"`{_value(value)}`" for value in field.neutral)


def tables() -> str:
    """Three tables: what each field becomes, the closed list of those that cannot apply, labels of evaluators."""
    fields = [field for field in FIELDS.values() if _is_shown(field)]
    becomes = [
        (
            f"`{field.key}`" + (" (later)" if field.late else ""),
            "" if field.kind == "section" else f"`{_value(field.default)}`",
            ", ".join(f"`{key}`" for key in field.becomes.split(", ")) if field.becomes else "its fields",
            field.about,
        )
        for field in fields
        if field.effect == "translated"
    ]
    cannot = [
        (
            f"`{field.key}`" + (" (later)" if field.late else ""),
            field.reason,
            _what_happens(field),
        )
        for field in INAPPLICABLE
        if _is_shown(field)
    ]
    labels = [(f"`{label}`", f"requests of `{task}` from `catwalk-eval requests`") for label, task in TASKS.items()]
    labels += [
        (f"`{label}`", "windows of " + ", ".join(f"`{source}`" for source in sources) + " from `paloma-ppl windows`")
        for label, sources in SETS.items()
    ]
    return "\n\n".join(
        [
            "## What a field becomes",
            _table(("OLMo's field", "OLMo's default", "ours", "what it says"), becomes),
            "## Fields that cannot apply",
            _table(("OLMo's field", "why", "what happens"), cannot),
            OF_EVALUATORS,
            "## Labels of evaluators",
            _table(("label", "data"), labels),
            OTHER_LABELS,
        ]
    )
