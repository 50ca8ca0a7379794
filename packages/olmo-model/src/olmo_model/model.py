"""The transformer of OLMo v1 (Groeneveld et al. 2024, section 2) and of OLMo 2 (OLMo Team 2024, section 3), and
nothing else.

Dimensions: B sequences, T positions, D width, H heads, G heads of keys and values, K head size, M width of the MLP,
V rows of the vocabulary.
Weights carry OLMo's own names (``transformer.blocks.0.att_proj.weight``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config.model import ModelConfig
from .kernels import clip, computed_again, layer_norm, rms_norm, rotated_heads, swiglu, tied

Read = TypeVar("Read")


def rotary_tables(config: ModelConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles, each [max_sequence_length, K / 2] in float32 (Su et al. 2021)."""
    even = torch.arange(0, config.head_size, 2, device=device, dtype=torch.float32)
    frequencies = 1.0 / (config.rope_theta ** (even / config.head_size))
    angles = torch.outer(torch.arange(config.max_sequence_length, device=device, dtype=torch.float32), frequencies)
    return angles.cos(), angles.sin()


class Norm(nn.Module):
    """The norm that the configuration names, over the last dimension: without a weight, or with one."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.size = size
        self.eps = config.norm_eps
        self.weight = nn.Parameter(torch.ones(size)) if config.norm == "rms_norm" else None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return layer_norm(x, self.eps)
        return rms_norm(x, self.weight, self.eps)


class Block(nn.Module):
    """Attention and MLP, each added to the residual stream; normed is what they read or, with norm_after, give."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, M = config.d_model, config.mlp_hidden_size // 2
        self.config = config
        self.computed_again = False  # whether all of it is, for the backward pass
        self.att_proj = nn.Linear(D, sum(config.projections), bias=False)  # rows: queries, keys, values
        self.attn_out = nn.Linear(D, D, bias=False)
        self.ff_proj = nn.Linear(D, 2 * M, bias=False)  # rows: up, gate
        self.ff_out = nn.Linear(M, D, bias=False)
        self.attn_norm = Norm(config, D)
        self.ff_norm = Norm(config, D)
        self.q_norm = Norm(config, config.projections[0]) if config.qk_norm else None
        self.k_norm = Norm(config, config.projections[1]) if config.qk_norm else None

    def project(
        self, projection: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor] | None, x: Tensor
    ) -> Tensor:
        """``projection(before(x))``, for whose backward pass ``x`` is kept and not ``before(x)`` as well."""
        read = x if before is None else before(x)
        keeps_result = before is None or (isinstance(before, Norm) and before.weight is None)
        if keeps_result or self.computed_again or not torch.is_grad_enabled():
            return projection(read)
        assert before is not None
        with computed_again(read, before, x):
            return projection(read)

    def attention(self, x: Tensor, norm: Norm | None, cosine: Tensor, sine: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, D] to [B, T, D], ``x`` read through ``norm``."""
        B, T, _ = x.shape
        config = self.config
        qkv = self.project(self.att_proj, norm, x)  # [B, T, (H + 2 G) K]
        if config.clip_qkv is not None:
            qkv = clip(qkv, config.clip_qkv)
        if self.q_norm is not None and self.k_norm is not None:
            q, k, v = torch.split(qkv, list(config.projections), dim=-1)
            qkv = torch.cat((self.q_norm(q), self.k_norm(k), v), dim=-1)
        # of the rows that are here: with tensor parallelism those of a part of the heads
        here = qkv.shape[-1] / sum(config.projections)
        heads, kv_heads = round(config.n_heads * here), round(config.kv_heads * here)
        q, k, v = rotated_heads(qkv, cosine, sine, heads, kv_heads)
        attended = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=heads != kv_heads
        )  # [B, H, T, K]
        out: Tensor = self.attn_out(attended.transpose(1, 2).reshape(B, T, -1))
        return out

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]; the tables hold the T positions' angles, ``mask`` [B, 1, T, T] is True where a
        position (the last but one dimension) sees another, each all up to itself where there is none."""
        after = self.config.norm_after
        attended = self.attention(x, None if after else self.attn_norm, cosine, sine, mask)
        x = x + (self.attn_norm(attended) if after else attended)
        inner = self.project(self.ff_proj, None if after else self.ff_norm, x)  # [B, T, 2 M]
        out = self.project(self.ff_out, swiglu, inner)
        if after:
            out = self.ff_norm(out)
        return x + out


class Transformer(nn.Module):
    """Decoder-only language model. ``forward`` gives logits, or whatever else is read out of the last hidden state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                # given, not drawn: drawing on the meta device would load torch's compiler (seconds)
                "wte": nn.Embedding(
                    config.embedding_size,
                    config.d_model,
                    _weight=torch.empty(config.embedding_size, config.d_model),
                ),
                "ln_f": Norm(config, config.d_model),
                "blocks": nn.ModuleList(Block(config) for _ in range(config.n_layers)),
            }
        )
        if not config.weight_tying:
            self.transformer["ff_out"] = nn.Linear(config.d_model, config.embedding_size, bias=False)
        self.tables: tuple[Tensor, Tensor] | None = None  # no buffers: they are neither saved nor cast

    @property
    def blocks(self) -> Iterable[Block]:
        return cast(Iterable[Block], self.transformer["blocks"])

    @property
    def head(self) -> Tensor:
        """Weights of the output head, [V, D]."""
        weight = self.transformer["wte" if self.config.weight_tying else "ff_out"].weight
        assert isinstance(weight, Tensor)
        return weight

    def hidden(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """What the head reads, [B, T, D], of embedded ids [B, T, D]. With ``documents`` [B, T], numbers of the
        documents that the positions belong to, none sees what is not of its own."""
        if self.tables is None or self.tables[0].device != x.device:
            self.tables = rotary_tables(self.config, x.device)
        cosine, sine = (table[: x.shape[1]] for table in self.tables)
        mask = None
        if documents is not None:
            same = documents.unsqueeze(2) == documents.unsqueeze(1)
            mask = same.tril().unsqueeze(1)  # [B, 1, T, T]
        for block in self.blocks:
            x = block(x, cosine, sine, mask)
        out = self.transformer["ln_f"](x)
        assert isinstance(out, Tensor)
        return out

    def forward(
        self,
        input_ids: Tensor,
        read_out: Callable[[Tensor, Tensor], Read] = F.linear,  # type: ignore[assignment]
        documents: Tensor | None = None,
    ) -> Read:
        """Logits of the next token at every position: [B, T] ids to [B, T, V]; or ``read_out(hidden, head)`` of
        ``hidden`` [B, T, D] and ``head`` [V, D]. ``documents`` as in ``hidden``.

        Whoever wants less than all logits reads out here and not behind the model's back: a sharded head is whole only
        while the model runs.
        """
        if self.config.weight_tying:
            embedded, head = tied(input_ids, self.head)
        else:
            embedded, head = self.transformer["wte"](input_ids), self.head
        return read_out(self.hidden(embedded, documents), head)
