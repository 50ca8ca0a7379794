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
from .speculation import Accepted, Lookup

# New tokens of all sequences in a pass; more take longer than they may save. A pass of several sequences, which all get
# as many rows, is worth little more than it costs without guesses.
ROWS_OF_ONE, ROWS_OF_SEVERAL = 16, 8
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
    lookup: Lookup
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
    speculative: bool = True,
    accepted: Accepted | None = None,
) -> Iterator[tuple[int, Continuation]]:
    """Continue every request: pairs of its number and its continuation, in the order in which they end.

    At most ``batch_size`` are computed at once. ``vocab_size`` is the tokenizer's: rows of the embedding past it are
    never chosen. ``watch`` is told the number of a request and each of its new ids, and says whether it is to stop
    there. A prompt that the model cannot read is a UserError before anything is computed.

    ``speculative``: where the text repeats itself, guess several tokens ahead and check them in one pass. Every token
    is the one that the model chooses, with the draws that it would have had anyway; a pass over several tokens may give
    logits other in their last bits, no more. ``accepted`` is told how often the guesses were right.
    """
    config, sampling, accepted = model.config, sampling or Sampling(), accepted or Accepted()
    for request in requests:
        check_prompt(request.ids, config)
    if not requests:
        return
    longest = max(len(request.ids) for request in requests)
    decoder = Decoder(model, min(batch_size, len(requests)), longest + max_new_tokens, vocab_size)
    waiting = deque(
        Running(number, request, draws(request.seed, request.ids, request.sample), Lookup(request.ids))
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

    def choices(logits: Tensor, group: Sequence[Running], guesses: Sequence[Sequence[int]]) -> list[list[int]]:
        """Of the logits [n, m, V] what each sequence goes on with, up to and with the first that was not guessed: no
        draw is spent on what comes after."""
        if not logits.amax(dim=-1).isfinite().all():  # NaN where there is one
            raise UserError("the model gives numbers that are not finite", fix="check its weights")
        found: list[list[int]] = [[] for _ in group]
        going = list(range(len(group)))
        for place in range(logits.shape[1]):
            rows = logits[:, place] if len(going) == len(group) else logits[going, place]
            chosen = choose(rows, sampling, [next(group[row].draws) for row in going]).tolist()
            for row, new in zip(going, chosen, strict=True):
                found[row].append(new)
            going = [row for row in going if guesses[row][place : place + 1] == found[row][place:]]
            if not going:
                break
        return found

    batch: list[Running | None] = [None] * decoder.rows
    while waiting or any(batch):
        entering: dict[int, Running] = {}
        for place, running in enumerate(batch):
            if running is None and waiting:
                batch[place] = entering[place] = waiting.popleft()
        if entering:
            group = list(entering.values())
            guesses: list[list[int]] = [[] for _ in group]
            logits = enter(decoder, entering).unsqueeze(1)
        else:
            close_gaps(decoder, batch)
            group = [running for running in batch if running is not None]
            guesses = guess(decoder, group) if speculative else [[] for _ in group]
            longest = max(map(len, guesses))
            logits = decoder.extend(
                [
                    [running.new[-1], *ids, *[0] * (longest - len(ids))]
                    for running, ids in zip(group, guesses, strict=True)
                ]
            )
        for running, guessed, chosen in zip(group, guesses, choices(logits, group, guesses), strict=True):
            place, right = batch.index(running), len(chosen) - 1
            decoder.take_back(place, logits.shape[1] - len(chosen))
            running.lookup.learn(len(guessed), right)
            running.lookup.add(chosen)
            accepted.add(len(guessed), right)
            for new in chosen:
                reason = take(running, new)
                if reason is not None:
                    batch[place] = None
                    yield running.number, Continuation(running.new, reason)
                    break


def guess(decoder: Decoder, group: Sequence[Running]) -> list[list[int]]:
    """Tokens that may come next in each sequence, as many as one pass takes and the cache has room for."""
    rows = ROWS_OF_ONE if len(group) == 1 else ROWS_OF_SEVERAL
    most = min(rows // len(group), decoder.capacity - max(decoder.lengths[: len(group)])) - 1
    return [running.lookup.guess(most) for running in group]


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
