"""Two pieces of the block with their gradients written out, so that they read and write memory as little as possible.

On a processor the small models are limited by memory traffic as much as by arithmetic; autograd's own version of these
lines makes about three times the temporaries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotated(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _rotated(gradient, cosine, -sine), None, None


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.float().chunk(2, dim=-1)
    out = torch.empty_like(x, memory_format=torch.contiguous_format, dtype=torch.float32)
    left, right = out.chunk(2, dim=-1)
    torch.mul(first, cosine, out=left).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=right).addcmul_(first, sine)
    return out.to(x.dtype)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + K/2]) by their position's angles, in float32, back in the type of ``x``.

    ``x`` [..., T, K]; ``cosine``, ``sine`` [T, K / 2] (Su et al. 2021; the halves form).
    """
    return _Rotate.apply(x, cosine, sine)  # type: ignore[no-any-return, no-untyped-call]


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        up, gate = x.chunk(2, dim=-1)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        up, gate = x.chunk(2, dim=-1)
        out = torch.empty_like(x)
        for_up, for_gate = out.chunk(2, dim=-1)
        torch.mul(gradient, torch.nn.functional.silu(gate), out=for_up)
        torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=for_gate)
        return out


def swiglu(x: Tensor) -> Tensor:
    """``silu(gate) * up`` where ``x`` [..., 2M] holds up and gate side by side: [..., M] (Shazeer 2020)."""
    return _Swiglu.apply(x)  # type: ignore[no-any-return, no-untyped-call]
