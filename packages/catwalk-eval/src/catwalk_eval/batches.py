"""The batch plan: which requests are scored together. A pure function of the set of requests and the budget.

A unit is one (context, continuation); equal units are scored once. All units of a task, sorted by their token ids, are
a prefix tree in depth-first order: what neighbours share is forwarded once. A batch is a run of neighbours, cut where
they share least; what many batches in a row share (a few-shot prefix) is their trunk, forwarded once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LEAST_TRUNK = 32  # tokens; less is cheaper forwarded again in each batch
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """Token ids of one request; neither part is empty."""

    context: Ids
    continuation: Ids

    @property
    def inputs(self) -> Ids:
        """What the model reads: all but the last token, which is only predicted."""
        return self.context + self.continuation[:-1]


@dataclass(frozen=True, slots=True)
class Scored:
    """Summed natural-log probability of a unit's continuation, and whether every token of it was the likeliest."""

    unit: int
    log_probability: float
    greedy: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Units by their numbers in the plan, in the order of the tree.

    The first ``trunk`` tokens of all of them are the same, and are those of the neighbouring batches of that trunk.
    """

    trunk: int
    units: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Distinct units in order of first appearance, the units of each instance, and the batches.

    ``tokens`` is the number of tokens that the whole plan forwards, ``distinct`` that of the nodes of the prefix tree.
    """

    units: tuple[Unit, ...]
    instances: tuple[tuple[int, ...], ...]
    batches: tuple[Batch, ...]
    tokens: int
    distinct: int


def make_plan(
    instances: Iterable[Sequence[Unit]], batch_tokens: int, batch_size: int | None = None, *, shared: bool = True
) -> Plan:
    """Plan the scoring of ``instances``, each the units of one instance.

    A batch forwards at most ``batch_tokens`` tokens beside those that all units begin with, unless a single unit is
    longer, and holds at most ``batch_size`` units. The order of the instances changes no batch. Without ``shared``
    every unit is forwarded whole, those of similar length together, and padding counts.
    """
    known: dict[Unit, int] = {}
    numbered = tuple(tuple(known.setdefault(unit, len(known)) for unit in instance) for instance in instances)
    units = tuple(known)
    return (
        plan_tree(units, numbered, batch_tokens, batch_size)
        if shared
        else plan_whole(units, numbered, batch_tokens, batch_size)
    )


def plan_whole(
    units: tuple[Unit, ...], numbered: tuple[tuple[int, ...], ...], batch_tokens: int, batch_size: int | None
) -> Plan:
    """Units by length, the longest first; a batch is a table of its longest unit."""
    order, common = tree_order(units)
    lengths = {number: len(units[number].inputs) for number in order}
    batches: list[list[int]] = []
    for number in sorted(order, key=lambda number: -lengths[number]):
        last = batches[-1] if batches else []
        fits = bool(last) and lengths[last[0]] * (len(last) + 1) <= batch_tokens
        if fits and (batch_size is None or len(last) < batch_size):
            last.append(number)
        else:
            batches.append([number])
    tokens = sum(lengths.values())
    return Plan(units, numbered, tuple(Batch(0, tuple(batch)) for batch in batches), tokens, tokens - sum(common))


def plan_tree(
    units: tuple[Unit, ...], numbered: tuple[tuple[int, ...], ...], batch_tokens: int, batch_size: int | None
) -> Plan:
    """Units in the order of their prefix tree, cut where neighbours share least."""
    order, shared = tree_order(units)
    lengths = [len(units[number].inputs) for number in order]
    fresh = [length - common for length, common in zip(lengths, shared, strict=True)]
    everywhere = min(shared[1:], default=0)
    cuts = cut(lengths, fresh, shared, batch_tokens + everywhere, batch_size)
    batches = [order[start:stop] for start, stop in cuts]
    between = [shared[start] for start, _ in cuts[1:]]  # tokens that a batch shares with the one before
    # all units of a batch begin alike so far, the token before their first scored one left out
    common = [
        min([len(units[number].context) - 1 for number in batch] + list(shared[start + 1 : stop]))
        for batch, (start, stop) in zip(batches, cuts, strict=True)
    ]
    trunks = find_trunks(between, common)
    plan = tuple(Batch(trunk, tuple(batch)) for trunk, batch in zip(trunks, batches, strict=True))
    tokens = 0
    for position, (batch, (start, stop)) in enumerate(zip(plan, cuts, strict=True)):
        follows = position > 0 and plan[position - 1].trunk == batch.trunk and between[position - 1] >= batch.trunk
        tokens += 0 if follows else batch.trunk
        tokens += lengths[start] - batch.trunk
        tokens += sum(fresh[start + 1 : stop])
    return Plan(units, numbered, plan, tokens, sum(fresh))


def tree_order(units: Sequence[Unit]) -> tuple[list[int], list[int]]:
    """Numbers of the units sorted by token ids, and how many input tokens each shares with the one before it."""
    encoded: dict[int, bytes] = {}  # the choices of an instance mostly hold one context object

    def key(unit: Unit) -> bytes:
        context = encoded.get(id(unit.context))
        if context is None:
            context = encoded[id(unit.context)] = np.array(unit.context, dtype=">u4").tobytes()
        return context + np.array(unit.continuation, dtype=">u4").tobytes()

    keys = [key(unit) for unit in units]
    order = sorted(range(len(units)), key=lambda number: (keys[number], len(units[number].context)))
    shared = [0]
    for before, after in pairwise(order):
        shared.append(common_length(keys[before][:-4], keys[after][:-4]))
    return order, shared[: len(order)]


def common_length(a: bytes, b: bytes) -> int:
    """How many leading 4-byte ids two rows of ids have in common."""
    size = min(len(a), len(b)) // 4
    differ: NDArray[np.intp] = np.flatnonzero(
        np.frombuffer(a, dtype=np.uint32, count=size) != np.frombuffer(b, dtype=np.uint32, count=size)
    )
    return int(differ[0]) if len(differ) else size


def cut(
    opening: Sequence[int], adding: Sequence[int], shared: Sequence[int], budget: int, most: int | None = None
) -> list[tuple[int, int]]:
    """Runs (start, stop) of the units in tree order, of at most ``budget`` tokens and ``most`` units each.

    Unit k costs ``opening[k]`` tokens as the first of a run, ``adding[k]`` after others. A run that is full ends where
    a unit shares least with the one before it, in its second half.
    """
    runs: list[tuple[int, int]] = []
    start = 0
    while start < len(opening):
        total, half, stop = opening[start], start + 1, start + 1
        while stop < len(opening) and (most is None or stop - start < most):
            if total < budget / 2:
                half = stop
            total += adding[stop]
            if total > budget:
                break
            stop += 1
        if stop < len(opening) and stop > start + 1:
            stop = min(range(half, stop + 1), key=lambda place: (shared[place], -place))
        runs.append((start, stop))
        start = stop
    return runs


def find_trunks(between: Sequence[int], common: Sequence[int]) -> list[int]:
    """The trunk of each batch, from what it shares with the one before and how far its own units begin alike."""
    trunks: list[int] = []
    while len(trunks) < len(common):
        first = stop = len(trunks)
        trunk = common[first]
        while stop < len(between):
            length = min(trunk, between[stop], common[stop + 1])
            # the run goes on unless that would halve what it shares
            if length < LEAST_TRUNK or (stop > first and 2 * length < trunk):
                break
            trunk, stop = length, stop + 1
        trunks += [trunk if stop > first else 0] * (stop + 1 - first)
    return trunks
