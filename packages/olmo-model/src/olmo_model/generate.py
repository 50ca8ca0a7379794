"""Continuations of prompts as ids: many at once, each as if it were alone.

Sequences enter the batch as soon as there is room and leave it as soon as they end, so that no step is spent on one
that is complete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from .config.model import ModelConfig
from .decoding import Decoder
from .errors import UserError
from .model import Transformer
from .sampling import Sampling, choose, draws

FinishReason = Literal["end", "stop", "length", "context"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt to continue. ``seed`` and ``sample`` together with the prompt decide the draws."""

    ids: tuple[int, ...]
    seed: int = 0
    sample: int = 0


@dataclass(frozen=True)
class Continuation:
    """New ids, and why they end: the end of a document, something that was to stop them, the length asked for, or a
    full context. The end-of-document id and a stop id are not among them."""

    ids: list[int]
    finish_reason: FinishReason


@dataclass
class Running:
    """A request while it is in the batch."""

    number: int
    request: Request
    draws: Iterator[float]
    new: list[int] = field(default_factory=list)


def check_prompt(ids: Sequence[int], config: ModelConfig, where: str | None = None, line: int | None = None) -> None:
    """Refuse a prompt that is empty, longer than the context, or that holds ids beyond the vocabulary."""
    if not 1 <= len(ids) <= config.max_sequence_length:
        raise UserError(
            f"the prompt has {len(ids)} tokens; the model reads 1 to {config.max_sequence_length}",
            where=where,
            line=line,
            fix="shorten the prompt" if ids else "give a prompt",
        )
    for number in (min(ids), max(ids)):
        if not 0 <= number < config.vocab_size:
            raise UserError(
                f"the prompt holds id {number}; the model has ids 0 to {config.vocab_size - 1}",
                where=where,
                line=line,
                fix="give ids of the model's own tokenizer",
            )


def continue_all(
    model: Transformer,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    stop_ids: Collection[int] = (),
    batch_size: int = 16,
    vocab_size: int | None = None,
    watch: Callable[[int, int], bool] | None = None,
) -> Iterator[tuple[int, Continuation]]:
    """Continue every request: pairs of its number and its continuation, in the order in which they end.

    At most ``batch_size`` are computed at once. ``vocab_size`` is the tokenizer's: rows of the embedding past it are
    never chosen. ``watch`` is told the number of a request and each of its new ids, and says whether it is to stop
    there. A prompt that the model cannot read is a UserError before anything is computed.
    """
    config, sampling = model.config, sampling or Sampling()
    for request in requests:
        check_prompt(request.ids, config)
    if not requests:
        return
    longest = max(len(request.ids) for request in requests)
    decoder = Decoder(model, min(batch_size, len(requests)), longest + max_new_tokens, vocab_size)
    waiting = deque(
        Running(number, request, draws(request.seed, request.ids, request.sample))
        for number, request in enumerate(requests)
    )

    def take(running: Running, chosen: int) -> FinishReason | None:
        """Add the chosen id to a sequence; why it ends, where it does."""
        if chosen == config.eos_token_id:
            return "end"
        if chosen in stop_ids:
            return "stop"
        running.new.append(chosen)
        if watch is not None and watch(running.number, chosen):
            return "stop"
        if len(running.new) == max_new_tokens:
            return "length"
        return "context" if len(running.request.ids) + len(running.new) > config.max_sequence_length else None

    def choices(logits: Tensor, group: Sequence[Running]) -> list[int]:
        best = logits.amax(dim=-1)  # NaN where there is one
        if not best.isfinite().all():
            raise UserError("the model gives numbers that are not finite", fix="check its weights")
        return choose(logits, sampling, [next(running.draws) for running in group]).tolist()

    batch: list[Running | None] = [None] * decoder.rows
    while waiting or any(batch):
        entering: dict[int, Running] = {}
        for place, running in enumerate(batch):
            if running is None and waiting:
                batch[place] = entering[place] = waiting.popleft()
        if entering:
            logits, group = enter(decoder, entering), list(entering.values())
        else:
            close_gaps(decoder, batch)
            group = [running for running in batch if running is not None]
            logits = decoder.step([running.new[-1] for running in group])
        for running, chosen in zip(group, choices(logits, group), strict=True):
            reason = take(running, chosen)
            if reason is not None:
                batch[batch.index(running)] = None
                yield running.number, Continuation(running.new, reason)


def enter(decoder: Decoder, entering: dict[int, Running]) -> Tensor:
    """Read the prompts of the sequences at these places, the same prompt once: logits after each, [n, V]."""
    places: dict[tuple[int, ...], int] = {}
    for place, running in entering.items():
        places.setdefault(running.request.ids, place)
    logits = decoder.read(list(places), list(places.values()))
    row_of = {ids: row for row, ids in enumerate(places)}
    for place, running in entering.items():
        if places[running.request.ids] != place:
            decoder.copy(places[running.request.ids], place)
    return logits[[row_of[running.request.ids] for running in entering.values()]]


def close_gaps(decoder: Decoder, batch: list[Running | None]) -> None:
    """Move the last sequences of the batch to where earlier ones ended."""
    for place in range(len(batch)):
        while batch and batch[-1] is None:
            batch.pop()
        if place < len(batch) and batch[place] is None:
            decoder.copy(len(batch) - 1, place)
            batch[place] = batch.pop()


def continue_ids(
    model: Transformer,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    vocab_size: int | None = None,
) -> tuple[list[int], FinishReason]:
    """New ids after ``ids``, and why they end; see ``continue_all``."""
    ((_, found),) = continue_all(
        model,
        [Request(ids=tuple(ids), seed=seed)],
        max_new_tokens=max_new_tokens,
        sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p),
        vocab_size=vocab_size,
    )
    return found.ids, found.finish_reason
