"""How much memory a rank takes, from shapes alone, and which settings would take less."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from .config.model import ModelConfig
from .config.optimization import OptimizerSettings
from .config.parallel import ParallelSettings
from .config.training import Recomputed
from .errors import UserError
from .loss import CHUNK_ROWS
from .parallel import RECOMPUTED
from .plan import Plan
from .presets import parameter_count

FP32, BF16 = 4, 2
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# On a processor, as measured: pages that libraries touch, and what the C library leaves unused between tensors that
# come and go, as a share of these.
LIBRARIES, UNUSED = 40_000_000, 0.4
RECOMPUTED_AT_ONCE = 2  # blocks: the one that is computed again and the one before it, as measured
UNITS_GATHERED = 2  # blocks whose weights are whole at the same time: the one at work and the next, on its way


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What decides how much a rank takes, apart from the model: ``ranks`` share the work as ``parallel`` says, on
    devices of a kind (``cpu`` or ``cuda``); a rank computes ``micro_batches`` of ``micro_batch`` instances a step."""

    device: str
    half: bool
    ranks: int
    parallel: ParallelSettings
    sequence_length: int
    micro_batch: int
    micro_batches: int
    recomputed: Recomputed
    optimizer: OptimizerSettings
    checkpoint_copy: bool


def layout_of(plan: Plan, ranks: int, device: str, *, half: bool) -> Layout:
    """The layout of a plan that was made for so many ranks."""
    config = plan.config
    of_rank = config.global_batch_size // (ranks // config.parallel.tensor)
    return Layout(
        device=device,
        half=half,
        ranks=ranks,
        parallel=config.parallel,
        sequence_length=plan.sequence_length,
        micro_batch=plan.micro_batch_size,
        micro_batches=of_rank // plan.micro_batch_size,
        recomputed=config.activation_checkpointing,
        optimizer=config.optimizer,
        checkpoint_copy=config.checkpoint.asynchronous and device == "cpu",
    )


def optimizer_bytes(model: ModelConfig, settings: OptimizerSettings) -> int:
    """Of the whole optimizer's state: two moments a weight in float32, one with LionW, and with Muon for matrices."""
    parameters = parameter_count(model)
    if settings.name == "adamw":
        return 2 * FP32 * parameters
    if settings.name == "lionw":
        return FP32 * parameters
    return FP32 * parameters + FP32 * (parameters - model.n_layers * block_matrices(model))


def block_matrices(model: ModelConfig) -> int:
    """Weights of the matrices of a block."""
    D = model.d_model
    return D * (sum(model.projections) + D) + D * model.mlp_hidden_size * 3 // 2


def memory_of_rank(model: ModelConfig, layout: Layout) -> dict[str, int]:
    """Bytes of each part at the moment that takes most, the backward pass of the last block, and their ``total``.

    Weights, gradients and optimizer are in float32 and shared by the shards and, those of blocks, by the tensor group.
    ``activations`` are what is kept for the backward pass; ``working`` is what comes and goes: logits of a chunk,
    whole gradients of the tables before they are added up, gradients inside a block, gathered weights. ``checkpoint``
    is the copy of weights and optimizer that is written beside the training, on a processor. ``allocator`` is what is
    taken there and holds no tensor. The interpreter is left out.
    """
    spread = layout.parallel
    shards = layout.ranks // (spread.replicas * spread.tensor)
    parameters = parameter_count(model)
    matrices = model.n_layers * block_matrices(model)
    mine = (matrices / spread.tensor + parameters - matrices) / shards
    of_rank = mine / parameters
    optimizer = optimizer_bytes(model, layout.optimizer) * of_rank
    parts = {
        "weights": FP32 * mine,
        "gradients": FP32 * mine,
        "optimizer": optimizer,
        "activations": _activations(model, layout),
        "working": _working(model, layout),
    }
    if layout.half and layout.ranks == 1:
        parts["weights"] += BF16 * (matrices + model.embedding_size * model.d_model)  # what autocast has cast
    if layout.device == "cpu":
        parts["allocator"] = LIBRARIES + UNUSED * (parts["activations"] + parts["working"])
    if layout.checkpoint_copy:
        parts["checkpoint"] = FP32 * mine + optimizer
    whole = {name: round(size) for name, size in parts.items()}
    return whole | {"total": sum(whole.values())}


def _activations(model: ModelConfig, layout: Layout) -> int:
    """Kept for the backward pass (``kernels``): by a block what its projections read, queries, keys and values as
    attention reads them, what it gives, up and gate. A norm with a weight keeps its input, and the projection behind it
    its own copy where that is a cast or a shard; norms behind a projection keep what they are given, too. A tensor
    group keeps the product of up and gate as well. A block that is computed again keeps its input until then."""
    tokens = layout.micro_batch * layout.sequence_length
    number = BF16 if layout.half else FP32
    tensor = layout.parallel.tensor
    projections = sum(model.projections)
    inside = number * (projections * (2 if model.qk_norm else 1) + model.d_model + model.mlp_hidden_size)
    if tensor > 1:
        inside += number * model.mlp_hidden_size // 2
    if model.clip_qkv is not None:
        inside += projections  # a byte each
    normed = number
    if model.norm_after:
        normed += number
    elif model.norm == "rms_norm":
        normed = FP32 + (number if layout.half or tensor > 1 else 0)
    block = 2 * model.d_model * normed + inside // tensor
    block += FP32 * model.n_heads // tensor  # normalizers of attention
    again = 0 if layout.recomputed == "none" else sum(map(RECOMPUTED[layout.recomputed], range(model.n_layers)))
    kept = (
        (model.n_layers - again) * block + again * FP32 * model.d_model + (RECOMPUTED_AT_ONCE * block if again else 0)
    )
    return tokens * (kept + model.d_model * (FP32 + 2 * number))  # the last: input, norm and gradient of the head's


