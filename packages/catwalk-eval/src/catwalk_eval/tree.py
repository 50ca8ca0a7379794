"""The units of a batch packed into one row of tokens, without padding, each token of their prefix tree once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .batches import Unit, cut

CLUSTER_TOKENS = 256  # tokens whose attention is computed together

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Cluster:
    """Slots ``start:stop`` of the row, and what they may attend to beside the trunk.

    Column j < len(outer) of ``sees`` [stop - start, len(outer) + stop - start] stands for slot ``outer[j]``, an
    ancestor that lies before ``start`` and has position trunk + j; the others are the cluster's own slots.
    """

    start: int
    stop: int
    outer: Indices
    sees: NDArray[np.bool_]


@dataclass(frozen=True)
class Tree:
    """A packed row of N tokens: ids, positions, the clusters of its attention, and what is scored in it.

    ``rows`` are the distinct slots whose logits are needed; the k-th scored token is ``tokens[k]``, predicted by slot
    ``rows[at[k]]``, and belongs to ``owners[k]``, an index into the units that were packed.
    """

    ids: Indices
    positions: Indices
    clusters: tuple[Cluster, ...]
    rows: Indices
    at: Indices
    tokens: Indices
    owners: Indices

    @property
    def room(self) -> int:
        """Keys of the largest cluster, its own and its ancestors'."""
        return max(int(cluster.sees.shape[1]) for cluster in self.clusters)


def pack(units: Sequence[Unit], trunk: int, cluster_tokens: int = CLUSTER_TOKENS) -> Tree:
    """Pack ``units``, which are in the order of the tree; their first ``trunk`` tokens are left out."""
    ids: list[int] = []
    positions: list[Indices] = []
    paths: list[Indices] = []  # slots of each unit's tokens
    shared: list[int] = []
    scored: list[Indices] = []
    tokens: list[int] = []
    previous: tuple[int, ...] = ()
    path = np.zeros(0, dtype=np.int64)
    for unit in units:
        inputs = unit.inputs[trunk:]
        common = common_tokens(previous, inputs)
        path = np.concatenate([path[:common], np.arange(len(ids), len(ids) + len(inputs) - common)])
        ids += inputs[common:]
        positions.append(np.arange(trunk + common, trunk + len(inputs)))
        paths.append(path)
        shared.append(common)
        first = len(unit.context) - 1 - trunk
        scored.append(path[first : first + len(unit.continuation)])
        tokens += unit.continuation
        previous = inputs
    rows, at = np.unique(np.concatenate(scored), return_inverse=True)
    return Tree(
        ids=np.array(ids, dtype=np.int64),
        positions=np.concatenate(positions),
        clusters=tuple(clusters(paths, shared, cluster_tokens)),
        rows=rows,
        at=at.astype(np.int64),
        tokens=np.array(tokens, dtype=np.int64),
        owners=np.repeat(np.arange(len(units)), [len(unit.continuation) for unit in units]),
    )


def chain(ids: Sequence[int]) -> Tree:
    """A row of tokens that follow each other, nothing scored: a trunk."""
    length = len(ids)
    none = np.zeros(0, dtype=np.int64)
    whole = Cluster(0, length, none, np.tri(length, dtype=np.bool_))
    return Tree(np.array(ids, dtype=np.int64), np.arange(length), (whole,), none, none, none, none)


def common_tokens(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def clusters(paths: Sequence[Indices], shared: Sequence[int], cluster_tokens: int) -> list[Cluster]:
    """The row cut into clusters at places where units share little; ``shared`` tokens of a path are not its own."""
    fresh = [len(path) - common for path, common in zip(paths, shared, strict=True)]
    found = []
    for first, last in cut(fresh, fresh, shared, cluster_tokens):
        members = [k for k in range(first, last) if fresh[k]]
        if not members:
            continue
        head = members[0]
        outer = paths[head][: shared[head]]
        start, stop = int(paths[head][shared[head]]), int(paths[members[-1]][-1]) + 1
        sees = np.zeros((stop - start, len(outer) + stop - start), dtype=np.bool_)
        for k in members:
            path, common = paths[k], shared[k]
            depth = np.arange(len(path))
            columns = np.where(path >= start, len(outer) + path - start, depth)
            sees[path[common:, None] - start, columns] = depth <= depth[common:, None]
        found.append(Cluster(start, stop, outer, sees))
    return found
