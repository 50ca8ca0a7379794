"""Means over tasks: tasks that ask the same questions are not independent, and their covariance is counted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .intervals import Spread, spread
from .scores import Floats, Ints


@dataclass(frozen=True)
class Member:
    """A task in a mean over tasks: what each instance adds to its value, by record number, and what they share."""

    source: Hashable
    """Which file its records come from; tasks of one source ask about the same records."""
    parts: Floats  # [I]
    doc_id: Ints  # [I]
    clusters: Ints | None  # [I]


def source_of(task: str, about: Mapping[str, Any]) -> str:
    """The digest of a task's records; its name where ``task.json`` has none."""
    found = about.get("source_digest")
    return found if isinstance(found, str) else task


def by_source(sources: Sequence[Hashable]) -> list[list[int]]:
    """Places of the tasks of each source."""
    found: dict[Hashable, list[int]] = {}
    for place, source in enumerate(sources):
        found.setdefault(source, []).append(place)
    return list(found.values())


def units(members: Sequence[Member]) -> list[Ints]:
    """For each member the independent unit of each instance [I]: its record, or all records joined by clusters."""
    records, joined = np.unique(np.concatenate([member.doc_id for member in members]), return_inverse=True)
    places = np.split(joined, np.cumsum([len(member.doc_id) for member in members])[:-1])
    clustered = [(place, m.clusters) for place, m in zip(places, members, strict=True) if m.clusters is not None]
    if not clustered:
        return places
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes, ends = len(records), []
    for _, clusters in clustered:
        ends.append(clusters + nodes)
        nodes += int(clusters.max()) + 1
    starts = np.concatenate([place for place, _ in clustered])
    edges = coo_array((np.ones(len(starts)), (starts, np.concatenate(ends))), shape=(nodes, nodes))
    unit = np.unique(connected_components(edges, directed=False)[1][: len(records)], return_inverse=True)[1]
    return [unit[place] for place in places]


def spread_of_sum(members: Sequence[Member]) -> Spread:
    """Spread of the sum of the means of tasks of one source, over independent units (Liang and Zeger 1986).

    One unit's deviations in all tasks are added before they are squared, which counts the covariance of the tasks.
    """
    if len(members) == 1:
        return spread(members[0].parts, members[0].clusters)
    numbers = units(members)
    count = 1 + max(int(unit.max()) for unit in numbers)
    sums, weights = np.zeros(count), np.zeros(count)
    for member, unit in zip(members, numbers, strict=True):
        n = len(member.parts)
        sums += np.bincount(unit, weights=(member.parts - member.parts.mean()) / n, minlength=count)
        weights += np.bincount(unit, minlength=count) / (n * len(members))
    variance = float(sums @ sums) * count / (count - 1) if count > 1 else float("nan")
    return Spread(variance, count - 1, 1 / float(weights @ weights), None)
