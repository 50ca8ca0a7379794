"""Spreading a model over ranks: FSDP2 (``fully_shard``), hybrid sharding and tensor parallelism.

The model knows nothing of this. Ranks form a mesh of replicas x shards x tensor. Inside a tensor group every rank holds
some heads and a part of the MLP of each block, and all of it reads the same instances; a weight's rows are then in
another order than in a checkpoint (``rows_by_rank``), so that what one rank holds of a fused projection is whole heads
and pairs of up and gate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from .config.model import ModelConfig
from .config.parallel import ParallelSettings
from .errors import UserError
from .model import Transformer

REPLICATE, SHARD, TENSOR = AXES = ("replicate", "shard", "tensor")
FUSED = {"att_proj": 3, "ff_proj": 2}  # matrices in one: queries, keys, values; up, gate
PLAN: dict[str, Callable[[], ParallelStyle]] = {
    "att_proj": ColwiseParallel,
    "attn_out": RowwiseParallel,
    "ff_proj": ColwiseParallel,
    "ff_out": RowwiseParallel,
}


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run. ``mesh`` is None where there is only this one and nothing is sharded."""

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh | None

    @property
    def data_ranks(self) -> int:
        """Ranks, or tensor groups, that read instances of their own."""
        return self.world // self.tensor

    @property
    def data_rank(self) -> int:
        """Which of them this is."""
        return self.rank // self.tensor

    @property
    def tensor(self) -> int:
        """Ranks of a tensor group."""
        return 1 if self.mesh is None else self.mesh[TENSOR].size()

    @property
    def first(self) -> bool:
        """Whether this process speaks for all: it writes what there is once."""
        return self.rank == 0


def launched() -> bool:
    """Whether ``torchrun`` (or another launcher that sets its variables) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def joined(settings: ParallelSettings, model: ModelConfig, kind: str, *, always: bool = False) -> Iterator[Ranks]:
    """This process among the ranks of the run; the group is left again at the end.

    ``kind`` is ``cpu`` (gloo) or ``cuda`` (NCCL beside gloo, a device for each local rank). One process that no
    launcher started gets no mesh, unless ``always``. A grid that does not fit the ranks or the model is a UserError.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    shards = grid(settings, model, world)
    device = torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    if not launched() and not always:
        yield Ranks(rank, world, device, None)
        return
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    alone = None if launched() else dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=alone, rank=rank, world_size=world, timeout=timedelta(minutes=30))
    try:
        mesh = init_device_mesh(kind, (settings.replicas, shards, settings.tensor), mesh_dim_names=AXES)
        yield Ranks(rank, world, device, mesh)
    finally:
        dist.destroy_process_group()


def grid(settings: ParallelSettings, model: ModelConfig, world: int) -> int:
    """Shards of each replica, from the number of ranks; a UserError where the grid does not come out."""
    inner = settings.replicas * settings.tensor
    if world % inner:
        raise UserError(
            f"{world} ranks are no multiple of parallel.replicas x parallel.tensor = {inner}",
            where="parallel",
            fix="start another number of ranks with torchrun, or change parallel",
        )
    if settings.tensor > 1 and (model.qk_norm or model.kv_heads != model.n_heads):
        raise UserError(
            "parallel.tensor cuts neither normed queries and keys nor grouped heads",
            where="parallel",
            fix="set parallel.tensor to 1; the shards of each replica spread such a model too",
        )
    halves = {"n_heads": model.n_heads, "the MLP's width": model.mlp_hidden_size // 2}
    for what, size in halves.items():
        if size % settings.tensor:
            raise UserError(
                f"parallel.tensor is {settings.tensor}, no divisor of {what}, {size}",
                where="parallel",
                fix="choose a divisor of both",
            )
    return world // inner


def spread(model: Transformer, ranks: Ranks, settings: ParallelSettings, half: torch.dtype | None = None) -> None:
    """Apply the plan to a model on the meta device, whose weights come into being on ``ranks.device``, unset.

    With ``half`` forward and backward compute in that type, from weights and with reductions in float32.
    """
    if ranks.mesh is not None:
        if settings.tensor > 1:
            for block in model.blocks:
                plan = {name: style() for name, style in PLAN.items()}
                parallelize_module(block, ranks.mesh[TENSOR], plan)
        data = ranks.mesh[REPLICATE, SHARD]
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
        for block in model.blocks:
            fully_shard(block, mesh=data, mp_policy=policy, reshard_after_forward=settings.reshard_after_forward)
        fully_shard(model, mesh=data, mp_policy=policy, reshard_after_forward=False)
    model.to_empty(device=ranks.device)


def rows_by_rank(name: str, weight: Tensor, tensor: int) -> Tensor:
    """Rows of a fused projection in an order in which each of ``tensor`` equal pieces holds a piece of each part."""
    return _exchanged(weight, FUSED.get(name.split(".")[-2], 1), tensor)


def rows_by_part(name: str, weight: Tensor, tensor: int) -> Tensor:
    """The way back from ``rows_by_rank``."""
    return _exchanged(weight, tensor, FUSED.get(name.split(".")[-2], 1))


def _exchanged(weight: Tensor, outer: int, inner: int) -> Tensor:
    """Rows numbered (outer, inner, rest) in the order (inner, outer, rest)."""
    if outer == 1 or inner == 1:
        return weight
    return weight.view(outer, inner, -1, *weight.shape[1:]).transpose(0, 1).reshape(weight.shape)


@torch.no_grad()
def fill(weights: Iterable[tuple[str, Tensor]], source: Callable[[str], Tensor], tensor: int) -> None:
    """Give every weight its part of ``source(name)``, a whole tensor in a checkpoint's order; one at a time."""
    for name, weight in weights:
        whole = rows_by_rank(name, source(name), tensor)
        weight.copy_(part_of(whole.to(weight.dtype), weight))


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """``whole`` laid out over the ranks as ``like`` is. Nothing is sent: every rank has the whole."""
    if not isinstance(like, DTensor):
        return whole
    on_device = whole.to(like.device)
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def gathered(name: str, weight: Tensor, tensor: int) -> Tensor:
    """The whole of a weight in a checkpoint's order, on every rank; all ranks have to call this."""
    whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return rows_by_part(name, whole, tensor)
