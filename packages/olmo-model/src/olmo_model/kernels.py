"""Pieces of the block with their gradients written out, so that they read and write memory as little as possible.

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


class _RootMeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normed = (wide * scale).to(x.dtype)
        ctx.save_for_backward(normed, scale, weight)
        out: Tensor = normed * weight.to(x.dtype)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, scale, weight = ctx.saved_tensors
        # with n = x * scale: dx = scale * (g w - n * mean(g w n)), and dw = the sum of g n over all positions
        by_normed = gradient.float() * normed.float()
        width = normed.shape[-1]
        for_weight = by_normed.reshape(-1, width).sum(0).to(weight.dtype)
        mean = torch.mv(by_normed.view(-1, width), weight.float()).view_as(scale).div_(width)
        out = (gradient.float() * weight.float()).addcmul_(normed.float(), mean, value=-1).mul_(scale)
        return out.to(gradient.dtype), for_weight, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last dimension, the norm in float32, the rest and the result in
    the type of ``x`` [..., D]; ``weight`` [D] (Zhang and Sennrich 2019)."""
    return _RootMeanSquare.apply(x, weight, eps)  # type: ignore[no-any-return, no-untyped-call]


class _Tied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(ids)
        ctx.shape = weight.shape
        ctx.set_materialize_grads(False)
        return torch.nn.functional.embedding(ids, weight), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, for_embedded: Tensor | None, for_head: Tensor | None) -> tuple[None, Tensor | None]:
        (ids,) = ctx.saved_tensors
        if for_embedded is None:
            return None, for_head
        if for_head is None:
            for_head = for_embedded.new_zeros(ctx.shape)
        # sums in a fixed order on every device, unlike index_add_
        return None, for_head.index_put_((ids,), for_embedded.to(for_head.dtype), accumulate=True)


def tied(ids: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of ``weight`` [V, D] for ``ids`` [B, T], [B, T, D], and ``weight`` itself for the output head.

    What the rows give to the gradient is added to what the head gives, where it lies: no second [V, D] is made.
    """
    return _Tied.apply(ids, weight)  # type: ignore[no-any-return, no-untyped-call]
