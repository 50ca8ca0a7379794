"""Log-likelihoods of continuations, with what choices share forwarded once.

The shared context of a group goes through the model once; its keys and values are then expanded to the group's
choices, whose remaining tokens follow as a second, short batch. Logits are formed only at scored positions, and the
log-softmax is taken in fp32 whatever the dtype of the model.
"""

from __future__ import annotations

import copy
import inspect
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from .batches import Batch, Unit, halves, suffix_length
from .errors import UserError

LOGIT_ROWS = 1024  # rows turned to fp32 at a time
LEAST_SHARE = 0.6  # shortest over longest suffix that are forwarded together
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scored:
    """Summed natural-log probability of a unit's continuation, and whether every token of it was the likeliest."""

    unit: int
    log_probability: float
    greedy: bool


@dataclass
class Work:
    """Tokens that went through the model, without and with padding."""

    tokens: int = 0
    padded: int = 0


class Engine:
    """Scores batches with one model; ``shared=False`` forwards every request whole."""

    def __init__(self, model: nn.Module, *, shared: bool = True) -> None:
        self.model = model.eval()
        head = model.get_output_embeddings()  # type: ignore[operator]
        if head is None:
            raise UserError("the model has no output layer over the vocabulary", fix="give a causal language model")
        self.head: nn.Module = head
        self.device = next(model.parameters()).device
        self.takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self.work = Work()
        self.shared = shared and self._cache_can_be_shared()
        if shared and not self.shared:
            log.warning("this kind of model keeps no key-value cache: every request is forwarded whole, slower")

    def score(self, units: Sequence[Unit], batch: Batch) -> list[Scored]:
        """Scores of the units of ``batch``, by unit number. Out of memory, the batch is halved and goes on."""
        try:
            with torch.inference_mode():
                return sorted(self._score(units, batch), key=lambda scored: scored.unit)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        parts = halves(batch)  # outside the handler, whose traceback would keep the tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if parts is None:
            raise UserError(f"one request does not fit in memory: {reason}", fix="give a smaller --max-length")
        log.warning("out of memory: the batch is halved and goes on; a smaller --batch-tokens avoids this")
        return sorted((s for part in parts for s in self.score(units, part)), key=lambda scored: scored.unit)

    def _cache_can_be_shared(self) -> bool:
        """Whether a probe fills a cache of plain attention layers, which is what can be expanded and padded."""
        cache = DynamicCache(config=self.model.config)
        ids = torch.zeros(1, 2, dtype=torch.long, device=self.device)
        with torch.inference_mode():
            try:
                self.model(input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=cache, use_cache=True)
            except TypeError:  # models without attention do not know the argument
                return False
        plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)
        return plain and bool(cache.layers) and cache.get_seq_length() == 2

    def _score(self, units: Sequence[Unit], batch: Batch) -> Iterator[Scored]:
        if not self.shared:
            yield from self._score_whole(units, [number for group in batch for number in group.units])
            return
        rows = [(number, row) for row, group in enumerate(batch) for number in group.units]
        cache, log_probabilities = self._prefixes([group.prefix for group in batch])
        results: dict[int, tuple[list[float], bool]] = {number: ([], True) for number, _ in rows}
        # the token right after the prefix is predicted by the prefix's last position, once for all choices
        first = [(number, row) for number, row in rows if len(units[number].context) == len(batch[row].prefix)]
        values = log_probabilities([row for _, row in first], [units[number].continuation[0] for number, _ in first])
        for (number, _), (value, greedy) in zip(first, values, strict=True):
            results[number] = ([value], greedy)
        for part in similar([(suffix_length(units[number], batch[row].prefix), number, row) for number, row in rows]):
            self._suffixes(units, batch, part, expanded(cache, [row for _, row in part], self.device), results)
        for number, _ in rows:
            found, greedy = results[number]
            yield Scored(number, math.fsum(found), greedy)

    def _prefixes(self, prefixes: Sequence[tuple[int, ...]]) -> tuple[DynamicCache, LogProbabilities]:
        """Forward left-padded ``prefixes`` [B, P]; the cache, and the logits at their last positions [B, V]."""
        B, P = len(prefixes), max(map(len, prefixes))
        ids = torch.zeros(B, P, dtype=torch.long)
        mask = torch.zeros(B, P, dtype=torch.long)
        for row, prefix in enumerate(prefixes):
            ids[row, P - len(prefix) :] = torch.tensor(prefix)
            mask[row, P - len(prefix) :] = 1
        cache = DynamicCache(config=self.model.config)
        self.prefix_mask = mask
        last = torch.full((B,), P - 1)
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), (torch.arange(B), last), cache)
        self._count(sum(map(len, prefixes)), B * P)
        return cache, LogProbabilities(logits)

    def _suffixes(
        self,
        units: Sequence[Unit],
        batch: Batch,
        rows: Sequence[tuple[int, int]],
        cache: DynamicCache,
        results: dict[int, tuple[list[float], bool]],
    ) -> None:
        """Forward what follows the prefixes, right-padded [R, S], on a cache of R rows, one for each of ``rows``."""
        lengths = [suffix_length(units[number], batch[row].prefix) for number, row in rows]
        R, S = len(rows), max(lengths)
        ids = torch.zeros(R, S, dtype=torch.long)
        mask = torch.zeros(R, S, dtype=torch.long)
        positions = torch.zeros(R, S, dtype=torch.long)
        at: list[tuple[int, int, int]] = []  # (row, position whose logits are read, token that they should predict)
        for row, (number, group) in enumerate(rows):
            unit, skip = units[number], len(batch[group].prefix)
            whole = unit.context + unit.continuation
            ids[row, : lengths[row]] = torch.tensor(whole[skip:-1])
            mask[row, : lengths[row]] = 1
            positions[row] = torch.arange(skip, skip + S).clamp(max=skip + lengths[row] - 1)
            begin = max(len(unit.context), skip + 1)
            at += [(row, target - 1 - skip, whole[target]) for target in range(begin, len(whole))]
        owners = torch.tensor([group for _, group in rows])
        mask = torch.cat([self.prefix_mask[owners], mask], dim=1)
        where = (torch.tensor([row for row, _, _ in at]), torch.tensor([column for _, column, _ in at]))
        logits = self._forward(ids, mask, positions, where, cache)
        self._count(sum(lengths), R * S)
        values = LogProbabilities(logits)(range(len(at)), [token for _, _, token in at])
        for (row, _, _), (value, greedy) in zip(at, values, strict=True):
            found, so_far = results[rows[row][0]]
            results[rows[row][0]] = ([*found, value], so_far and greedy)

    def _score_whole(self, units: Sequence[Unit], numbers: Sequence[int]) -> Iterator[Scored]:
        """Forward every request whole, right-padded [R, T]."""
        inputs = [units[number].context + units[number].continuation[:-1] for number in numbers]
        R, T = len(inputs), max(map(len, inputs))
        ids = torch.zeros(R, T, dtype=torch.long)
        mask = torch.zeros(R, T, dtype=torch.long)
        at: list[tuple[int, int, int]] = []
        for row, (number, tokens) in enumerate(zip(numbers, inputs, strict=True)):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            begin = len(units[number].context) - 1
            at += [(row, begin + k, token) for k, token in enumerate(units[number].continuation)]
        where = (torch.tensor([row for row, _, _ in at]), torch.tensor([column for _, column, _ in at]))
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), where, None)
        self._count(sum(map(len, inputs)), R * T)
        values = list(LogProbabilities(logits)(range(len(at)), [token for _, _, token in at]))
        for row, number in enumerate(numbers):
            mine = [value for (owner, _, _), value in zip(at, values, strict=True) if owner == row]
            yield Scored(number, math.fsum(value for value, _ in mine), all(greedy for _, greedy in mine))

    def _forward(
        self, ids: Tensor, mask: Tensor, positions: Tensor, where: tuple[Tensor, Tensor], cache: DynamicCache | None
    ) -> Tensor:
        """Logits [N, V] at the N positions ``where`` = (rows, columns) of ``ids``."""
        arguments: dict[str, Any] = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        if self.takes_positions:
            arguments["position_ids"] = positions.to(self.device)
        if cache is not None:
            arguments["past_key_values"] = cache
        rows, columns = where[0].to(self.device), where[1].to(self.device)
        with head_reads_only(self.head, rows, columns):
            logits: Tensor = self.model(**arguments, use_cache=cache is not None).logits
        return logits[0]

    def _count(self, tokens: int, padded: int) -> None:
        self.work.tokens += tokens
        self.work.padded += padded


