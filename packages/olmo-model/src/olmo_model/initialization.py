"""First weights: the same for a seed on any device, any number of ranks and under any sharding.

Every tensor is drawn from a stream of its own, seeded by (seed, name), and the number at each place of it depends on
that place alone. So a rank draws its tensors, or its rows of them, and nothing else; the memory that drawing takes
beside the weights is a block of 65,536 numbers.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

from .config.model import Initialization, ModelConfig
from .model import Transformer

BLOCK = 1 << 16  # numbers that are computed together
CUT = 3.0  # of mitchell and full_megatron, in standard deviations


def deviation(name: str, config: ModelConfig, initialization: Initialization) -> float | None:
    """Standard deviation, before it is cut, of the weight with this native name; None for a norm's, which begins as 1.

    ``mitchell``: 1/sqrt(inputs), the two projections back into the residual stream also divided by sqrt(2 (layer + 1))
    (Groeneveld et al. 2024, appendix). ``normal``: init_std everywhere; ``normal_v1``: the MLP's output divided by
    sqrt(2 n_layers) (allenai/OLMo v0.2.5). ``full_megatron``: init_std, the two projections back divided by
    sqrt(2 n_layers), an untied head 1/sqrt(d_model) (Shoeybi et al. 2019; allenai/OLMo, olmo/model.py).
    """
    parts = name.split(".")
    kind = parts[-2]
    if kind.endswith("norm") or kind == "ln_f":
        return None
    in_block = parts[1] == "blocks"
    head = kind == "ff_out" and not in_block
    back = in_block and kind in ("attn_out", "ff_out")
    depth = math.sqrt(2 * config.n_layers)
    if initialization.init_fn == "mitchell":
        inputs = config.mlp_hidden_size // 2 if in_block and kind == "ff_out" else config.d_model
        return 1 / math.sqrt(inputs) / (math.sqrt(2 * (int(parts[2]) + 1)) if back else 1)
    std = initialization.init_std
    assert std is not None
    if initialization.init_fn == "normal_v1":
        return std / depth if in_block and kind == "ff_out" else std
    if initialization.init_fn == "full_megatron":
        return 1 / math.sqrt(config.d_model) if head else std / depth if back else std
    return std


@torch.no_grad()
def draw(
    out: Tensor, name: str, config: ModelConfig, initialization: Initialization, seed: int, *, first: int = 0
) -> None:
    """Fill ``out``, a contiguous part of the weight with this native name, with its first numbers.

    ``first`` is the place of the part's first number in the whole weight, counted along its rows: ``row * columns`` for
    a rank that holds the rows from ``row`` on. The numbers are made in float64 on the CPU and rounded to out's type.
    """
    spread = deviation(name, config, initialization)
    if spread is None:
        out.fill_(1.0)
        return
    cut = initialization.init_cutoff_factor
    if cut is None and initialization.init_fn in ("mitchell", "full_megatron"):
        cut = CUT
    flat = out.view(-1)
    end = first + flat.numel()
    for start in range(first - first % BLOCK, end, BLOCK):
        values = _standard_normal(name, seed, start, cut).mul_(spread)
        left, right = max(first, start), min(end, start + BLOCK)
        flat[left - first : right - first].copy_(values[left - start : right - start])


def _standard_normal(name: str, seed: int, start: int, cut: float | None) -> Tensor:
    """A block of normal numbers, cut at ``cut``, from place ``start`` of the stream, through the inverse of the
    distribution: one number of the stream each, so that any place can be gone to."""
    words = np.frombuffer(hashlib.sha256(f"{seed} {name}".encode()).digest(), dtype="<u4")
    generator = np.random.PCG64(np.random.SeedSequence(words.tolist()))
    generator.advance(start)
    uniform = ((generator.random_raw(BLOCK) >> 11) + 0.5) * 2.0**-53  # between 0 and 1, neither reached
    inside = 1.0 if cut is None else math.erf(cut / math.sqrt(2))
    return torch.from_numpy((2 * uniform - 1) * inside).erfinv_().mul_(math.sqrt(2))


@torch.no_grad()
def initialize(model: Transformer, initialization: Initialization, seed: int) -> None:
    """Draw every weight of a whole model, wherever it lies."""
    for name, weight in model.named_parameters():
        draw(weight, name, model.config, initialization, seed)
