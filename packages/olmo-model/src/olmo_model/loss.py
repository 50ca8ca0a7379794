"""Cross-entropy of the next token, and z-loss, without ever holding all logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .config.optimization import LossSettings

IGNORED = -100  # label of a position that does not count
# Positions whose logits exist at the same time: enough for fast products.
CHUNK_ROWS = {"cpu": 512, "cuda": 2048}


class Loss(NamedTuple):
    """What a micro-batch gives, scalars in float32: ``total`` is minimised, ``cross_entropy`` is what is reported and
    never includes ``z_loss`` (already multiplied; None where it is off). Only ``total`` carries a gradient."""

    total: Tensor
    cross_entropy: Tensor
    z_loss: Tensor | None


def next_token_labels(
    input_ids: Tensor, *, label_mask: Tensor | None = None, instance_mask: Tensor | None = None
) -> Tensor:
    """Labels of ``input_ids`` [B, T]: the ids shifted left by one, the last position ignored.

    ``label_mask`` [B, T] is False at ids that nothing has to predict, ``instance_mask`` [B] at instances of which no
    label counts.
    """
    labels = input_ids
    if label_mask is not None:
        labels = labels.masked_fill(~label_mask, IGNORED)
    if instance_mask is not None:
        labels = labels.masked_fill(~instance_mask.unsqueeze(1), IGNORED)
    return F.pad(labels[:, 1:], (0, 1), value=IGNORED)


def documents_of(input_ids: Tensor, eos_token_id: int) -> Tensor:
    """The number in its instance, from 0, of the document of every position of ``input_ids`` [B, T]; the id that ends a
    document belongs to it."""
    ends = (input_ids == eos_token_id).long()
    return ends.cumsum(1) - ends


_kept: list[Tensor] = []


def _place_of_logits(rows: int, columns: int, like: Tensor) -> Tensor:
    """Memory for [rows, columns] in the type of ``like``, of any values. On a processor it stays from call to call: the
    place of a buffer that comes and goes is cut up by the C library, so that the next one does not fit in."""
    if like.device.type != "cpu":
        return torch.empty(rows, columns, dtype=like.dtype, device=like.device)
    if not _kept or _kept[0].dtype != like.dtype or _kept[0].numel() < rows * columns:
        with torch.inference_mode(mode=False):  # else a training could not write to it afterwards
            _kept[:] = [torch.empty(rows * columns, dtype=like.dtype)]
    return _kept[0][: rows * columns].view(rows, columns)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        chunk: int,
        settings: LossSettings,
        dtype: torch.dtype,
        room: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # cast here and not before, so that the gradient of the weight stays what it is summed in
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        # The gradient of the logits is known as soon as the logits are, so both gradients are made here, chunk by
        # chunk, and backward only scales them.
        late, multiplier = settings.semantics == "late", settings.z_loss
        everything = torch.full((), hidden.shape[0], device=hidden.device)
        divisor = everything if late else (labels != IGNORED).sum().clamp(min=1)
        wanted, narrow = ctx.needs_input_grad, dtype == torch.float32
        for_hidden = torch.empty_like(hidden) if wanted[0] else None
        for_weight = (torch.empty_like(weight, dtype=torch.float32) if room is None else room) if wanted[1] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        squares = torch.zeros_like(total)
        # one buffer for the logits of all chunks: fresh memory is slow where every page of it has to be made first
        products = _place_of_logits(min(chunk, hidden.shape[0]), weight.shape[0], hidden)
        for start in range(0, hidden.shape[0], chunk):
            rows = slice(start, start + chunk)
            read = hidden[rows]
            logits = torch.mm(read, weight.T, out=products[: read.shape[0]]).float()  # [chunk, V]
            ignored = labels[rows] == IGNORED
            target = labels[rows].masked_fill(ignored, 0).unsqueeze(1)
            peak = logits.amax(dim=1, keepdim=True)
            correct = logits.gather(1, target) - peak
            exponentials = logits.sub_(peak).exp_()
            denominator = exponentials.sum(dim=1, keepdim=True)
            logarithm = denominator.log()
            losses = logarithm - correct  # [chunk, 1]
            total += losses.squeeze(1).masked_fill(ignored, 0.0).sum()
            counted = (~ignored).float().unsqueeze(1)
            if multiplier:
                normalizer = logarithm + peak  # log of the softmax's denominator
                if late:
                    normalizer = normalizer * counted
                squares += normalizer.square().sum()
            if for_hidden is None and for_weight is None:
                continue
            # The gradient of the logits is share * (softmax - 1 at the target), and with z-loss m z^2 / n another
            # 2 m z / n * softmax. What a whole row is multiplied by goes to the narrow sides of the products, unless
            # that would round twice.
            share = counted / divisor
            if multiplier:
                exponentials.mul_(share + normalizer * (2 * multiplier / everything))
                factor, at_target = 1 / denominator, share * denominator
            else:
                factor, at_target = share / denominator, denominator
            gradient = exponentials.scatter_add_(1, target, -at_target)
            if not narrow:
                gradient = gradient.mul_(factor).to(dtype)
            if for_hidden is not None:
                torch.mm(gradient, weight, out=for_hidden[rows])
                if narrow:
                    for_hidden[rows].mul_(factor)
            if for_weight is not None:
                read = read * factor if narrow else read
                if for_weight.dtype == gradient.dtype:
                    torch.addmm(for_weight, gradient.T, read, beta=float(start > 0), out=for_weight)  # 0: not read
                elif start == 0:
                    for_weight.copy_(gradient.T @ read)
                else:
                    for_weight += gradient.T @ read
        ctx.gradients = for_hidden, for_weight
        cross_entropy = total / divisor
        z_loss = multiplier * squares / everything
        ctx.mark_non_differentiable(cross_entropy, z_loss)
        return cross_entropy + z_loss, cross_entropy, z_loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        for_hidden, for_weight = ctx.gradients
        ctx.gradients = None, None  # so that autograd may add another gradient of the weight in place
        if scale.device.type != "cpu" or scale != 1:  # asked for on a processor alone, where it waits for nothing
            for gradient in (for_hidden, for_weight):
                if gradient is not None:
                    gradient.mul_(scale)
        return for_hidden, for_weight, None, None, None, None, None


V1 = LossSettings()


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, labels: Tensor, settings: LossSettings = V1, room: Tensor | None = None
) -> Loss:
    """Loss of the logits ``hidden @ weight.T``, as ``LossSettings`` describes its two semantics.

    ``hidden`` [N, D], ``weight`` [V, D], ``labels`` [N] (``IGNORED`` where a position does not count) of a whole
    micro-batch; natural logarithm, float32. Without a counted label the cross-entropy is 0. Under autocast the products
    run in its type, sums and exponentials in float32. ``room`` [V, D] in float32, of any values, becomes the gradient
    of ``weight``.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    chunk = CHUNK_ROWS[kind]
    with torch.autocast(kind, enabled=False):
        total, cross_entropy, z_loss = _LinearCrossEntropy.apply(hidden, weight, labels, chunk, settings, dtype, room)  # type: ignore[no-untyped-call]
    return Loss(total, cross_entropy, z_loss if settings.z_loss else None)


def language_model_loss(
    model: Any,
    input_ids: Tensor,
    *,
    label_mask: Tensor | None = None,
    instance_mask: Tensor | None = None,
    documents: Tensor | None = None,
    settings: LossSettings = V1,
) -> Loss:
    """Loss of predicting every token of ``input_ids`` [B, T] from those before it in its instance, or, with
    ``documents``, from those of its document alone (``documents_of``).

    The masks are those of ``next_token_labels``.
    """
    labels = next_token_labels(input_ids, label_mask=label_mask, instance_mask=instance_mask).flatten()

    # Made before what blocks keep, where the gradient of the last step was: later that place would be cut up.
    room = (
        torch.empty(model.head.shape, dtype=torch.float32, device=input_ids.device) if torch.is_grad_enabled() else None
    )

    def read_out(hidden: Tensor, head: Tensor) -> Loss:
        return linear_cross_entropy(hidden.flatten(0, 1), head, labels, settings, room)

    loss: Loss = model(input_ids, read_out=read_out, documents=documents)
    return loss


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
