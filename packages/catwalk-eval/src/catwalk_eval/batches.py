"""The batch plan: which requests are scored together. A pure function of the request list and the budget.

A unit is one (context, continuation); equal units are scored once. The units of an instance form a group that
shares the longest common prefix of their contexts, which is forwarded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SCORED_SHARE = 4  # at most batch_tokens / 4 scored positions a batch: they, times the vocabulary, are the logits


@dataclass(frozen=True, slots=True)
class Unit:
    """Token ids of one request; neither part is empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Units (by their numbers in the plan) whose contexts all begin with ``prefix``, which is not empty."""

    prefix: tuple[int, ...]
    units: tuple[int, ...]


Batch = tuple[Group, ...]


@dataclass(frozen=True)
class Plan:
    """Distinct units in order of first appearance, the units of each instance, and the batches."""

    units: tuple[Unit, ...]
    instances: tuple[tuple[int, ...], ...]
    batches: tuple[Batch, ...]


def common_prefix(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Longest common prefix of ``rows``."""
    low, high = min(rows), max(rows)
    length = next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:length]


def suffix_length(unit: Unit, prefix: tuple[int, ...]) -> int:
    """Tokens of ``unit`` that are forwarded after ``prefix``; the last token of all is only scored."""
    return len(unit.context) - len(prefix) + len(unit.continuation) - 1


def make_plan(instances: Iterable[Sequence[Unit]], batch_tokens: int) -> Plan:
    """Plan the scoring of ``instances``, each the units of one instance.

    Groups are sorted by the length of prefix and suffix, so that a batch has little padding; a batch holds at most
    ``batch_tokens`` tokens, cached prefixes and padding included, unless a single unit is longer.
    """
    known: dict[Unit, int] = {}
    numbered: list[tuple[int, ...]] = []
    groups: list[Group] = []
    for instance in instances:
        before = len(known)
        numbered.append(tuple(known.setdefault(unit, len(known)) for unit in instance))
        fresh = {number: instance[k] for k, number in enumerate(numbered[-1]) if number >= before}
        groups += make_groups(fresh)
    units = tuple(known)
    pieces = [piece for group in groups for piece in split_group(group, units, batch_tokens)]
    pieces.sort(key=lambda group: (-len(group.prefix), -longest(group, units), group.units[0]))
    return Plan(units, tuple(numbered), tuple(pack(pieces, units, batch_tokens)))


def make_groups(units: dict[int, Unit]) -> list[Group]:
    """One group of all ``units`` where their contexts begin alike, else one per context."""
    if not units:
        return []
    prefix = common_prefix([unit.context for unit in units.values()])
    if prefix:
        return [Group(prefix, tuple(units))]
    by_context: dict[tuple[int, ...], list[int]] = {}
    for number, unit in units.items():
        by_context.setdefault(unit.context, []).append(number)
    return [Group(context, tuple(numbers)) for context, numbers in by_context.items()]


def longest(group: Group, units: Sequence[Unit]) -> int:
    """Longest suffix of the group."""
    return max(suffix_length(units[number], group.prefix) for number in group.units)


def split_group(group: Group, units: Sequence[Unit], batch_tokens: int) -> Iterator[Group]:
    """Parts of ``group`` that fit the budget each, units of similar length together."""
    part: list[int] = []
    scored = 0
    for number in sorted(group.units, key=lambda number: (-suffix_length(units[number], group.prefix), number)):
        widest = suffix_length(units[part[0] if part else number], group.prefix)
        scored += len(units[number].continuation)
        rows = len(part) + 1
        if part and (rows * (len(group.prefix) + widest) > batch_tokens or scored > batch_tokens // SCORED_SHARE):
            yield Group(group.prefix, tuple(part))
            part, scored = [], len(units[number].continuation)
        part.append(number)
    yield Group(group.prefix, tuple(part))


def pack(groups: Iterable[Group], units: Sequence[Unit], batch_tokens: int) -> Iterator[Batch]:
    """Fill batches with ``groups`` in their order."""
    batch: list[Group] = []
    rows = prefix = suffix = scored = 0
    for group in groups:
        new_rows = rows + len(group.units)
        new_prefix, new_suffix = max(prefix, len(group.prefix)), max(suffix, longest(group, units))
        new_scored = scored + sum(len(units[number].continuation) for number in group.units)
        full = new_rows * (new_prefix + new_suffix) > batch_tokens or new_scored > batch_tokens // SCORED_SHARE
        if batch and full:
            yield tuple(batch)
            batch = []
            new_rows, new_prefix, new_suffix = len(group.units), len(group.prefix), longest(group, units)
            new_scored = sum(len(units[number].continuation) for number in group.units)
        batch.append(group)
        rows, prefix, suffix, scored = new_rows, new_prefix, new_suffix, new_scored
    if batch:
        yield tuple(batch)


def halves(batch: Batch) -> tuple[Batch, Batch] | None:
    """Two smaller batches with the same units; None for a single unit."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return batch[:middle], batch[middle:]
    group = batch[0]
    if len(group.units) < 2:
        return None
    middle = len(group.units) // 2
    return (Group(group.prefix, group.units[:middle]),), (Group(group.prefix, group.units[middle:]),)
