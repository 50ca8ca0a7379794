"""Values go to workers and back through shared memory as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dolma_data import arena
from dolma_data.arena import Arena
from dolma_data.execute import map_ordered


@pytest.fixture(autouse=True)
def small_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "SLOT_BYTES", 4096)
    monkeypatch.setattr(arena, "LARGE_BYTES", 100)


@pytest.mark.parametrize("size", [0, 99, 100, 4096, 4097, 9000])
def test_bytes_of_any_size_come_out_as_they_went_in(size: int) -> None:
    memory = Arena(2)
    value = {"a": [bytes(range(256)) * 36][0][:size], "rest": ("x", 1, None)}
    assert memory.take(memory.put(1, value)) == value


def test_what_is_large_is_not_in_the_message_as_long_as_the_slot_has_room() -> None:
    memory = Arena(1)
    pickled, _ = memory.put(0, [b"a" * 3000, b"b" * 2000, b"c" * 1000])
    assert [letter in pickled for letter in (b"a" * 3000, b"b" * 2000, b"c" * 1000)] == [False, True, False]


def test_a_slot_is_used_again_and_its_neighbour_keeps_what_it_has() -> None:
    memory = Arena(2)
    first, second = memory.put(0, b"1" * 4096), memory.put(1, b"2" * 4096)
    taken = memory.take(first)
    third = memory.put(0, b"3" * 4096)
    assert (taken, memory.take(second), memory.take(third)) == (b"1" * 4096, b"2" * 4096, b"3" * 4096)


def test_arrays_keep_type_and_shape_and_may_be_written_to() -> None:
    memory = Arena(1)
    value = np.arange(60, dtype=np.uint32).reshape(6, 10)
    message = memory.put(0, [value, value[:, 3], np.zeros(0)])
    whole, column, empty = memory.take(message)
    memory.put(0, b"\xff" * 4096)
    assert whole.dtype == np.uint32
    assert whole.tolist() == value.tolist()
    assert column.tolist() == value[:, 3].tolist()
    assert empty.shape == (0,)
    whole[0, 0] = 7
    assert whole[0, 0] == 7


def _twice(unit: tuple[int, bytes]) -> tuple[int, bytes]:
    return unit[0], unit[1] * 2


def _units() -> Iterator[tuple[int, bytes]]:
    for number in range(40):
        yield number, bytes([number]) * (number * 97)


def test_units_and_results_larger_and_smaller_than_a_slot_stay_in_order() -> None:
    found: list[Any] = list(map_ordered(_twice, _units(), processes=2))
    assert found == [(number, unit * 2) for number, unit in _units()]
