"""The command line that all packages repeat."""

from __future__ import annotations

import pytest
from cyclopts import App

from shared.command_line import run

app = App(name="tool", result_action="return_value")


@app.command
def count(*, fast: bool = False, size: int = 1) -> None:
    print(f"{fast} {size}")


def test_a_word_that_no_option_takes_is_one_line_that_says_how_switches_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(app, ["count", "--fast", "true", "--size", "3", "more"]) == 2
    fix = "a switch stands alone (--name or --no-name), other values after their option"
    assert capsys.readouterr().err == f"error: nothing takes 'true more'; {fix}\n"

    assert run(app, ["count", "--fast", "--size", "3"]) == 0
    assert capsys.readouterr().out == "True 3\n"