def _working(model: ModelConfig, layout: Layout) -> int:
    tokens = layout.micro_batch * layout.sequence_length
    number = BF16 if layout.half else FP32
    table = model.embedding_size * model.d_model
    # float32 logits of a chunk; with bfloat16 also those before, and what they were cast from and are cast to
    chunk = CHUNK_ROWS[layout.device]
    rows = min(tokens, chunk) + (chunk if layout.half and tokens > chunk else 0)
    logits = rows * model.embedding_size * (FP32 + (2 * BF16 if layout.half else 0))
    inside = tokens * number * (2 * model.d_model + 5 * model.mlp_hidden_size // 2 // layout.parallel.tensor)
    # the head's gradient of a micro-batch, beside the sum of those before
    tables = FP32 * table if layout.micro_batches > 1 else 0
    gathered = 0
    if layout.ranks > 1:
        block = block_matrices(model) // layout.parallel.tensor
        rest = parameter_count(model) - model.n_layers * block_matrices(model)
        whole = UNITS_GATHERED if layout.parallel.reshard_after_forward else model.n_layers
        gathered = FP32 * rest + number * whole * block + FP32 * (rest + UNITS_GATHERED * block)  # weights; gradients
        gathered += FP32 * max(rest, block)  # all of a unit in a row, as ranks send it to each other
    return max(logits, inside) + tables + gathered


def machine_memory() -> int:
    """Bytes of memory that this machine, or the container that we run in, has."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in CGROUP_LIMITS:
        path = Path(name)
        if path.is_file() and path.read_text().strip().isdigit():
            found.append(int(path.read_text()))
    return min(found)


def memory_for(device: torch.device, ranks: int) -> tuple[int, str]:
    """Bytes for each of the ranks of this machine, and a word for where."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory, "on the device"
    share = "in this machine" if ranks == 1 else f"for each of {ranks} ranks that share this machine"
    return machine_memory() // ranks, share


def refuse_impossible(model: ModelConfig, layout: Layout, available: int, where: str) -> None:
    """A UserError where weights, gradients and optimizer alone take more than there is."""
    parts = memory_of_rank(model, layout)
    needed = sum(parts[name] for name in ("weights", "gradients", "optimizer"))
    if needed > available:
        raise UserError(
            f"weights, gradients and optimizer take {needed / 1e9:,.2f} GB of memory on a rank, and there are "
            f"{available / 1e9:,.2f} GB {where}",
            where="configuration",
            fix="choose a smaller model, or more or larger devices (`olmo-model plan` reckons)",
        )


def refuse_too_large(model: ModelConfig, layout: Layout, available: int, where: str) -> None:
    """A UserError where a rank takes more than ``available`` bytes, with the settings that would fit."""
    needed = memory_of_rank(model, layout)["total"]
    if needed <= available:
        return
    fitting = (text for text, other in _smaller(layout) if memory_of_rank(model, other)["total"] <= available)
    settings = next(fitting, None)
    raise UserError(
        f"a rank takes about {needed / 1e9:,.2f} GB of memory, and there are {available / 1e9:,.2f} GB {where}",
        where="configuration",
        fix="choose a smaller model, or devices with more memory" if settings is None else f"{settings} would fit",
    )


def _smaller(layout: Layout) -> Iterator[tuple[str, Layout]]:
    """Layouts that compute the same and take less memory, those that cost least first. Ranks on processors share one
    machine's memory, so that more of them save nothing."""
    sizes = [size for size in range(layout.micro_batch, 0, -1) if layout.micro_batch % size == 0]
    instances = layout.micro_batch * layout.micro_batches
    again: tuple[tuple[Recomputed, str], ...] = (
        (layout.recomputed, ""),
        ("whole_layer", "activation_checkpointing whole_layer and "),
    )
    for recomputed, text in again:
        for size in sizes:
            smaller = dataclasses.replace(
                layout, micro_batch=size, micro_batches=instances // size, recomputed=recomputed
            )
            yield f"{text}micro_batch_size {size}", smaller
    factor = 2
    while layout.device != "cpu" and instances % factor == 0:
        for recomputed, text in again:
            more = dataclasses.replace(
                layout,
                ranks=layout.ranks * factor,
                micro_batch=1,
                micro_batches=instances // factor,
                recomputed=recomputed,
            )
            yield f"{more.ranks} ranks, {text}micro_batch_size 1", more
        factor *= 2
