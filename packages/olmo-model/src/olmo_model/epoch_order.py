"""The order of an epoch and its inverse, kept in a cache folder where making them takes long."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .files import atomic_write
from .mixture import Mixture
from .order import shuffled

log = logging.getLogger(__name__)
Numbers = npt.NDArray[np.uint32]
SMALLEST_KEPT = 1 << 20  # instances; an order of fewer is made in a few hundredths of a second
FILES_KEPT = 16


def cache_folder() -> Path:
    """Where orders are kept: ``olmo-model`` in XDG_CACHE_HOME, or in ``.cache`` of the home folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "olmo-model"


class EpochOrder:
    """Which instance stands at which position of an epoch, and the other way round.

    What comes from the cache is believed only as far as both directions agree on it; else all of it is made anew.
    """

    def __init__(self, instances: int, seed: int, epoch: int) -> None:
        self.instances = instances
        self.seed = seed
        self.epoch = epoch
        self._order, self._positions = self._kept() or self._made()

    def taken(self, first: int, count: int) -> list[int]:
        """Instances at ``count`` positions from ``first`` on."""
        for last_try in (False, True):
            found = self._order[first : first + count]
            in_range = bool((found < self.instances).all())
            if last_try or (in_range and np.array_equal(self._positions[found], np.arange(first, first + len(found)))):
                return [int(number) for number in found]
            self._order, self._positions = self._made()
        raise AssertionError

    def positions(self, instances: range) -> list[tuple[int, int]]:
        """Each of these instances with the position it stands at."""
        return [(instance, self._position(instance)) for instance in instances]

    def _position(self, instance: int) -> int:
        found = int(self._positions[instance])
        if found >= self.instances or self._order[found] != instance:
            self._order, self._positions = self._made()
            found = int(self._positions[instance])
        return found

    @property
    def file(self) -> Path:
        """Where the order and its inverse are kept: one after the other, as little-endian uint32."""
        return cache_folder() / f"order-{self.instances}-{self.seed + self.epoch}.u32"

    def _kept(self) -> tuple[Numbers, Numbers] | None:
        if self.instances < SMALLEST_KEPT:
            return None
        try:
            if self.file.stat().st_size != 8 * self.instances:
                return None
            both = np.memmap(self.file, dtype="<u4", mode="r")
        except OSError:
            return None
        return both[: self.instances], both[self.instances :]

    def _made(self) -> tuple[Numbers, Numbers]:
        order = shuffled(self.instances, self.seed, self.epoch)
        positions = np.empty_like(order)
        positions[order] = np.arange(self.instances, dtype=np.uint32)
        if self.instances >= SMALLEST_KEPT:
            try:
                with atomic_write(self.file) as stream:
                    for numbers in (order, positions):
                        stream.write(numbers.astype("<u4", copy=False).data)
                _forget_oldest(self.file.parent)
            except OSError as error:
                log.warning("the data order is not kept in %s (%s): the next look-up is slow too", self.file, error)
        return order, positions


class MixedOrder:
    """The same for a mixture: the order is that of its places."""

    def __init__(self, order: EpochOrder, mixture: Mixture) -> None:
        self.order = order
        self.mixture = mixture

    def taken(self, first: int, count: int) -> list[int]:
        """Instances at ``count`` positions from ``first`` on."""
        places = np.array(self.order.taken(first, count), dtype=np.uint32)
        return [int(number) for number in self.mixture.instances(places, self.order.seed, self.order.epoch)]

    def positions(self, instances: range) -> list[tuple[int, int]]:
        """Each of these instances with each position it stands at."""
        found = []
        for instance in instances:
            for place in self.mixture.places_of(instance, self.order.seed, self.order.epoch):
                found += [(instance, position) for _, position in self.order.positions(range(place, place + 1))]
        return found


@lru_cache(maxsize=4)
def epoch_order(instances: int, seed: int, epoch: int) -> EpochOrder:
    """The order of an epoch; the last few stay in memory."""
    return EpochOrder(instances, seed, epoch)


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("order-*.u32"), key=lambda file: file.stat().st_mtime)
    for file in files[:-FILES_KEPT]:
        file.unlink(missing_ok=True)
