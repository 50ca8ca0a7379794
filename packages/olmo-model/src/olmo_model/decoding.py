"""A model's weights arranged for generating text: logits of the next token, with keys and values kept in a cache.

Dimensions as in ``model``; N are tokens of several prompts in a row, C the positions of the cache.

At one sequence a step takes as long as reading the weights, so nothing else may cost: the cache lies ready and is
written in place, sequences of different lengths need one mask for all blocks, the head reads last positions only.
Prompts are read without padding, laid end to end.

A pass over a few tokens takes hardly longer than one over a single token, since it reads the weights once as well: what
is likely to come next can be checked several tokens at once (``extend``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .config.model import ModelConfig
from .model import Transformer, rotary_tables

FEW_ROWS = range(1, 33)  # of a product that is slow as a whole
PART = 16  # rows of the weights in one product of a batch of them
ROWS_AT_ONCE = 1024  # tokens of prompts in one pass, unless one prompt is longer


class Projection:
    """``x W^T``. One product of few rows packs all of W each time, and of one row runs on one thread alone (MKL); many
    small ones, of a part of W each, do neither."""

    def __init__(self, weight: Tensor) -> None:
        """``weight`` [out, in]."""
        self.weight = weight
        self.in_parts = weight.device.type == "cpu" and weight.dtype == torch.float32 and len(weight) % PART == 0
        if self.in_parts:
            self.parts = weight.view(-1, PART, weight.shape[1]).transpose(1, 2)  # [out / PART, in, PART]

    def __call__(self, x: Tensor) -> Tensor:
        """[n, in] to [n, out]."""
        if not self.in_parts or len(x) not in FEW_ROWS:
            return F.linear(x, self.weight)
        return torch.bmm(x.expand(len(self.parts), -1, -1), self.parts).transpose(0, 1).reshape(len(x), -1)


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
        where they lie."""
        config = self.config = model.config
        self.rows, self.capacity = rows, min(capacity, config.max_sequence_length)
        self.vocab_size = vocab_size or config.vocab_size
        self.lengths = [0] * rows
        weights = model.state_dict()
        wte = weights["transformer.wte.weight"]
        self.embedding, self.device = wte, wte.device
        self.head = Projection(model.head.detach())
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
            att_proj=Projection(weights[stem + "att_proj.weight"]),
            attn_out=Projection(weights[stem + "attn_out.weight"]),
            ff_proj=Projection(weights[stem + "ff_proj.weight"]),
            ff_out=Projection(weights[stem + "ff_out.weight"]),
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
        return self.head(self.norm(x))[:, : self.vocab_size].float()

    def step(self, ids: Sequence[int]) -> Tensor:
        """Add one id to each of the first n sequences: logits of the token after it, [n, V].

        A sequence that fills its capacity already is an IndexError.
        """
        return self.extend([[number] for number in ids])[:, 0]

    @torch.inference_mode()
    def extend(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Add m ids to each of the first n sequences: logits of the token after each, [n, m, V].

        Sequences that have no room for them are an IndexError.
        """
        n, m = len(ids), len(ids[0])
        lengths = self.lengths[:n]
        longest = max(lengths) + m
        if longest > self.capacity:
            raise IndexError(f"no room after {self.capacity} positions")
        positions = torch.tensor(lengths, device=self.device).unsqueeze(1)  # [n, 1]
        if m > 1:
            positions = positions + torch.arange(m, device=self.device)  # [n, m]
        index = (self.first[:n].unsqueeze(1) + positions.unsqueeze(2)).flatten()  # [n m G]
        cosine, sine = (table[positions.flatten()] for table in (self.cosine, self.sine))  # [n m, 1, K]
        mask = self._mask(positions, longest) if m > 1 or min(lengths) < longest - 1 else None
        x = F.embedding(torch.tensor(ids, device=self.device).flatten(), self.embedding)  # [n m, D]
        for layer in self.layers:
            q, _, _ = self._project(layer, x, cosine, sine, index)
            x = self._add(layer, x, self._attend_to_cache(layer, q, n, longest, mask))
        for place in range(n):
            self.lengths[place] += m
        return self.head(self.norm(x))[:, : self.vocab_size].float().view(n, m, -1)

    def take_back(self, place: int, count: int) -> None:
        """Remove the last ``count`` positions of the sequence at ``place``."""
        self.lengths[place] -= count

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

    def _attend_to_cache(self, layer: Layer, q: Tensor, n: int, longest: int, mask: Tensor | None) -> Tensor:
        """Queries [n m, H, K] of m new tokens in each of n sequences, to their own sequence: [n m, H K]."""
        heads, size = self.config.kv_heads, self.config.head_size
        m, shared = len(q) // n, self.config.n_heads // heads
        if m > 1:
            q = q.view(n, m, heads, shared, size).transpose(1, 2)  # [n, G, m, H / G, K]
        keys, values = (kept[: n * heads, :longest] for kept in (layer.keys, layer.values))
        scores = torch.baddbmm(
            self.unmasked if mask is None else mask,
            q.reshape(n * heads, m * shared, size),
            keys.transpose(1, 2),
            beta=0 if mask is None else 1,
            alpha=size**-0.5,
        )
        attended = torch.bmm(scores.softmax(-1), values)  # [n G, m H / G, K]
        if m > 1:
            attended = attended.view(n, heads, m, shared * size).transpose(1, 2)
        return attended.reshape(n * m, self.config.d_model)

    def _mask(self, positions: Tensor, longest: int) -> Tensor:
        """0 for the keys that a token sees, -inf for those behind it, [n G, m H / G, longest]; [n G, 1, longest] where
        m is 1."""
        behind = torch.arange(longest, device=self.device) > positions.unsqueeze(2)  # [n, m, longest]
        mask: Tensor = self.embedding.new_zeros(behind.shape).masked_fill_(behind, -torch.inf)
        if positions.shape[1] > 1:
            mask = mask.repeat_interleave(self.config.n_heads // self.config.kv_heads, dim=1)
        return mask.repeat_interleave(self.config.kv_heads, dim=0)

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
