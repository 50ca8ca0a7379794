from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from catwalk_eval.batches import Group, Unit, common_prefix, halves, make_plan, suffix_length

ids = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)
instances = st.lists(st.lists(st.builds(Unit, ids, ids), min_size=1, max_size=4), min_size=1, max_size=8)


@given(instances, st.integers(1, 60))
def test_every_unit_is_scored_once_after_a_prefix_of_its_context(rows: list[list[Unit]], budget: int) -> None:
    plan = make_plan(rows, budget)
    numbers = [number for batch in plan.batches for group in batch for number in group.units]
    assert sorted(numbers) == list(range(len(plan.units)))
    assert len(set(plan.units)) == len(plan.units)
    assert [[plan.units[number] for number in row] for row in plan.instances] == rows
    for batch in plan.batches:
        for group in batch:
            assert group.prefix
            assert all(plan.units[n].context[: len(group.prefix)] == group.prefix for n in group.units)
    assert plan == make_plan(rows, budget)


@given(instances, st.integers(1, 60))
def test_a_batch_keeps_to_the_budget_unless_it_is_one_unit(rows: list[list[Unit]], budget: int) -> None:
    plan = make_plan(rows, budget)
    for batch in plan.batches:
        count = sum(len(group.units) for group in batch)
        widest = max(len(group.prefix) for group in batch)
        longest = max(suffix_length(plan.units[n], group.prefix) for group in batch for n in group.units)
        scored = sum(len(plan.units[n].continuation) for group in batch for n in group.units)
        assert count == 1 or (count * (widest + longest) <= budget and scored <= budget // 4)


def test_contexts_that_begin_alike_share_that_beginning() -> None:
    units = [Unit((5, 6, 7), (1,)), Unit((5, 6, 8, 9), (1,))]
    plan = make_plan([units], 1000)
    assert plan.batches == ((Group((5, 6), (1, 0)),),)  # the longer one first
    assert [suffix_length(unit, (5, 6)) for unit in units] == [1, 2]
    assert common_prefix([(1, 2), (1, 2, 3)]) == (1, 2)


def test_contexts_without_a_common_beginning_are_groups_of_their_own() -> None:
    plan = make_plan([[Unit((5,), (1,)), Unit((6,), (1,)), Unit((5,), (2,))]], 1000)
    assert {group for batch in plan.batches for group in batch} == {Group((5,), (0, 2)), Group((6,), (1,))}


def test_a_batch_is_halved_down_to_single_units() -> None:
    one, two = Group((1,), (0,)), Group((2,), (1, 2))
    assert halves((one, two)) == ((one,), (two,))
    assert halves((two,)) == ((Group((2,), (1,)),), (Group((2,), (2,)),))
    assert halves((one,)) is None
