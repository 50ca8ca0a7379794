from __future__ import annotations

import numpy as np
import pytest

from olmo_model import epoch_order as module
from olmo_model.epoch_order import EpochOrder
from olmo_model.order import shuffled


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Every order is kept, in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "SMALLEST_KEPT", 1)
    return tmp_path / "olmo-model"


def test_both_directions_are_those_of_the_order(kept):
    expected = shuffled(50, 3, 1).tolist()
    for _ in range(2):  # made, then kept
        order = EpochOrder(50, 3, 1)
        assert order.taken(10, 7) == expected[10:17]
        assert order.positions(range(50)) == [(number, expected.index(number)) for number in range(50)]
    assert [file.name for file in kept.iterdir()] == ["order-50-4.u32"]


def test_a_kept_order_is_not_made_again(monkeypatch):
    EpochOrder(50, 3, 1)
    monkeypatch.setattr(module, "shuffled", None)
    assert EpochOrder(50, 3, 1).taken(0, 50) == shuffled(50, 3, 1).tolist()


@pytest.mark.parametrize("place", range(0, 400, 37))
def test_a_kept_order_that_was_changed_is_made_anew(kept, place):
    expected = shuffled(50, 3, 0).tolist()
    file = EpochOrder(50, 3, 0).file
    data = bytearray(file.read_bytes())
    data[place] ^= 5
    file.write_bytes(data)
    assert EpochOrder(50, 3, 0).taken(0, 50) == expected
    file.write_bytes(data)
    order = EpochOrder(50, 3, 0)
    assert order.positions(range(50)) == [(number, expected.index(number)) for number in range(50)]
    assert np.fromfile(file, dtype="<u4")[:50].tolist() == expected  # what is kept is mended


def test_a_cut_order_is_made_anew(kept):
    file = EpochOrder(50, 3, 0).file
    file.write_bytes(file.read_bytes()[:-4])
    assert EpochOrder(50, 3, 0).taken(0, 50) == shuffled(50, 3, 0).tolist()


def test_the_oldest_orders_are_forgotten(kept, monkeypatch):
    monkeypatch.setattr(module, "FILES_KEPT", 2)
    for seed in range(4):
        EpochOrder(20, seed, 0)
    assert len(list(kept.iterdir())) == 2


def test_without_a_cache_the_answer_is_the_same(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert EpochOrder(50, 3, 0).taken(0, 50) == shuffled(50, 3, 0).tolist()
    assert "is not kept" in caplog.text
