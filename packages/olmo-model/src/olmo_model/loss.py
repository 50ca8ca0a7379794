"""Cross-entropy of the next token without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # label of a position that does not count
# Positions whose logits exist at the same time: on a processor few enough for its cache with a small vocabulary, enough
# for fast products with a large one; on a GPU enough to fill it.
CHUNK_ROWS = {"cpu": 256, "cuda": 2048}


def next_token_labels(input_ids: Tensor) -> Tensor:
    """Labels of ``input_ids`` [B, T]: the ids shifted left by one, the last position ignored."""
    return F.pad(input_ids[:, 1:], (0, 1), value=IGNORED)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> Tensor:
        # The gradient of the logits is known as soon as the logits are, so both gradients are made here, chunk by
        # chunk, and backward only scales them.
        counted = (labels != IGNORED).sum().clamp(min=1)
        wanted = ctx.needs_input_grad
        for_hidden = torch.empty_like(hidden) if wanted[0] else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], chunk):
            rows = slice(start, start + chunk)
            logits = (hidden[rows] @ weight.T).float()  # [chunk, V]
            ignored = labels[rows] == IGNORED
            target = labels[rows].masked_fill(ignored, 0).unsqueeze(1)
            peak = logits.amax(dim=1, keepdim=True)
            correct = logits.gather(1, target) - peak
            exponentials = logits.sub_(peak).exp_()
            denominator = exponentials.sum(dim=1, keepdim=True)
            losses = denominator.log() - correct  # [chunk, 1]
            total += losses.squeeze(1).masked_fill(ignored, 0.0).sum()
            if for_hidden is None and for_weight is None:
                continue
            scale = (~ignored).float().unsqueeze(1) / counted
            gradient = exponentials.mul_(scale / denominator)
            gradient.scatter_add_(1, target, -scale)
            gradient = gradient.to(hidden.dtype)
            if for_hidden is not None:
                torch.mm(gradient, weight, out=for_hidden[rows])
            if for_weight is not None:
                if for_weight.dtype == gradient.dtype:
                    for_weight.addmm_(gradient.T, hidden[rows])
                else:
                    for_weight += gradient.T @ hidden[rows]
        ctx.gradients = for_hidden, for_weight
        return total / counted

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        for_hidden, for_weight = ctx.gradients
        for gradient in (for_hidden, for_weight):
            if gradient is not None:
                gradient.mul_(scale)
        return for_hidden, for_weight, None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the counted labels, as OLMo v1 takes it, of the logits ``hidden @ weight.T``.

    ``hidden`` [N, D], ``weight`` [V, D], ``labels`` [N] (``IGNORED`` where a position does not count); natural
    logarithm, float32. Under autocast the products run in its type, sums and exponentials in float32.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden, weight = hidden.to(torch.get_autocast_dtype(kind)), weight.to(torch.get_autocast_dtype(kind))
    with torch.autocast(kind, enabled=False):
        return _LinearCrossEntropy.apply(hidden, weight, labels, CHUNK_ROWS[kind])  # type: ignore[no-any-return, no-untyped-call]


def language_model_loss(model: Any, input_ids: Tensor) -> Tensor:
    """Mean loss of predicting every token of ``input_ids`` [B, T] from those before it in its instance."""
    hidden = model.hidden(input_ids)  # [B, T, D]
    return linear_cross_entropy(hidden.flatten(0, 1), model.head, next_token_labels(input_ids).flatten())


@torch.no_grad()
def token_log_probabilities(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Natural-log probability of ``targets`` [N] from ``hidden`` [N, D] and ``weight`` [V, D]: [N] float32."""
    chunk = CHUNK_ROWS[hidden.device.type]
    pieces = []
    for start in range(0, hidden.shape[0], chunk):
        rows = slice(start, start + chunk)
        logits = F.linear(hidden[rows], weight).float()
        pieces.append(logits.gather(1, targets[rows].unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=1))
    return torch.cat(pieces) if pieces else hidden.new_zeros(0, dtype=torch.float32)
