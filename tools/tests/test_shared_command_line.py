"""The command line that all packages repeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from cyclopts import App, Parameter

from shared.command_line import run

app = App(name="tool", result_action="return_value")


@app.command
def count(*, fast: bool = False, size: int = 1) -> None:
    print(f"{fast} {size}")


@dataclass(frozen=True)
class Filter:
    include: tuple[str, ...] = ()
    at_least: int = 0


@dataclass(frozen=True)
class Settings:
    filter: Filter = field(default_factory=Filter)
    streams: tuple[Filter, ...] = ()
    fast: bool = False


DEFAULT = Settings()


@app.command
def keep(*, settings: Annotated[Settings, Parameter(name="*")] = DEFAULT) -> None:
    print(settings)


@app.command
def write(*, path: Path) -> None:
    path.write_text("x")


def test_a_word_that_no_option_takes_is_one_line_that_says_how_switches_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(app, ["count", "--fast", "true", "--size", "3", "more"]) == 2
    fix = "a switch stands alone (--name or --no-name), other values after their option"
    assert capsys.readouterr().err == f"error: nothing takes 'true more'; {fix}\n"

    assert run(app, ["count", "--fast", "--size", "3"]) == 0
    assert capsys.readouterr().out == "True 3\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("filter: {includ: [x]}", "unknown key filter.includ (FILE); did you mean filter.include?"),
        ("filter: {at_lest: 1}", "unknown key filter.at_lest (FILE); did you mean filter.at_least?"),
        ("filtre: {include: [x]}", "unknown key filtre.include (FILE); did you mean filter.include?"),
        (
            "streams: [{at_least: 1}, {inclde: 1}]",
            "unknown key streams[1].inclde (FILE); did you mean streams[1].include?",
        ),
        ("streams: [{zzz: 1}]", "unknown key streams[0].zzz (FILE); keys of streams[0] are at_least, include"),
        ("at_least: 1", "unknown key at_least (FILE); did you mean filter.at_least?"),
        ("filter: {zzz: 1}", "unknown key filter.zzz (FILE); keys of filter are at_least, include"),
        ("zzz: {filter: 1}", "unknown key zzz.filter (FILE); did you mean filter?"),
        ("zzz: 1", "unknown key zzz (FILE); keys there are fast, filter, streams"),
        ("fast: {zzz: 1}", "unknown key fast.zzz (FILE); fast takes a value, no keys"),
    ],
)
def test_an_unknown_key_of_a_file_is_told_by_its_whole_path_with_the_nearest_there_is(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(content)
    assert run(app, ["keep", "-c", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {message}\n".replace("FILE", str(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("filter: 5", "filter is 5, not a mapping (FILE); keys of filter are at_least, include"),
        ("filter: [x]", "filter is 'x', not a mapping (FILE); keys of filter are at_least, include"),
        ("streams: [{at_least: 1}, y]", "streams is 'y', not a mapping (FILE); keys of streams are at_least, include"),
    ],
)
def test_a_value_where_keys_belong_is_not_taken_for_that_of_the_first_key(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(content)
    assert run(app, ["keep", "-c", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {message}\n".replace("FILE", str(file))
    file.write_text("filter: {at_least: 2}\nstreams: [{at_least: 1}]")
    assert run(app, ["keep", "-c", str(file)]) == 0


def test_a_nul_in_a_path_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text('path: "a\\0b"')
    assert run(app, ["write", "-c", str(file)]) == 2
    assert capsys.readouterr().err == "error: a path holds a NUL character; check the settings\n"
