"""A model's weights arranged for generating text: logits of the next token, with keys and values kept in a cache.

Dimensions as in ``model``; N are tokens of several prompts in a row, C the positions of the cache.

At one sequence a step takes as long as reading the weights, so nothing else may cost: the cache lies ready and is
written in place, sequences of different lengths need one mask for all blocks, the head reads last positions only.
Prompts are read without padding, laid end to end. For several sequences the weights are packed once for that many rows,
where torch has MKL: its product of few rows otherwise packs them anew each time, which costs as much as the product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .config.model import ModelConfig
from .model import Transformer, rotary_tables

PACKED_FROM = 3  # sequences; fewer are limited by reading the weights either way
ROWS_AT_ONCE = 1024  # tokens of prompts in one pass, unless one prompt is longer


class Projection:
    """``x W^T``, with a copy of W packed for a number of rows where that helps."""

    def __init__(self, weight: Tensor, rows: int) -> None:
        """``weight`` [out, in]; ``rows`` of the products to come."""
        self.weight = weight
        self.rows = rows
        self.packed: Tensor | None = None
        if rows >= PACKED_FROM and weight.device.type == "cpu" and weight.dtype == torch.float32 and has_packing():
            self.packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)

    def __call__(self, x: Tensor) -> Tensor:
        """[n, in] to [n, out]."""
        n = len(x)
        if self.packed is None or not PACKED_FROM <= n <= self.rows:
            return F.linear(x, self.weight)
        x = x if n == self.rows else F.pad(x, (0, 0, 0, self.rows - n))  # costs less than a product that is not packed
        out: Tensor = torch.ops.mkl._mkl_linear(x, self.packed, self.weight, None, self.rows)
        return out[:n]


def has_packing() -> bool:
    """Whether this torch has MKL's packed products."""
    return torch._C.has_mkl and hasattr(torch.ops.mkl, "_mkl_linear")


@dataclass(frozen=True)
class Layer:
    """One block: its weights, and the keys and values of all sequences, each [rows G, C, K]."""

    attn_norm: Callable[[Tensor], Tensor]
    ff_norm: Callable[[Tensor], Tensor]
    q_norm: Callable[[Tensor], Tensor] | None
    k_norm: Callable[[Tensor], Tensor] | None
    att_proj: Projection
    attn_out: Projection
    ff_proj: Projection
    ff_out: Projection
    keys: Tensor
    values: Tensor


