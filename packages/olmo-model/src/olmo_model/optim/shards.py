"""What a rank holds of tensors, and sums over all that the ranks hold. Elementwise work needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def local(tensors: Sequence[Tensor]) -> list[Tensor]:
    """What this rank holds of each; shares its memory."""
    return [part.to_local() if isinstance(part, DTensor) else part for part in tensors]


def over_shards(sums: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Sums over what this rank holds of each tensor, [..., P], as sums over all of each; one message for all of them,
    in which a part that several ranks hold counts once. Of tensors that are sharded all are, and all ranks call this.
    """
    sharded = [part for part in tensors if isinstance(part, DTensor)]
    if not sharded:
        return sums
    assert len(sharded) == len(tensors), "a plan shards every weight or none"
    ranks = torch.distributed.get_world_size()
    shares = [_pieces(part) / ranks for part in sharded]
    # numbers, not a tensor: bringing one to the device would wait for all that it has to do
    found = torch.stack(torch._foreach_mul(sums.unbind(-1), shares), dim=-1)
    torch.distributed.all_reduce(found)
    return found


def _pieces(tensor: DTensor) -> int:
    """Different parts that a tensor lies in."""
    axes = enumerate(tensor.placements)
    return math.prod(tensor.device_mesh.size(axis) for axis, placement in axes if not placement.is_replicate())
