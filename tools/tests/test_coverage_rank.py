from __future__ import annotations

import numpy as np
import pytest

import coverage_rank


def test_every_kind_of_interval_is_drawn_from_what_is_true() -> None:
    for title, cells in coverage_rank.KINDS.values():
        cell = next(iter(cells()))
        found = cell.draw(np.random.default_rng(0))
        assert -1 <= found.value <= 2, title
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high


def test_a_table_has_a_cell_for_each_place_and_the_mean_below(capsys: pytest.CaptureFixture[str]) -> None:
    coverage_rank.main(["--repetitions", "4", "--seed", "3", "suite"])
    lines = capsys.readouterr().out.splitlines()
    assert "| | 50 each | 100 each | 300 each | 1000 each |" in lines
    assert sum(line.startswith(("| 2 tasks", "| 4 tasks", "| 9 tasks")) for line in lines) == 3
    assert lines[-2].startswith("Mean over 36 cells ")


def test_below_the_minimum_there_is_no_cell() -> None:
    cell = next(cell for cell in coverage_rank.accuracy_cells(False) if cell.places[0] == ("n 50", "clusters of 20"))
    assert coverage_rank.coverage(cell, 3, np.random.default_rng(0)) is None
    assert coverage_rank.summary([None]) == "none"
    assert coverage_rank.summary([0.9, 1.0, None]) == "95.0 (90)"