class Decoder:
    """A model with room for ``rows`` sequences of ``capacity`` positions. Sequences stand in places 0 to rows - 1;
    ``lengths`` says how many positions of each are in the cache."""

    def __init__(self, model: Transformer, rows: int, capacity: int, vocab_size: int | None = None) -> None:
        """``vocab_size`` is the tokenizer's: there are logits for ids below it only. The model's own weights are used
        where they lie; packed copies take the same memory again where there are 3 rows or more."""
        config = self.config = model.config
        self.rows, self.capacity = rows, min(capacity, config.max_sequence_length)
        self.lengths = [0] * rows
        weights = model.state_dict()
        wte = weights["transformer.wte.weight"]
        self.embedding, self.device = wte, wte.device
        self.head = Projection(model.head.detach()[: vocab_size or config.vocab_size], rows)
        self.norm = _norm(config, config.d_model, weights.get("transformer.ln_f.weight"))
        cosine, sine = (table[: self.capacity] for table in rotary_tables(config, self.device))
        self.cosine = torch.cat((cosine, cosine), dim=-1).unsqueeze(1)  # [C, 1, K]
        self.sine = torch.cat((-sine, sine), dim=-1).unsqueeze(1)
        self.unmasked = wte.new_zeros(1, 1, 1)  # stands where a mask would, and is not read
        self.layers = [self._layer(index, weights) for index in range(config.n_layers)]
        heads = torch.arange(config.kv_heads, device=self.device)
        self.first = (torch.arange(rows, device=self.device).unsqueeze(1) * config.kv_heads + heads) * self.capacity

    def _layer(self, index: int, weights: dict[str, Tensor]) -> Layer:
        config = self.config
        stem = f"transformer.blocks.{index}."
        queries, keys, _ = config.projections
        shape = (self.rows * config.kv_heads, self.capacity, config.head_size)
        return Layer(
            attn_norm=_norm(config, config.d_model, weights.get(stem + "attn_norm.weight")),
            ff_norm=_norm(config, config.d_model, weights.get(stem + "ff_norm.weight")),
            q_norm=_norm(config, queries, weights[stem + "q_norm.weight"]) if config.qk_norm else None,
            k_norm=_norm(config, keys, weights[stem + "k_norm.weight"]) if config.qk_norm else None,
            att_proj=Projection(weights[stem + "att_proj.weight"], self.rows),
            attn_out=Projection(weights[stem + "attn_out.weight"], self.rows),
            ff_proj=Projection(weights[stem + "ff_proj.weight"], self.rows),
            ff_out=Projection(weights[stem + "ff_out.weight"], self.rows),
            keys=self.embedding.new_zeros(shape),
            values=self.embedding.new_zeros(shape),
        )

    @torch.inference_mode()
    def read(self, prompts: Sequence[Sequence[int]], places: Sequence[int]) -> Tensor:
        """Read new sequences into their ``places``, whatever stood there: logits of the token after each, [n, V]."""
        logits: list[Tensor] = []
        group: list[tuple[Sequence[int], int]] = []
        size = 0
        for prompt, place in zip(prompts, places, strict=True):
            if group and size + len(prompt) > ROWS_AT_ONCE:
                logits.append(self._read(group))
                group, size = [], 0
            group.append((prompt, place))
            size += len(prompt)
        return torch.cat([*logits, self._read(group)])

    def _read(self, group: Sequence[tuple[Sequence[int], int]]) -> Tensor:
        lengths = [len(prompt) for prompt, _ in group]
        ids = torch.tensor([number for prompt, _ in group for number in prompt], device=self.device)  # [N]
        positions = torch.cat([torch.arange(length, device=self.device) for length in lengths])
        first = torch.cat([self.first[place].expand(len(prompt), -1) for prompt, place in group])
        index = (first + positions.unsqueeze(1)).flatten()  # [N G]
        cosine, sine = self.cosine[positions], self.sine[positions]
        last = torch.tensor(lengths, device=self.device).cumsum(0) - 1
        x = F.embedding(ids, self.embedding)  # [N, D]
        for number, layer in enumerate(self.layers):
            attended = self._attend_to_prompts(*self._project(layer, x, cosine, sine, index), lengths)
            if number == len(self.layers) - 1:  # nothing reads what its other positions give
                x, attended = x[last], attended[last]
            x = self._add(layer, x, attended)
        for (_, place), length in zip(group, lengths, strict=True):
            self.lengths[place] = length
        return self.head(self.norm(x)).float()

    @torch.inference_mode()
    def step(self, ids: Sequence[int]) -> Tensor:
        """Add one id to each of the first n sequences: logits of the token after it, [n, V].

        A sequence that fills its capacity already is an IndexError.
        """
        lengths = self.lengths[: len(ids)]
        longest = max(lengths) + 1
        if longest > self.capacity:
            raise IndexError(f"no room after {self.capacity} positions")
        positions = torch.tensor(lengths, device=self.device)
        index = (self.first[: len(ids)] + positions.unsqueeze(1)).flatten()  # [n G]
        cosine, sine = self.cosine[positions], self.sine[positions]  # [n, 1, K]
        mask = self._mask(positions, longest) if min(lengths) < longest - 1 else None
        x = F.embedding(torch.tensor(ids, device=self.device), self.embedding)  # [n, D]
        for layer in self.layers:
            q, _, _ = self._project(layer, x, cosine, sine, index)
            x = self._add(layer, x, self._attend_to_cache(layer, q, longest, mask))
        for place in range(len(ids)):
            self.lengths[place] += 1
        return self.head(self.norm(x)).float()

    def copy(self, source: int, target: int) -> None:
        """Make the sequence at ``target`` the same as that at ``source``."""
        heads, length = self.config.kv_heads, self.lengths[source]
        for layer in self.layers:
            for kept in (layer.keys, layer.values):
                places = kept.view(self.rows, heads, self.capacity, -1)
                places[target, :, :length] = places[source, :, :length]
        self.lengths[target] = length

    def _project(
        self, layer: Layer, x: Tensor, cosine: Tensor, sine: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [N, H, K], keys and values [N, G, K] of the tokens ``x`` [N, D]; keys and values go into the cache,
        to the rows ``index`` [N G] of its flat form."""
        config = self.config
        qkv = layer.att_proj(x if config.norm_after else layer.attn_norm(x))
        if config.clip_qkv is not None:
            qkv = qkv.clamp_(-config.clip_qkv, config.clip_qkv)
        heads, size = config.n_heads, config.head_size
        if layer.q_norm is not None and layer.k_norm is not None:
            q, k, v = torch.split(qkv, list(config.projections), dim=-1)
            qkv = torch.cat((layer.q_norm(q), layer.k_norm(k), v), dim=-1)
        by_head = qkv.view(len(x), -1, size)
        v = by_head[:, heads + config.kv_heads :]
        both = by_head[:, : heads + config.kv_heads].float()
        both = torch.addcmul(both * cosine, both.roll(size // 2, dims=-1), sine).to(x.dtype)  # rotated by halves
        q, k = both[:, :heads], both[:, heads:]
        for kept, new in ((layer.keys, k), (layer.values, v)):
            kept.view(-1, size).index_copy_(0, index, new.reshape(-1, size))
        return q, k, v

    def _attend_to_prompts(self, q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
        """Each token to those of its own prompt before it: queries [N, H, K] to [N, H K]."""
        width = self.config.d_model
        if len(set(lengths)) == 1:
            q, k, v = (part.view(len(lengths), -1, *part.shape[1:]) for part in (q, k, v))  # [B, T, H or G, K]
            return self._causal(q, k, v).reshape(-1, width)
        parts = [torch.split(part.unsqueeze(0), list(lengths), dim=1) for part in (q, k, v)]
        return torch.cat([self._causal(*one)[0] for one in zip(*parts, strict=True)]).reshape(-1, width)

    def _causal(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Whole sequences of one length: [B, T, H or G, K] to [B, T, H, K]."""
        grouped = self.config.kv_heads != self.config.n_heads
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped).transpose(1, 2)

    def _attend_to_cache(self, layer: Layer, q: Tensor, longest: int, mask: Tensor | None) -> Tensor:
        """Queries [n, H, K] of one new token each, to all of their own sequence: [n, H K]."""
        n, size = len(q), self.config.head_size
        of_a_head = q.reshape(n * self.config.kv_heads, -1, size)  # [n G, H / G, K]
        keys, values = (kept[: n * self.config.kv_heads, :longest] for kept in (layer.keys, layer.values))
        scores = torch.baddbmm(
            self.unmasked if mask is None else mask,
            of_a_head,
            keys.transpose(1, 2),
            beta=0 if mask is None else 1,
            alpha=size**-0.5,
        )
        return torch.bmm(scores.softmax(-1), values).view(n, self.config.d_model)

    def _mask(self, positions: Tensor, longest: int) -> Tensor:
        """0 where a sequence has a key and -inf behind its end, [n G, 1, longest]."""
        behind = torch.arange(longest, device=self.device) > positions.unsqueeze(1)
        mask: Tensor = self.embedding.new_zeros(behind.shape).masked_fill_(behind, -torch.inf)
        return mask.repeat_interleave(self.config.kv_heads, dim=0).unsqueeze(1)

    def _add(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the block: attention's output, then the MLP, each added to ``x`` [N, D]."""
        after = self.config.norm_after
        out = layer.attn_out(attended)
        x = x + (layer.attn_norm(out) if after else out)
        up, gate = layer.ff_proj(x if after else layer.ff_norm(x)).chunk(2, dim=-1)
        out = layer.ff_out(F.silu(gate).mul_(up))
        return x.add_(layer.ff_norm(out) if after else out)


def _norm(config: ModelConfig, size: int, weight: Tensor | None) -> Callable[[Tensor], Tensor]:
    if weight is None:
        return lambda x: F.layer_norm(x, (size,), eps=config.norm_eps)
    return lambda x: F.rms_norm(x, (size,), weight, config.norm_eps)
