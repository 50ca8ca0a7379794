from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_model.instance_filter import repeating


def found(*rows, min_period=1, max_period=4, max_count=3):
    return repeating(
        np.array(rows, dtype=np.uint16), min_period=min_period, max_period=max_period, max_count=max_count
    ).tolist()


def test_repetitions_by_hand():
    assert found(
        [1, 2, 5, 5, 5, 3, 4, 6, 7],  # one id three times
        [1, 2, 5, 5, 3, 5, 4, 6, 7],  # never three times in a row
        [9, 1, 2, 1, 2, 1, 2, 8, 7],  # two ids three times
        [9, 1, 2, 1, 2, 1, 8, 7, 6],  # two and a half times
        [1, 2, 3, 1, 2, 3, 1, 2, 3],  # three ids three times, the whole row
    ) == [True, False, True, False, True]


def test_periods_outside_the_range_do_not_count():
    row = [9, 1, 2, 1, 2, 1, 2, 8, 7]
    assert found(row, max_period=1) == [False]
    assert found(row, min_period=3) == [False]
    assert found([5] * 9, min_period=2, max_period=2) == [True]  # one id nine times is also a pair four times


def test_thirty_two_of_thirteen_ids_need_all_of_their_ids():
    piece = list(range(100, 113))
    whole = [1, *(piece * 32), 2]
    for row, expected in ((whole, True), ([*whole[:-2], 3, 2], False)):
        assert found(row, max_period=13, max_count=32) == [expected]


def test_a_row_too_short_to_repeat_is_kept():
    assert found([5, 5], max_count=3) == [False]


def by_hand(row, periods, max_count):
    """Whether any piece of the row, cut out anywhere, stands max_count times in a row."""
    for period in periods:
        for start in range(len(row) - max_count * period + 1):
            piece = row[start : start + period]
            if row[start : start + max_count * period] == piece * max_count:
                return True
    return False


@pytest.mark.parametrize("max_count", [3, 4])
@given(rows=st.lists(st.lists(st.integers(0, 1), min_size=14, max_size=14), min_size=1, max_size=5))
def test_the_rule_is_that_of_cutting_out_pieces(max_count, rows):
    assert found(*rows, max_count=max_count) == [by_hand(row, range(1, 5), max_count) for row in rows]
