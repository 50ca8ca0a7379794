"""First weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .model import Transformer

CUT = 3.0  # the normal distribution is cut at this many standard deviations


@torch.no_grad()
def mitchell(model: Transformer, seed: int) -> None:
    """OLMo v1's initialisation: truncated normals of standard deviation 1/sqrt(inputs), the two projections back into
    the residual stream also divided by sqrt(2 (layer + 1)) (Groeneveld et al. 2024, appendix; ``mitchell``).

    The numbers are drawn on the CPU, tensor by tensor in the order of the state dict, so that the same seed gives the
    same weights on every device.
    """
    config = model.config
    generator = torch.Generator().manual_seed(seed)

    def draw(weight: Tensor, deviation: float) -> None:
        value = torch.empty(weight.shape, dtype=torch.float32)
        nn.init.trunc_normal_(value, 0.0, deviation, -CUT * deviation, CUT * deviation, generator=generator)
        weight.copy_(value)

    of_width = 1 / math.sqrt(config.d_model)
    of_mlp = 1 / math.sqrt(config.mlp_hidden_size // 2)
    draw(model.transformer["wte"].weight, of_width)  # type: ignore[arg-type]
    for layer, block in enumerate(model.blocks):
        depth = math.sqrt(2 * (layer + 1))
        draw(block.att_proj.weight, of_width)
        draw(block.attn_out.weight, of_width / depth)
        draw(block.ff_proj.weight, of_width)
        draw(block.ff_out.weight, of_mlp / depth)
    if not config.weight_tying:
        draw(model.head, of_width)
