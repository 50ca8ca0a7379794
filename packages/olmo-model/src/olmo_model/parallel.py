"""Spreading a model over ranks: FSDP2 (``fully_shard``), hybrid sharding and tensor parallelism.

The model knows nothing of this. Ranks form a mesh of replicas x shards x tensor. Inside a tensor group every rank holds
some heads and a part of the MLP of each block, and all of it reads the same instances; a weight's rows are then in
another order than in a checkpoint (``rows_by_rank``), so that what one rank holds of a fused projection is whole heads
and pairs of up and gate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from torch.utils.checkpoint import checkpoint

from .config.model import Initialization, ModelConfig
from .config.parallel import ParallelSettings
from .config.training import Recomputed
from .errors import UserError
from .initialization import draw
from .model import Norm, Transformer
from .ranks import AXES, REPLICATE, SHARD, TENSOR, Ranks

RECOMPUTED: dict[Recomputed, Callable[[int], bool]] = {
    "whole_layer": lambda index: True,
    "one_in_two": lambda index: index % 2 == 0,
    "one_in_three": lambda index: index % 3 == 0,
    "one_in_four": lambda index: index % 4 == 0,
    "one_in_eight": lambda index: index % 8 == 0,
    "two_in_three": lambda index: index % 3 != 0,
    "three_in_four": lambda index: index % 4 != 0,
}  # by the number of the block, as allenai/OLMo (olmo/model.py) has them
FUSED = {"att_proj": 3, "ff_proj": 2}  # matrices in one: queries, keys, values; up, gate
PLAN: dict[str, Callable[[], ParallelStyle]] = {
    "att_proj": ColwiseParallel,
    "attn_out": RowwiseParallel,
    "ff_proj": ColwiseParallel,
    "ff_out": RowwiseParallel,
}


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


def on_grid(ranks: Ranks, settings: ParallelSettings, model: ModelConfig) -> Ranks:
    """The ranks with their mesh; unchanged where there is one process that no launcher started."""
    if ranks.files is None:
        return ranks
    kind, shards = ranks.device.type, grid(settings, model, ranks.world)
    mesh = init_device_mesh(kind, (settings.replicas, shards, settings.tensor), mesh_dim_names=AXES)
    line = init_device_mesh(kind, (ranks.world,)) if settings.tensor > 1 else None
    return dataclasses.replace(ranks, mesh=mesh, line=line)


def spread(model: Transformer, ranks: Ranks, settings: ParallelSettings, half: torch.dtype | None = None) -> None:
    """Apply the plan to a model on the meta device, whose weights come into being on ``ranks.device``, unset.

    With ``half`` the matrices of blocks are gathered in that type, which autocast would cast them to; norms, tables and
    what blocks are given stay in float32, as autocast leaves them in one process. Sums of gradients are in float32.
    """
    if ranks.mesh is not None:
        if settings.tensor > 1:
            for block in model.blocks:
                plan = {name: style() for name, style in PLAN.items()}
                parallelize_module(block, ranks.mesh[TENSOR], plan)
        data = ranks.mesh[REPLICATE, SHARD]
        cast = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        uncast = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        for block in model.blocks:
            norms: list[nn.Module] = [
                module for module in block.modules() if isinstance(module, Norm) and module.weight is not None
            ]
            if half is not None and norms:
                fully_shard(norms, mesh=data, mp_policy=uncast, reshard_after_forward=False)
            fully_shard(block, mesh=data, mp_policy=cast, reshard_after_forward=settings.reshard_after_forward)
        fully_shard(model, mesh=data, mp_policy=uncast, reshard_after_forward=False)
    model.to_empty(device=ranks.device)


def recompute(model: Transformer, which: Recomputed) -> None:
    """Let the blocks that the setting names forget what they computed and compute it again for the backward pass."""
    if which == "none":
        return
    for index, block in enumerate(model.blocks):
        if RECOMPUTED[which](index):
            block.computed_again = True
            # inside of what fully_shard hangs around the block: weights are gathered once for both
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]


def let_go(model: Transformer) -> None:
    """Let go of weights that a pass without gradients has gathered; what a rank holds of each is all that is left."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def reduce_over_replicas(model: Transformer, last: bool) -> None:
    """Whether the next backward pass also sums gradients over replicas, which only the last of a step has to."""
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(last)


@torch.no_grad()
def draw_first_weights(model: Transformer, initialization: Initialization, seed: int, tensor: int) -> None:
    """Give a model that is spread the weights that ``initialize`` gives a whole one; each rank draws its own rows."""
    for name, weight in model.named_parameters():
        local = weight.to_local() if isinstance(weight, DTensor) else weight
        first = _first_row(weight)
        if first is not None:
            columns = weight.shape[1:].numel()
            draw(local, name, model.config, initialization, seed, first=first * columns)
            continue
        whole = torch.empty(weight.shape, dtype=weight.dtype)
        draw(whole, name, model.config, initialization, seed)
        weight.copy_(part_of(rows_by_rank(name, whole, tensor), weight))


def _first_row(weight: Tensor) -> int | None:
    """Where the rows that this rank holds of a weight begin; None where they do not follow each other."""
    if not isinstance(weight, DTensor):
        return 0
    first = 0
    for axis, placement in enumerate(weight.placements):
        if placement.is_replicate():
            continue
        if axis != weight.device_mesh.mesh_dim_names.index(SHARD) or not placement.is_shard(0):  # type: ignore[union-attr]
            return None
        rows = -(-weight.shape[0] // weight.device_mesh.size(axis))
        first = min(weight.shape[0], rows * weight.device_mesh.get_local_rank(axis))
    return first


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


@torch.no_grad()
def in_checkpoint_order(name: str, value: Tensor, ranks: Ranks) -> Tensor:
    """A value kept for a weight (as large as it, or a scalar) as a checkpoint holds it: with the rows in their order.

    It is sharded as the weight is, or, where tensor parallelism has exchanged rows, over all ranks.
    """
    if ranks.line is None or not isinstance(value, DTensor):
        return value
    whole = gathered(name, value, ranks.tensor)
    return distribute_tensor(whole, ranks.line, [Shard(0)], src_data_rank=None)


@torch.no_grad()
def in_ranks_order(name: str, value: Tensor, weight: Tensor, ranks: Ranks) -> Tensor:
    """The way back from ``in_checkpoint_order``, for a value of ``weight``."""
    if ranks.line is None or not isinstance(value, DTensor):
        return value
    return part_of(rows_by_rank(name, value.full_tensor(), ranks.tensor), weight)
