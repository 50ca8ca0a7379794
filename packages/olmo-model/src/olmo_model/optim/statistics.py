"""Least, largest, mean and norm of many tensors at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from .clipping import norms_of

STATISTICS = ("min", "max", "avg", "norm")


@torch.no_grad()
def statistics(tensors: Sequence[Tensor]) -> Tensor:
    """Least and largest magnitude, mean, and L2 norm of each tensor, in float32: [P, 4] on their device.

    Those of a sharded tensor are of all its shards, every one of which as many ranks hold; all ranks call this.
    """
    parts = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    device = parts[0].device
    inf, zero = torch.tensor(torch.inf, device=device), torch.zeros((), device=device)
    magnitudes = [part.abs() for part in parts]
    least = torch.stack([part.min().float() if part.numel() else inf for part in magnitudes])
    largest = torch.stack([part.max().float() if part.numel() else zero for part in magnitudes])
    sums = torch.stack([part.sum(dtype=torch.float32) for part in parts])
    counts = torch.tensor([float(part.numel()) for part in parts], device=device)
    if any(isinstance(tensor, DTensor) for tensor in tensors):
        torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        torch.distributed.all_reduce(sums)
        torch.distributed.all_reduce(counts)
    return torch.stack([least, largest, sums / counts, norms_of(tensors)], dim=1)
