"""Damaging artifacts in tests: what is spoilt, and what the checker has to say about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.files import edit_json, edit_rows, read, write

Check = Callable[..., tuple[int, list[str]]]
# name, what is done to the folder, file and line that must be named, part of what must be said
Damage = tuple[str, Callable[[Path], Any], str, int | None, str]


def assert_found(check: Check, damage: Damage, folder: Path, *options: object) -> None:
    """After the damage, a line names the file (and line) and says what is wrong."""
    _, spoil, file, line, complaint = damage
    spoil(folder)
    status, lines = check(folder, *options)
    place = f"{folder / file if file else folder}{'' if line is None else f':{line}'}: "
    assert status == 1
    assert any(text.startswith(place) and complaint in text for text in lines), (place, complaint, lines)
    assert any(text.startswith("failed: ") for text in lines)


def manifest(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "manifest.json", edit)


def rows(file: str, edit: Callable[[list[Any]], Any]) -> Callable[[Path], None]:
    return lambda folder: edit_rows(folder / file, edit)


def replace(path: Path, old: bytes, new: bytes) -> None:
    assert old in read(path)
    write(path, read(path).replace(old, new))


def cases(damages: list[Damage]) -> Any:
    return pytest.mark.parametrize("damage", damages, ids=[damage[0] for damage in damages])