def similar(rows: Sequence[tuple[int, int, int]]) -> Iterator[list[tuple[int, int]]]:
    """(unit, prefix) of the ``rows`` (length, unit, prefix) that have anything to forward, similar lengths together.

    A part holds no row shorter than LEAST_SHARE of its longest, which bounds what is spent on padding.
    """
    part: list[tuple[int, int]] = []
    longest = 0
    for length, number, row in sorted(rows, key=lambda row: (-row[0], row[1])):
        if length == 0:
            break
        if part and length < LEAST_SHARE * longest:
            yield part
            part = []
        if not part:
            longest = length
        part.append((number, row))
    if part:
        yield part


def expanded(cache: DynamicCache, owners: Sequence[int], device: torch.device) -> DynamicCache:
    """A cache whose row k is row ``owners[k]`` of ``cache``, which stays as it is."""
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    fork.batch_select_indices(torch.tensor(list(owners), device=device))
    return fork


class LogProbabilities:
    """Token log-probabilities from logits [N, V], normalised in fp32."""

    def __init__(self, logits: Tensor) -> None:
        parts = [part.float() for part in torch.split(logits, LOGIT_ROWS)]
        self.logits = logits
        self.normaliser = torch.cat([part.logsumexp(-1) for part in parts])
        self.highest = torch.cat([part.amax(-1) for part in parts])

    def __call__(self, rows: Sequence[int], tokens: Sequence[int]) -> Iterator[tuple[float, bool]]:
        """``(log-probability, whether it is the highest)`` of ``tokens[k]`` in row ``rows[k]``."""
        at = torch.tensor(list(rows), dtype=torch.long, device=self.logits.device)
        chosen = self.logits[at, torch.tensor(list(tokens), dtype=torch.long, device=self.logits.device)].float()
        values = (chosen - self.normaliser[at]).clamp(max=0.0).tolist()
        return iter(list(zip(values, (chosen >= self.highest[at]).tolist(), strict=True)))


@contextmanager
def head_reads_only(head: nn.Module, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """While open, the output layer sees hidden states [1, N, D] of the positions (rows, columns) instead of [B, T, D].

    What a model does to its logits afterwards (scaling, soft caps) is element by element and stays in force.
    """
    handle = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][rows, columns].unsqueeze(0), *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


def out_of_memory(error: RuntimeError) -> bool:
    """Whether ``error`` says that memory ran out, on an accelerator or in the machine's own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
