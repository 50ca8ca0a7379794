from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from catwalk_eval.batches import LEAST_TRUNK, Unit, cut, find_trunks, make_plan, tree_order

ids = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)
instances = st.lists(st.lists(st.builds(Unit, ids, ids), min_size=1, max_size=4), min_size=1, max_size=8)


@given(instances, st.integers(1, 60), st.booleans())
def test_every_unit_is_scored_once(rows: list[list[Unit]], budget: int, shared: bool) -> None:
    plan = make_plan(rows, budget, shared=shared)
    numbers = [number for batch in plan.batches for number in batch.units]
    assert sorted(numbers) == list(range(len(plan.units)))
    assert len(set(plan.units)) == len(plan.units)
    assert [[plan.units[number] for number in row] for row in plan.instances] == rows
    assert plan == make_plan(rows, budget, shared=shared)


@given(instances, st.integers(1, 60), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_instances_changes_no_batch(
    rows: list[list[Unit]], budget: int, shared: bool, draw: random.Random
) -> None:
    plan = make_plan(rows, budget, shared=shared)
    draw.shuffle(rows)
    other = make_plan(rows, budget, shared=shared)
    named = [[[p.units[n] for n in batch.units] for batch in p.batches] for p in (plan, other)]
    texts = [[[unit.context + unit.continuation for unit in batch] for batch in batches] for batches in named]
    assert texts[0] == texts[1]


def prefixes(units: list[Unit]) -> set[tuple[int, ...]]:
    return {unit.inputs[: k + 1] for unit in units for k in range(len(unit.inputs))}


@given(instances, st.integers(1, 60))
def test_a_batch_forwards_the_tree_of_its_units_and_keeps_to_the_budget(rows: list[list[Unit]], budget: int) -> None:
    plan = make_plan(rows, budget)
    assert plan.distinct == len(prefixes(list(plan.units)))
    first = min(unit.inputs for unit in plan.units)
    same = [k for k in range(len(first)) if all(unit.inputs[: k + 1] == first[: k + 1] for unit in plan.units)]
    everywhere = len(same) if len(plan.units) > 1 else 0
    total = 0
    for batch in plan.batches:
        size = len(prefixes([plan.units[number] for number in batch.units]))
        assert len(batch.units) == 1 or size <= budget + everywhere
        total += size
    assert plan.tokens == total  # these prefixes are too short for a trunk


@given(instances, st.integers(1, 60))
def test_whole_units_keep_to_the_budget_with_their_padding(rows: list[list[Unit]], budget: int) -> None:
    plan = make_plan(rows, budget, shared=False)
    for batch in plan.batches:
        longest = max(len(plan.units[number].inputs) for number in batch.units)
        assert len(batch.units) == 1 or longest * len(batch.units) <= budget
    assert plan.tokens == sum(len(unit.inputs) for unit in plan.units)


@given(instances, st.integers(1, 5))
def test_a_batch_holds_no_more_units_than_asked(rows: list[list[Unit]], most: int) -> None:
    assert all(len(batch.units) <= most for batch in make_plan(rows, 1000, most).batches)


def test_what_many_batches_share_is_their_trunk_and_counts_once() -> None:
    shots = tuple(range(100, 100 + 2 * LEAST_TRUNK))
    rows = [[Unit((*shots, k, k), (c, 1)) for c in range(3)] for k in range(20)]
    plan = make_plan(rows, 30)
    assert len(plan.batches) > 3
    assert {batch.trunk for batch in plan.batches} == {len(shots)}
    assert plan.tokens == plan.distinct == len(shots) + 20 * (2 + 3)


def test_two_groups_of_shots_have_a_trunk_each() -> None:
    rows = [
        [Unit((9, *[subject] * 50, k, k + 1), (c, 1)) for c in range(2)] for subject in (200, 300) for k in range(20)
    ]
    plan = make_plan(rows, 90)
    assert {batch.trunk for batch in plan.batches} <= {51, 52}
    assert plan.tokens <= plan.distinct + 2  # the first token is in both trunks


def test_the_last_token_of_a_context_is_in_no_trunk() -> None:
    context = tuple(range(100))
    plan = make_plan([[Unit(context, (c, 1)) for c in range(200)]], 50)
    assert {batch.trunk for batch in plan.batches} == {99}
    assert find_trunks([90, 5], [99, 99, 99]) == [90, 90, 0]


def test_a_batch_whose_units_begin_differently_has_no_trunk() -> None:
    shots = tuple(range(100, 100 + 2 * LEAST_TRUNK))
    rows = [[Unit((*shots, k, k), (1,))] for k in range(8)] + [[Unit((500, *range(50)), (1,))]]
    plan = make_plan(rows, len(shots) + 60)
    for batch in plan.batches:
        beginnings = {plan.units[number].context[: batch.trunk] for number in batch.units}
        assert len(beginnings) == 1
    assert find_trunks([90, 90], [99, 5, 99]) == [0, 0, 0]


def test_a_full_batch_ends_where_units_share_least() -> None:
    assert cut([5] * 6, [1] * 6, [0, 4, 4, 1, 4, 4], 8) == [(0, 3), (3, 6)]
    assert cut([5] * 3, [5] * 3, [0, 0, 0], 1) == [(0, 1), (1, 2), (2, 3)]


def test_units_are_sorted_as_their_tree_is_walked() -> None:
    units = [Unit((5, 6), (7, 8)), Unit((5,), (6,)), Unit((5, 6), (7, 7)), Unit((4,), (1, 2, 3))]
    order, shared = tree_order(units)
    assert order == [3, 1, 2, 0]
    assert shared == [0, 0, 1, 3]  # the inputs are 4 1 2, 5, 5 6 7 and 5 6 7
