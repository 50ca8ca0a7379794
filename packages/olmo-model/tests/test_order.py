from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from olmo_model.batch_schedule import constant, growing
from olmo_model.errors import UserError
from olmo_model.order import LedgerRow, Order, Segment, append_to_ledger, read_ledger, segments, shuffled

# np.random.Generator(np.random.PCG64(seed=6198)).shuffle of arange(10), and of seed 6199
EXPECTED_FIRST = [2, 4, 7, 3, 8, 9, 0, 6, 1, 5]
EXPECTED_SECOND = [6, 4, 1, 8, 3, 2, 5, 9, 0, 7]

ROW = LedgerRow(
    first_step=1,
    first_instance=0,
    epoch=0,
    batch_size=4,
    sequence_length=16,
    seed=6198,
    instances=10,
    tokens_fingerprint="sha256:" + "0" * 64,
)


def test_order_is_numpys_pcg64_shuffle_of_seed_plus_epoch():
    order = shuffled(10, 6198, 0)
    assert order.dtype == np.uint32
    assert order.tolist() == EXPECTED_FIRST
    assert shuffled(10, 6198, 1).tolist() == shuffled(10, 6199, 0).tolist() == EXPECTED_SECOND


def test_batches_follow_the_order_and_epochs_begin_anew():
    order = Order(instances=10, batches=constant(4), seed=6198)  # two whole batches, the last two instances are dropped
    assert order.batch(1).tolist() == EXPECTED_FIRST[:4]
    assert order.batch(2).tolist() == EXPECTED_FIRST[4:8]
    assert order.batch(3).tolist() == EXPECTED_SECOND[:4]
    assert order.position(4) == (1, 4)


def test_less_data_than_a_batch_is_refused():
    with pytest.raises(UserError, match="3 instances, fewer than global_batch_size 4"):
        Order(instances=3, batches=constant(4), seed=0)


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 5))
def test_an_epoch_takes_every_instance_at_most_once(instances, batch_size, seed):
    assume(instances >= batch_size)
    order = Order(instances=instances, batches=constant(batch_size), seed=seed)
    for epoch in range(2):
        first = epoch * (instances // batch_size) + 1
        taken = [int(i) for step in range(first, first + instances // batch_size) for i in order.batch(step)]
        assert len(set(taken)) == len(taken) == instances // batch_size * batch_size


def test_a_growing_batch_goes_on_where_the_smaller_one_ended():
    # steps 1 and 2 take two instances each; five are taken before the threshold is noticed at step 3
    order = Order(instances=10, batches=growing((2, 3), (4,)), seed=6198)
    assert [order.batch(step).tolist() for step in (1, 2, 3, 4)] == [
        EXPECTED_FIRST[:2], EXPECTED_FIRST[2:4], EXPECTED_FIRST[4:7], EXPECTED_FIRST[7:],
    ]  # fmt: skip
    assert order.position(5) == (1, 0)
    assert [step for step in range(1, 9) if order.begins(step)] == [1, 3, 5, 8]
    rows = [order.row(step, sequence_length=16, tokens_fingerprint="x") for step in (1, 3, 5)]
    assert [(row.first_step, row.first_instance, row.epoch, row.batch_size) for row in rows] == [
        (1, 0, 0, 2), (3, 4, 0, 3), (5, 0, 1, 3),
    ]  # fmt: skip


@st.composite
def growing_orders(draw):
    sizes = sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=4)))
    count = len(sizes) - 1
    thresholds = sorted(draw(st.sets(st.integers(1, 60), min_size=count, max_size=count)))
    instances = draw(st.integers(sizes[-1], 40))
    return Order(instances=instances, batches=growing(sizes, thresholds), seed=draw(st.integers(0, 3))), thresholds


@given(growing_orders())
def test_a_growing_batch_takes_every_instance_of_an_epoch_once_and_in_order(case):
    order, thresholds = case
    epoch, expected = 0, 0
    for step in range(1, 60):
        found_epoch, first = order.position(step)
        size = order.batches.batch_size(step)
        if found_epoch != epoch:
            # only a rest below this step's batch is left out
            assert found_epoch == epoch + 1
            assert order.instances - expected < size
            epoch, expected = found_epoch, 0
        assert first == expected
        assert order.batch(step).tolist() == shuffled(order.instances, order.seed, epoch)[first : first + size].tolist()
        expected = first + size
        assert expected <= order.instances
        # the size is the one whose thresholds have been reached by what was taken before
        reached = sum(threshold <= order.taken_before(step) for threshold in thresholds)
        assert size == order.batches.sizes[-1] or reached < len(thresholds)
        assert order.taken_before(step + 1) == order.taken_before(step) + size


@given(growing_orders())
def test_the_rows_of_a_growing_batch_say_what_every_step_takes(case):
    order, _ = case
    rows = [order.row(step, sequence_length=16, tokens_fingerprint="x") for step in range(1, 60) if order.begins(step)]
    for segment in segments(rows, 59):
        for step in range(segment.first, segment.last + 1):
            assert (segment.row.epoch, segment.start_of(step)) == order.position(step)
            assert segment.row.batch_size == order.batches.batch_size(step)


def test_ledger_is_read_back_and_an_unfinished_line_is_cut_off(tmp_path):
    path = tmp_path / "data_order.jsonl"
    later = replace(ROW, first_step=3, epoch=1)
    append_to_ledger(path, ROW)
    with open(path, "ab") as stream:
        stream.write(b'{"format_version": 1, "first_')
    assert read_ledger(path) == [ROW]
    append_to_ledger(path, later)
    assert read_ledger(path) == [ROW, later]


def test_damaged_ledger_is_refused_with_its_line(tmp_path):
    path = tmp_path / "data_order.jsonl"
    append_to_ledger(path, ROW)
    path.write_bytes(path.read_bytes() + b"nonsense\n")
    with pytest.raises(UserError, match=r"data_order\.jsonl, line 2"):
        read_ledger(path)


def test_a_later_row_replaces_all_from_its_first_step_on():
    second, again = replace(ROW, first_step=3, epoch=1), replace(ROW, first_step=2, first_instance=4)
    assert segments([ROW, second], 5) == [Segment(1, 2, ROW), Segment(3, 5, second)]
    assert segments([ROW, second, again], 2) == [Segment(1, 1, ROW), Segment(2, 2, again)]
    assert segments([ROW, second, again, second], 9) == [
        Segment(1, 1, ROW),
        Segment(2, 2, again),
        Segment(3, 9, second),
    ]
    assert segments([ROW, second], 1) == [Segment(1, 1, ROW)]
