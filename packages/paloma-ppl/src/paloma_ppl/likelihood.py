"""Log-probabilities of the tokens of a batch, without the whole tensor of logits.

The body of the model runs over sequences padded on the right, which a causal model does not see. Logits are formed for
scored positions alone, a block of positions and a block of the vocabulary at a time, and what is kept of a block is its
largest logit and the sum of its exponentials (the log-sum-exp of a row is put together from those of its blocks). Sums
are taken in float32, in float64 where the model is in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.modeling_outputs import BaseModelOutputWithPast

from .errors import UserError
from .tokenizer import Ids

Floats = NDArray[np.floating[Any]]
BLOCKS = {"cpu": (512, 4096), "cuda": (8192, 16384), "mps": (2048, 16384)}  # positions and ids formed at a time
EXACT = 1e-6  # relative difference of logits formed in two ways, in float32
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-3}
TOLERANCE_HALF = 0.05


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model.

    ``body`` gives hidden states and ``logits_of`` makes logits of some of them; both are None where an architecture
    gives logits of whole sequences only. ``head`` is set where logits are a plain product with its weight.
    """

    model: Any
    body: Any
    logits_of: Callable[[Tensor], Tensor] | None
    head: nn.Linear | None
    device: torch.device
    vocab_size: int


class InDouble(TorchFunctionMode):
    """While active, what asks for float32 gets float64: models round to float32 in norms, positions and softmax."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        if function is torch.Tensor.float:
            return args[0].double()
        if function in (torch.Tensor.to, torch.Tensor.type):
            args = tuple(torch.float64 if value is torch.float32 else value for value in args)
        return function(*args, **kwargs)


def precision(dtype: torch.dtype) -> Any:
    """A context in which a model of ``dtype`` computes in nothing less."""
    return InDouble() if dtype == torch.float64 else nullcontext()


def wrap(model: Any) -> LanguageModel:
    """Find out, on a few tokens, how logits come from hidden states."""
    head = model.get_output_embeddings()
    if head is None:
        raise UserError("no output layer over the vocabulary", where=type(model).__name__, fix="give a causal model")
    embeddings = model.get_input_embeddings().weight
    device = model.device if embeddings.device.type == "meta" else embeddings.device
    vocab_size = int(getattr(head, "out_features", 0) or head.weight.shape[0])
    body = model.base_model
    with torch.inference_mode(), precision(model.dtype):
        probe = torch.arange(min(8, vocab_size), device=device)[None]
        expected = model(input_ids=probe, use_cache=False).logits
        hidden = None if body is model else getattr(body(input_ids=probe, use_cache=False), "last_hidden_state", None)
        logits_of = None if hidden is None else find_logits(model, head, hidden, expected)
    if logits_of is None:
        return LanguageModel(model, None, None, None, device, vocab_size)
    plain = logits_of is head and type(head) is nn.Linear and not hasattr(head, "_hf_hook")
    return LanguageModel(model, body, logits_of, head if plain else None, device, vocab_size)


def find_logits(model: Any, head: Any, hidden: Tensor, expected: Tensor) -> Callable[[Tensor], Tensor] | None:
    """How logits [n, V] come from hidden states [n, D]: by the head alone, or with what the model does to them behind
    it (scale, cap); None where neither gives ``expected`` [1, T, V]."""
    rows, target = hidden[0], expected[0].double()
    spread = float((target - target.mean(-1, keepdim=True)).norm()) or 1.0

    def by_model(states: Tensor) -> Tensor:
        with replaced(model.base_model, states[None]):
            ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
            logits: Tensor = model(input_ids=ids, use_cache=False).logits
        return logits[0]

    def error(way: Callable[[Tensor], Tensor]) -> float:
        try:
            found = way(rows).double().to(target.device)
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError):
            return float("inf")
        return float((found - target).norm()) / spread if found.shape == target.shape else float("inf")

    errors = error(head), error(by_model)
    if errors[0] <= EXACT:
        return head  # type: ignore[no-any-return]
    if not min(errors) <= TOLERANCES.get(hidden.dtype, TOLERANCE_HALF):
        return None
    return head if errors[0] <= 2 * errors[1] else by_model  # a cap on small logits is not to be taken for rounding


@contextmanager
def replaced(body: nn.Module, hidden: Tensor) -> Iterator[None]:
    """While open, ``body`` gives ``hidden`` [B, T, D] whatever it is asked."""
    own = body.__dict__.get("forward")
    body.forward = lambda *_, **__: BaseModelOutputWithPast(last_hidden_state=hidden)
    try:
        yield
    finally:
        if own is None:
            del body.forward
        else:
            body.forward = own


def log_probabilities(
    model: LanguageModel, batch: Sequence[Ids], scored: Sequence[Sequence[tuple[int, int]]]
) -> Iterator[Floats]:
    """Yield for each sequence the log-probabilities of the ids at its scored positions, in nats, normalised over all
    rows of the model's vocabulary: float64 where the model is in float64, else float32.

    ``scored`` are ranges [start, stop) of positions, start ≥ 1, in rising order.
    """
    width = max(len(ids) for ids in batch) - 1
    inputs = np.zeros((len(batch), width), dtype=np.int64)  # [B, T]
    places: list[NDArray[np.int64]] = []
    targets: list[Ids] = []
    for row, (ids, ranges) in enumerate(zip(batch, scored, strict=True)):
        inputs[row, : len(ids) - 1] = ids[:-1]
        positions = np.concatenate([np.arange(start, stop) for start, stop in ranges])
        places.append(row * width + positions - 1)
        targets.append(ids[positions])
    target = torch.from_numpy(np.concatenate(targets).astype(np.int64))  # [N]
    with torch.inference_mode(), precision(model.model.dtype):
        tokens = torch.from_numpy(inputs).to(model.device)
        if model.body is not None:
            states = model.body(input_ids=tokens, use_cache=False).last_hidden_state  # [B, T, D]
        else:
            states = model.model(input_ids=tokens, use_cache=False).logits  # [B, T, V]
        states = states.flatten(0, 1)
        at = torch.from_numpy(np.concatenate(places)).to(states.device)
        flat = rows_of(model, states, at, target.to(states.device)).clamp_(max=0.0).cpu().numpy()
    ends = np.cumsum([len(part) for part in targets])
    yield from np.split(flat, ends[:-1])


def rows_of(model: LanguageModel, states: Tensor, at: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities [N] of ``target`` at the rows ``at`` of ``states``."""
    most, width = BLOCKS.get(states.device.type, BLOCKS["cpu"])
    wide = torch.float64 if states.dtype == torch.float64 else torch.float32
    result = torch.empty(len(target), dtype=wide, device=states.device)
    if model.head is None:
        most = max(16, most * width // model.vocab_size)
    for begin in range(0, len(target), most):
        rows, wanted = states[at[begin : begin + most]], target[begin : begin + most]
        if model.head is not None:
            result[begin : begin + most] = by_blocks(model.head, rows, wanted, width, wide)
            continue
        logits = (rows if model.logits_of is None else model.logits_of(rows)).to(wide)
        chosen = logits.gather(1, wanted.to(logits.device)[:, None])[:, 0]
        result[begin : begin + most] = (chosen - logits.logsumexp(-1)).to(result.device)
    return result


def by_blocks(head: nn.Linear, rows: Tensor, target: Tensor, width: int, wide: torch.dtype) -> Tensor:
    """Log-probabilities [n] of ``target`` [n] from hidden states [n, D], ``width`` ids of the vocabulary at a time."""
    starts = range(0, head.out_features, width)
    highest = torch.empty(len(starts), len(rows), dtype=wide, device=rows.device)
    sums = torch.empty_like(highest)
    chosen = torch.empty(len(rows), dtype=wide, device=rows.device)
    for place, start in enumerate(starts):
        weight = head.weight[start : start + width]
        logits = rows @ weight.t()
        if head.bias is not None:
            logits += head.bias[start : start + width]
        logits = logits.to(wide)
        inside = ((target >= start) & (target < start + len(weight))).nonzero()[:, 0]
        chosen[inside] = logits[inside, target[inside] - start]
        most_likely = logits.amax(-1)
        highest[place] = most_likely
        sums[place] = logits.sub_(most_likely[:, None]).exp_().sum(-1)
    best = highest.amax(0)
    return chosen - best - (sums * (highest - best).exp()).sum(0).log()
