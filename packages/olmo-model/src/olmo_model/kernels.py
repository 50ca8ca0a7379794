"""Pieces of the block with their gradients written out, so that they read and write memory as little as possible.

On a processor the small models are limited by memory traffic as much as by arithmetic; autograd's own version of these
lines makes about three times the temporaries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed, _, scale = torch.native_layer_norm(wide, x.shape[-1:], None, None, eps)
        normed = normed.to(dtype)
        ctx.save_for_backward(normed, scale)  # the projection keeps the normed values too, and nothing the others
        ctx.dtype = x.dtype
        return normed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        normed, scale = ctx.saved_tensors
        wide, gradient = normed.to(scale.dtype), gradient.to(scale.dtype)
        mean, one = torch.zeros_like(scale), torch.ones_like(scale)  # of what is normed already
        out: Tensor = torch.ops.aten.native_layer_norm_backward(
            gradient, wide, normed.shape[-1:], mean, one, None, None, [True, False, False]
        )[0]
        return out.mul_(scale).to(ctx.dtype), None, None


def layer_norm(x: Tensor, eps: float) -> Tensor:
    """``(x - mean) / sqrt(variance + eps)`` over the last dimension (Ba et al. 2016), without a weight, computed in
    float32 at least; under autocast in its type, which the projections read. Keeps the result alone."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return _LayerNorm.apply(x, eps, dtype)  # type: ignore[no-any-return, no-untyped-call]


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        out = x.clamp(-bound, bound)
        ctx.save_for_backward(out == x)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (within,) = ctx.saved_tensors
        return gradient * within, None


def clip(x: Tensor, bound: float) -> Tensor:
    """``x`` between ``-bound`` and ``bound``; keeps a byte a value."""
    return _Clip.apply(x, bound)  # type: ignore[no-any-return, no-untyped-call]


class _RotatedHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, cosine: Tensor, sine: Tensor, heads: int, kv_heads: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cosine, sine)
        parts = [heads + kv_heads, kv_heads]
        # laid out as qkv is, so that what attention gives lies as its projection reads it
        out = torch.empty_like(qkv, memory_format=torch.contiguous_format)
        turned, values = torch.split(_by_head(out, sum(parts)), parts, dim=1)
        read, read_values = torch.split(_by_head(qkv, sum(parts)), parts, dim=1)
        _rotate_into(turned, read, cosine, sine)
        values.copy_(read_values)
        return turned[:, :heads], turned[:, heads:], values

    @staticmethod
    def backward(ctx: Any, for_q: Tensor, for_k: Tensor, for_v: Tensor) -> tuple[Tensor, None, None, None, None]:
        cosine, sine = ctx.saved_tensors
        parts = [for_q.shape[1], for_k.shape[1], for_v.shape[1]]
        B, _, T, K = for_q.shape
        out = for_q.new_empty(B, T, sum(parts) * K)
        q, k, v = torch.split(_by_head(out, sum(parts)), parts, dim=1)
        _rotate_into(q, for_q, cosine, -sine)
        _rotate_into(k, for_k, cosine, -sine)
        v.copy_(for_v)
        return out, None, None, None, None


def _by_head(x: Tensor, heads: int) -> Tensor:
    """A view of [B, T, heads K]: [B, heads, T, K]."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def _rotate_into(out: Tensor, x: Tensor, cosine: Tensor, sine: Tensor) -> None:
    first, second = x.float().chunk(2, dim=-1)
    wide = out if out.dtype == torch.float32 else torch.empty_like(out, dtype=torch.float32)
    left, right = wide.chunk(2, dim=-1)
    torch.mul(first, cosine, out=left).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=right).addcmul_(first, sine)
    if wide is not out:
        out.copy_(wide)


def rotated_heads(
    qkv: Tensor, cosine: Tensor, sine: Tensor, heads: int, kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, H, T, K], keys and values [B, G, T, K] of ``qkv`` [B, T, (H + 2 G) K], of which nothing is kept.

    The pairs (x[i], x[i + K/2]) of queries and keys are turned by their position's angles (``cosine``, ``sine``
    [T, K / 2]), in float32, back in the type of ``qkv`` (Su et al. 2021; the halves form).
    """
    return _RotatedHeads.apply(qkv, cosine, sine, heads, kv_heads)  # type: ignore[no-any-return, no-untyped-call]


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
        ctx.save_for_backward(x, scale, weight)
        out: Tensor = (wide * scale).to(x.dtype) * weight.to(x.dtype)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale, weight = ctx.saved_tensors
        normed = (x.float() * scale).to(x.dtype).float()
        # with n = x * scale: dx = scale * (g w - n * mean(g w n)), and dw = the sum of g n over all positions
        by_normed = gradient.float() * normed
        width = normed.shape[-1]
        for_weight = by_normed.reshape(-1, width).sum(0).to(weight.dtype)
        mean = torch.mv(by_normed.view(-1, width), weight.float()).view_as(scale).div_(width)
        out = (gradient.float() * weight.float()).addcmul_(normed, mean, value=-1).mul_(scale)
        return out.to(gradient.dtype), for_weight, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last dimension, the norm in float32, the rest and the result in
    the type of ``x`` [..., D]; ``weight`` [D] (Zhang and Sennrich 2019)."""
    return _RootMeanSquare.apply(x, weight, eps)  # type: ignore[no-any-return, no-untyped-call]


def computed_again(result: Tensor, function: Callable[[Tensor], Tensor], x: Tensor) -> saved_tensors_hooks:
    """Within it autograd keeps ``x`` in place of ``result = function(x)``, which it computes again when it is needed.

    Where ``result`` is part of a DTensor it is kept as it is. Hooks of this kind do not nest: inside of a checkpoint
    (``torch.utils.checkpoint``) the inner ones would keep what the outer ones let go.
    """
    place, numbers = result.data_ptr(), result.numel()  # and not the tensor, which would keep it

    def pack(kept: Tensor) -> Any:
        same = type(kept) is Tensor and kept.data_ptr() == place and kept.numel() == numbers
        return (kept.size(), kept.stride()) if same else kept

    def unpack(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        with torch.no_grad():
            return function(x).as_strided(*kept)

    return saved_tensors_hooks(pack, unpack)


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
