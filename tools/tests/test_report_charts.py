"""The numbers and words behind the report page: bins, curves, ticks, shapes, figures with their units."""

from __future__ import annotations

from itertools import pairwise

import pytest

from report import axes, charts, corpus, words


@pytest.mark.parametrize(
    ("counts", "edges"),
    [
        ([5, 10, 5], [1, 10, 20, 30]),
        ([900, 50, 30, 15, 5], [0, 1, 2, 3, 4, 1000]),
        ([500, 497, 3], [0, 1, 2, 1000]),
        ([50] * 20 + [10], [*range(20), 20.5, 1000]),
        ([1] * 200, [1.05**n for n in range(201)]),
        ([3, 0, 0, 4], [-8, -4, -2, -1, 0]),
        ([0, 7, 0], [0, 2, 2, 5]),
    ],
)
def test_bins_redrawn_keep_the_total(counts: list[int], edges: list[float]) -> None:
    bins, _ = axes.redrawn(counts, edges)
    assert sum(item.count for item in bins) == pytest.approx(sum(counts))
    assert all(a.high == pytest.approx(b.low) for a, b in pairwise(bins))


def test_long_tail_goes_to_one_bar_and_wide_positive_range_is_logarithmic() -> None:
    bins, logarithmic = axes.redrawn([50] * 20 + [10], [*range(21), 1000])
    assert bins[-1] == axes.Bin(20, 1000, 10, beyond=True)
    assert not logarithmic
    assert axes.redrawn([1] * 200, [1.05**n for n in range(201)])[1]


def test_few_bins_of_equal_width_are_the_bars() -> None:
    bins, _ = axes.redrawn([0, 5, 0, 7, 2], [0, 1, 2, 3, 4, 5])
    assert [(item.low, item.high, item.count) for item in bins] == [(1, 2, 5), (2, 3, 0), (3, 4, 7), (4, 5, 2)]


def test_thinned_curve_keeps_spikes_and_ends() -> None:
    points = [(float(x), 1.0) for x in range(10_000)]
    points[4321] = (4321.0, 99.0)
    points[777] = (777.0, -5.0)
    thinned = axes.thin(points)
    assert len(thinned) <= 2 * axes.POINTS
    assert {(4321.0, 99.0), (777.0, -5.0), points[0], points[-1]} <= set(thinned)
    assert thinned == sorted(thinned)


def test_smoothed_curve_is_a_centred_mean() -> None:
    assert axes.smoothed([(1, 3.0), (2, 6.0), (3, 9.0), (4, 0.0)], 3) == [(1, 3.0), (2, 6.0), (3, 5.0), (4, 0.0)]


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 10, [0, 2, 4, 6, 8, 10]), (1.93, 2.11, [1.95, 2.0, 2.05, 2.1]), (3, 3, [3])]
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert axes.ticks(low, high) == expected


def test_curve_breaks_where_the_loss_is_not_a_number() -> None:
    points = [(1.0, 5.0), (2.0, 4.0), (3.0, float("nan")), (4.0, 3.0), (5.0, 2.0)]
    drawn = charts.line_chart(charts.Names(), "Loss", "nats", "step", [charts.Series("loss", points)])
    assert drawn.count("<polyline") == 2
    assert "nan" not in drawn.lower()
    nothing = charts.line_chart(charts.Names(), "L", "", "step", [charts.Series("l", [(1.0, float("inf"))])])
    assert "No finite value was logged." in nothing


def test_value_beyond_the_axis_becomes_an_arrow() -> None:
    rows = [charts.ForestRow("a", "9.0", [charts.Mark(0, 9.0, 8.0, 10.0)])]
    drawn = charts.forest(charts.Names(), "T", "bits", rows, charts.Scale(0.0, 4.0), {0: "model"})
    assert '<path class="kind-0" d="M-9-5' in drawn


def test_rule_in_words() -> None:
    assert corpus.in_words("$.attributes[?(@.exact && @.exact[0] && @.exact[0][2] >= 1.0)]") == "exact ≥ 1.0"
    assert corpus.in_words("$.metadata[?(@.x == 1)]") == "$.metadata[?(@.x == 1)]"


def test_numbers_are_written_with_separators_and_units() -> None:
    assert words.integer(1234567) == "1,234,567"
    assert words.size(48_200_000) == "48.2\u00a0MB"
    assert words.size(999) == "999\u00a0bytes"
    assert [words.duration(s) for s in (0.42, 59.4, 552.3, 7380)] == [
        "0.4\u00a0s", "59\u00a0s", "9\u00a0min 12\u00a0s", "2\u00a0h 3\u00a0min"
    ]  # fmt: skip
    assert words.p_value(0.00004) == "p < 0.0001"
    assert words.significant(0.00006) == "6.0×10⁻⁵".replace(".0", "")
    assert words.decimal(-1.5, 2) == "−1.50"
    assert words.large(6_310_000) == "6.31\u00a0million"


def test_acting_characters_are_named_and_ordinary_text_stays() -> None:
    assert words.visible("a\u202eb\x07\ud800\r\nc\td") == "a⟨U+202E⟩b⟨U+0007⟩⟨U+D800⟩\nc\td"
    for ordinary in ("naïve – 日本語", "می\u200cخواهم", "👩\u200d🔬", "שלום", "a\u00a0b"):
        assert words.visible(ordinary) == ordinary
