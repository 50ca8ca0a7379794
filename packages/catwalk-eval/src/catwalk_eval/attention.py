"""Attention over a packed prefix tree, in place of a model's own, through transformers' attention interface.

Registered under ``NAME``: a model set to it calls ``tree_attention`` in each layer with the queries, keys and values of
the packed row, and gets as its mask the rule by which it limits what a position sees (a sliding window, a chunk).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from .tree import Cluster, Tree

NAME = "catwalk_eval_tree"
KNOWN = {"dropout", "scaling", "softcap", "s_aux", "sliding_window", "position_ids", "use_cache", "is_causal"}


class NotSharedError(Exception):
    """The model's attention asks for something that is not computed here."""


class Rule:
    """What positions see of those before them: ``allowed(query positions, key positions)``; all of them where None."""

    def __init__(self, allowed: Callable[[Tensor, Tensor], Tensor] | None) -> None:
        self.allowed = allowed


def make_rule(*, mask_function: Callable[..., Tensor], local_size: int | None = None, **_: Any) -> Rule:
    """The mask of a forward pass, as transformers asks for it. Only local attention restricts more than the tree."""
    if local_size is None:
        return Rule(None)
    zero = torch.zeros((), dtype=torch.long)
    return Rule(lambda queries, keys: mask_function(zero, zero, queries, keys))


class Trunk:
    """Keys and values of a trunk [1, H, T + room, D], layer by layer; the room takes those of a cluster after them."""

    def __init__(self, ids: tuple[int, ...] = ()) -> None:
        self.ids = ids
        self.layers: list[tuple[Tensor, Tensor]] = []

    @property
    def length(self) -> int:
        return len(self.ids)

    def keep(self, key: Tensor, value: Tensor) -> None:
        """Take the keys and values of the next layer."""
        self.layers.append((key, value))

    def with_room(self, layer: int, room: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, with room for so many more."""
        key, value = self.layers[layer]
        if key.shape[2] < self.length + room:
            self.layers[layer] = key, value = widened(key, self.length, room), widened(value, self.length, room)
        return key, value


def widened(kept: Tensor, length: int, room: int) -> Tensor:
    wide = kept.new_empty(1, kept.shape[1], length + room, kept.shape[3])
    wide[:, :, :length] = kept[:, :, :length]
    return wide


class TreePass:
    """One forward pass of a packed row after a trunk; ``kept`` takes the row's own keys and values, if given."""

    def __init__(self, tree: Tree, trunk: Trunk, kept: Trunk | None = None) -> None:
        self.tree = tree
        self.trunk = trunk
        self.kept = kept
        self.layer = 0
        self.outer: dict[tuple[torch.device, int], Tensor] = {}
        self.masks: dict[tuple[object, ...], list[Tensor]] = {}

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, rule: Rule, scale: float | None, cap: float | None, sink: Any
    ) -> Tensor:
        """Output [1, N, H, D] of the next layer for queries [1, H, N, D], keys and values [1, h, N, D]."""
        layer, self.layer = self.layer, self.layer + 1
        if key.shape[1] != query.shape[1]:
            repeats = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        if self.kept is not None:
            self.kept.keep(key, value)
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        masks = self._masks(rule, query)
        for number, (cluster, mask) in enumerate(zip(self.tree.clusters, masks, strict=True)):
            keys, values = self._seen(layer, number, cluster, key, value)
            queries = query[:, :, cluster.start : cluster.stop]
            if cap is None and sink is None:
                found = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scale)
            else:
                found = attention(queries, keys, values, mask, scale, cap, sink)
            out[:, cluster.start : cluster.stop] = found.transpose(1, 2)
        return out

    def _seen(self, layer: int, number: int, cluster: Cluster, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a cluster: the trunk's, its ancestors', its own."""
        own = slice(cluster.start, cluster.stop)
        before, length = self.trunk.length, len(cluster.outer)
        if not before and not length:
            return key[:, :, own], value[:, :, own]
        outer = self._outer(number, cluster, key.device)
        if not before:
            return (
                torch.cat([key[:, :, outer], key[:, :, own]], 2),
                torch.cat([value[:, :, outer], value[:, :, own]], 2),
            )
        wide = self.trunk.with_room(layer, self.tree.room)
        end = before + cluster.sees.shape[1]
        for kept, fresh in zip(wide, (key, value), strict=True):
            if length:
                kept[:, :, before : before + length] = fresh[:, :, outer]
            kept[:, :, before + length : end] = fresh[:, :, own]
        return wide[0][:, :, :end], wide[1][:, :, :end]

    def _outer(self, number: int, cluster: Cluster, device: torch.device) -> Tensor:
        found = self.outer.get((device, number))
        if found is None:
            found = self.outer[device, number] = torch.from_numpy(cluster.outer).to(device)
        return found

    def _masks(self, rule: Rule, query: Tensor) -> list[Tensor]:
        """What is added to the scores of each cluster: 0, or -inf where a key is not seen."""
        name = (rule if rule.allowed is not None else None, query.dtype, query.device)
        found = self.masks.get(name)
        if found is None:
            found = self.masks[name] = [self._mask(cluster, rule, query) for cluster in self.tree.clusters]
        return found

    def _mask(self, cluster: Cluster, rule: Rule, query: Tensor) -> Tensor:
        before = self.trunk.length
        sees = np.ones((cluster.stop - cluster.start, before + cluster.sees.shape[1]), dtype=np.bool_)
        sees[:, before:] = cluster.sees
        allowed = torch.from_numpy(sees)
        if rule.allowed is not None:
            own = self.tree.positions[cluster.start : cluster.stop]
            keys = np.concatenate([np.arange(before + len(cluster.outer)), own])
            allowed &= rule.allowed(torch.from_numpy(own)[:, None], torch.from_numpy(keys)[None, :])
        mask = torch.zeros(allowed.shape, dtype=query.dtype)
        return mask.masked_fill_(~allowed, -torch.inf).to(query.device)


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None, cap: float | None, sink: Any
) -> Tensor:
    """Attention with scores capped at ``cap`` (Gemma 2), or with a logit per head that takes probability away."""
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    scores = scores + mask
    if sink is not None:
        sink = sink.reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1).to(scores.dtype)
        scores = torch.cat([scores, sink], -1)
    wide = torch.promote_types(scores.dtype, torch.float32)
    weights = torch.softmax(scores, -1, dtype=wide).to(value.dtype)
    return weights[..., : key.shape[2]] @ value


_running: list[TreePass] = []


@contextmanager
def running(tree_pass: TreePass) -> Iterator[None]:
    """While open, models set to ``NAME`` compute ``tree_pass``."""
    _running.append(tree_pass)
    try:
        yield
    finally:
        _running.pop()


def tree_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """What a model's attention layer calls: queries [1, H, N, D], keys and values [1, h, N, D] to [1, N, H, D]."""
    asked = {name for name, value in options.items() if value is not None and value is not False} - KNOWN
    if not _running or not isinstance(attention_mask, Rule) or asked or query.shape[0] != 1:
        raise NotSharedError(", ".join(sorted(asked)) or "the attention gets no mask of ours")
    found = _running[-1].attend(
        query, key, value, attention_mask, options.get("scaling"), options.get("softcap"), options.get("s_aux")
    )
    return found, None


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, make_rule)
