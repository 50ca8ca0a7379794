from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catwalk_eval.charts import curve_figure, nice_ticks, short
from catwalk_eval.curves import Curve, Point, curves, step_of


@pytest.mark.parametrize(
    ("model", "folder", "expected"),
    [
        ({"name": "step1000"}, "runs/small/a", ("small", 1000)),
        ({"name": "OLMo-1B", "revision": "step2000-tokens8B"}, "x", ("OLMo-1B", 2000)),
        ({"name": "olmo-60m-step40"}, "x", ("olmo-60m", 40)),
        ({"name": "model"}, "runs/small/step_30", ("small", 30)),
        ({"name": "footstep7"}, "runs/plain", None),
        ({"name": "model"}, "runs/plain", None),
    ],
)
def test_the_step_is_read_from_revision_name_or_folder(
    model: dict[str, str], folder: str, expected: tuple[str, int] | None
) -> None:
    assert step_of(model, Path(folder)) == expected


def test_other_dialects_and_examples_are_other_curves() -> None:
    def metrics(value: float, dialect: str, shots: int) -> dict[str, Any]:
        entry = {
            "dialect": dialect,
            "shots": shots,
            "primary_metric": "acc_raw",
            "metrics": {"acc_raw": {"value": value, "low": None, "high": None}},
            "baselines": {"chance": {"value": 0.5}},
        }
        return {"tasks": {"piqa": entry}}

    rows = [(step, kind) for kind in (("lm-eval", 0), ("lm-eval", 5), ("olmes-cf", 5)) for step in (1, 2)]
    found = curves([(("r", step), metrics(step / 10 + kind[1], *kind)) for step, kind in rows])
    assert [(curve.run, [point.value for point in curve.points]) for curve in found] == [
        ("r (lm-eval, 0-shot)", [0.1, 0.2]),
        ("r (lm-eval, 5-shot)", [5.1, 5.2]),
        ("r (olmes-cf, 5-shot)", [5.1, 5.2]),
    ]
    (alone,) = curves([(("r", step), metrics(0.5, "lm-eval", 0)) for step in (1, 2)])
    assert alone.run == "r"


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0.13, 0.87) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert nice_ticks(900, 16100) == [5000, 10000, 15000]
    assert [short(step) for step in (300, 20_000, 1_500_000)] == ["300", "20k", "1.5M"]


def test_a_curve_draws_its_interval_and_what_guessing_earns() -> None:
    points = (Point(100, 0.3, 0.2, 0.4), Point(300, 0.5, 0.4, 0.6))
    drawn = curve_figure([Curve("a<b", "acc_raw", "run & more", 0.25, points)])
    assert "<polygon" in drawn
    assert 'class="chance"' in drawn
    assert "step 300: 50.0 (40.0 to 60.0)" in drawn
    assert "a&lt;b" in drawn
    assert "run &amp; more" in drawn
    level = curve_figure([Curve("t", "acc_raw", "r", None, (Point(1, 0.5, None, None), Point(2, 0.5, None, None)))])
    assert "<polygon" not in level
    assert "nan" not in level
