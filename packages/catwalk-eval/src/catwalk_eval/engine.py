"""Log-likelihoods of continuations; what requests share is forwarded once.

The units of a batch are packed into one row, each token of their prefix tree once and no padding, which goes through
the model's own layers with ``attention.tree_attention`` in place of its attention. What many batches share, their
trunk, goes through once before them, and its keys and values are kept. Logits are formed a few rows at a time, only for
tokens that are scored, and the log-softmax is taken in fp32 or better whatever the dtype of the model.

A model whose attention does not go through transformers' attention interface, or that mixes tokens in another way
(state spaces, ALiBi in its own code), reads every request whole, right-padded. Which of the two it is, is tried on a
few tokens when the engine is made. A model whose rotary frequencies depend on how long its input is (LongRoPE, dynamic
NTK) reads every request whole and by itself: transformers takes the longest of a batch for the length of all.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from .attention import NAME, NotSharedError, TreePass, Trunk, running
from .batches import Batch, Ids, Scored, Unit
from .errors import UserError
from .tree import CLUSTER_TOKENS, Indices, Tree, chain, pack

LOGIT_BYTES = {"cpu": 24 << 20, "cuda": 1 << 30, "mps": 256 << 20}  # logits formed at a time
BLOCK = 1024, 1024  # rows and ids of the logits that a processor forms at a time from a plain linear head
TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3}  # of the trial, relative; see `_can_share`
TOLERANCE_HALF = 0.05
EXACT = 1e-6
# what a model's code raises where it does not take what the trial gives it
UNFIT = (NotSharedError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError)
# how a processor, Apple's GPUs and CUDA's libraries say it, which raise no OutOfMemoryError
NO_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
LENGTH_ROPES = {"longrope", "su"}  # frequencies for short inputs and others for long ones
log = logging.getLogger(__name__)


@dataclass
class Work:
    """Tokens that went through the model, without and with padding, and positions whose logits were formed."""

    tokens: int = 0
    padded: int = 0
    logits: int = 0


@dataclass(frozen=True)
class Wanted:
    """Scored tokens: the k-th is ``tokens[k]`` of ``owners[k]``, predicted at ``rows[at[k]]`` of the flat input."""

    rows: Indices
    at: Indices
    tokens: Indices
    owners: Indices


class Engine:
    """Scores batches with one model. ``shared`` says whether it shares what requests have in common."""

    def __init__(self, model: Any, *, shared: bool = True, cluster_tokens: int = CLUSTER_TOKENS) -> None:
        self.model = model.eval()
        head = self.model.get_output_embeddings()
        if head is None:
            raise UserError("the model has no output layer over the vocabulary", fix="give a causal language model")
        self.head: nn.Module = head
        embeddings = self.model.get_input_embeddings()
        self.vocabulary_size: int = embeddings.weight.shape[0]
        device = embeddings.weight.device
        # what accelerate keeps on disk or in the machine's memory lies nowhere until it is needed
        self.device = self.model.device if device.type == "meta" else device
        self.takes = set(inspect.signature(self.model.forward).parameters)
        self.cluster_tokens = cluster_tokens
        self.work = Work()
        self.parts = 1
        self.trunk = Trunk()
        ropes = rope_types(self.model.config.get_text_config())
        self.remembers_length = any("dynamic" in rope for rope in ropes)
        self.alone = self.remembers_length or not ropes.isdisjoint(LENGTH_ROPES)
        trial = some_units(self.vocabulary_size)
        with torch.inference_mode():
            plain = torch.cat([self._hidden_whole([unit])[0] for unit in trial])
            self.logits_of = self._find_head(trial, plain)
            self.shared = shared and self._can_share(trial, plain)
        self.work = Work()

    def score(self, units: Sequence[Unit], batch: Batch) -> list[Scored]:
        """Scores of the units of ``batch``, by unit number.

        Out of memory, it is done again in twice as many parts, and so are later batches: ``parts`` says how many. The
        numbers depend on batch and parts alone.
        """
        while True:
            parts = min(self.parts, len(batch.units))
            try:
                with torch.inference_mode():
                    found = [scored for part in split(batch, parts) for scored in self._score(units, part)]
                return sorted(found, key=lambda scored: scored.unit)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            self.trunk = Trunk()  # outside the handler, whose traceback would keep the tensors alive
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if parts == len(batch.units):
                raise UserError(f"one request does not fit in memory: {reason}", fix="give a smaller --max-length")
            self.parts = 2 * parts
            log.warning(
                "out of memory: batches go on in %d parts; a smaller --batch-tokens avoids this",
                self.parts,
            )

    def _score(self, units: Sequence[Unit], batch: Batch) -> list[Scored]:
        # where a model rounds to fp32 in between, padding changes more than float64 promises
        apart = self.alone or (not self.shared and self.model.dtype == torch.float64)
        if apart and len(batch.units) > 1:
            return [scored for number in batch.units for scored in self._score(units, Batch(0, (number,)))]
        members = [units[number] for number in batch.units]
        if self.shared:
            tree = pack(members, batch.trunk, self.cluster_tokens)
            self._grow(members[0].context[: batch.trunk])
            hidden = self._hidden_tree(tree, self.trunk)
            wanted = Wanted(tree.rows, tree.at, tree.tokens, tree.owners)
        else:
            hidden, wanted = self._hidden_whole(members)
        values, greedy = self._log_probabilities(hidden, wanted)
        self.work.logits += len(wanted.rows)
        ends = np.cumsum(np.bincount(wanted.owners, minlength=len(members)))[:-1]
        return [
            Scored(number, math.fsum(found), bool(flags.all()))
            for number, found, flags in zip(batch.units, np.split(values, ends), np.split(greedy, ends), strict=True)
        ]

    def _log_probabilities(self, hidden: Tensor, wanted: Wanted) -> Values:
        plain = self.logits_of is self.head and type(self.head) is nn.Linear and not hasattr(self.head, "_hf_hook")
        if plain and hidden.device.type == "cpu" and hidden.dtype in (torch.float32, torch.float64):
            return linear_log_probabilities(self.head, hidden, wanted)  # type: ignore[arg-type]
        return log_probabilities(self._logits(hidden), wanted)

    def _grow(self, ids: Ids) -> None:
        """Have ``trunk`` hold these tokens."""
        if self.trunk.ids == ids:
            return
        self.trunk = Trunk()
        if ids:
            grown = Trunk(ids)
            self._hidden_tree(chain(ids), Trunk(), grown)
            self.trunk = grown

    def _hidden_tree(self, tree: Tree, trunk: Trunk, kept: Trunk | None = None) -> Tensor:
        """What the output layer gets [R, D] at the scored rows of a packed row."""
        ids = torch.from_numpy(tree.ids)[None].to(self.device)
        arguments = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "position_ids": torch.from_numpy(tree.positions)[None].to(self.device),
        }
        with attending(self.model), running(TreePass(tree, trunk, kept)):
            hidden = self._hidden(arguments, tree.rows)
        self.work.tokens += len(tree.ids)
        self.work.padded += len(tree.ids)
        return hidden

    def _hidden_whole(self, units: Sequence[Unit]) -> tuple[Tensor, Wanted]:
        """What the output layer gets at the scored places of requests forwarded whole, right-padded [R, T]."""
        inputs = [unit.inputs for unit in units]
        R, T = len(inputs), max(map(len, inputs))
        ids = torch.zeros(R, T, dtype=torch.long)
        mask = torch.zeros(R, T, dtype=torch.long)
        places: list[int] = []
        for row, tokens in enumerate(inputs):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            first = row * T + len(units[row].context) - 1
            places += range(first, first + len(units[row].continuation))
        arguments = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        known = {name: value.to(self.device) for name, value in arguments.items() if name in self.takes}
        rows = np.array(places, dtype=np.int64)
        self.work.tokens += sum(map(len, inputs))
        self.work.padded += R * T
        wanted = Wanted(
            rows=rows,
            at=np.arange(len(rows)),
            tokens=np.concatenate([unit.continuation for unit in units]).astype(np.int64),
            owners=np.repeat(np.arange(R), [len(unit.continuation) for unit in units]),
        )
        self._forget_length()
        return self._hidden(known, rows), wanted

    def _forget_length(self) -> None:
        """Have frequencies that grow with the longest input so far begin anew, as they do after a short one."""
        if self.remembers_length:
            self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device), use_cache=False)

    def _hidden(self, arguments: dict[str, Tensor], rows: Indices) -> Tensor:
        """What the output layer gets [R, D] at ``rows`` of its input [B T, D]; it is given a single position itself."""
        kept: list[Tensor] = []

        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden = inputs[0]
            kept.append(hidden.reshape(-1, hidden.shape[-1])[torch.from_numpy(rows).to(hidden.device)])
            return (hidden[:1, :1], *inputs[1:])

        handle = self.head.register_forward_pre_hook(look)
        try:
            self.model(**arguments, use_cache=False)
        finally:
            handle.remove()
        return kept[0]

    def _logits(self, hidden: Tensor) -> Iterator[Tensor]:
        """Logits [r, V] of hidden states [R, D], some rows at a time."""
        size = LOGIT_BYTES.get(hidden.device.type, LOGIT_BYTES["cpu"]) // (4 * self.vocabulary_size)
        for part in torch.split(hidden, max(16, size)):
            yield self.logits_of(part)

    def _find_head(self, trial: Sequence[Unit], hidden: Tensor) -> Callable[[Tensor], Tensor]:
        """How logits come from what the output layer gets: by it alone, or with what the model does to them later."""
        expected = self._plain_logits(trial).double()
        if not expected.isfinite().all():
            raise UserError("the model gives logits that are no finite numbers", fix="check weights and --dtype")
        spread = float((expected - expected.mean(-1, keepdim=True)).norm()) or 1.0

        def error(way: Callable[[Tensor], Tensor]) -> float:
            found = way(hidden).double()
            return float((found - expected).norm()) / spread if found.shape == expected.shape else math.inf

        by_head = error(self.head)
        if by_head <= EXACT:
            return self.head
        try:
            by_model = error(self._head_of_model)
        except UNFIT:
            by_model = math.inf
        if not min(by_head, by_model) <= TOLERANCE.get(hidden.dtype, TOLERANCE_HALF):
            raise UserError(
                "logits of this kind of model do not come from its output layer in a known way",
                where=type(self.model).__name__,
                fix="use another model",
            )
        # a cap on small logits is not to be taken for rounding
        return self.head if by_head <= 2 * by_model else self._head_of_model

    def _plain_logits(self, units: Sequence[Unit]) -> Tensor:
        found = []
        for unit in units:
            ids = torch.tensor([unit.inputs], device=self.device)
            self._forget_length()
            logits = self.model(input_ids=ids, use_cache=False).logits[0]
            found.append(logits[len(unit.context) - 1 :])
        return torch.cat(found)

    def _head_of_model(self, hidden: Tensor) -> Tensor:
        """The model run on hidden states that stand in for those of its layers."""
        with replaced(self.model.base_model, hidden[None]):
            logits: Tensor = self.model(
                input_ids=torch.zeros(1, len(hidden), dtype=torch.long, device=self.device), use_cache=False
            ).logits
        return logits[0]

    def _can_share(self, trial: Sequence[Unit], plain: Tensor) -> bool:
        """Try both ways on a few tokens; only a model that gives the same hidden states in both can share."""
        problem = "rotary frequencies depend on the length of the input" if self.alone else ""
        try:
            shared = plain if self.alone else self._hidden_trial(trial)
            error = float((shared - plain).double().norm() / plain.double().norm())
            if not error <= TOLERANCE.get(plain.dtype, TOLERANCE_HALF):
                problem = f"hidden states differ by {error:.2g}"
        except UNFIT as reason:
            problem = f"{type(reason).__name__}: {reason}"
        if not problem:
            return True
        log.debug("%s: %s", type(self.model).__name__, problem)
        log.warning("this kind of model cannot share what requests have in common: each is forwarded whole, slower")
        return False

    def _hidden_trial(self, trial: Sequence[Unit]) -> Tensor:
        """Hidden states of the scored tokens of ``trial``, by a trunk, clusters and a tree."""
        length = 2
        trunk = Trunk(trial[0].context[:length])
        self._hidden_tree(chain(trunk.ids), Trunk(), trunk)
        tree = pack(trial, length, cluster_tokens=4)
        layers = getattr(self.model.config.get_text_config(), "num_hidden_layers", len(trunk.layers))
        if len(trunk.layers) != layers:
            raise NotSharedError(f"{len(trunk.layers)} of {layers} layers have attention of this kind")
        return self._hidden_tree(tree, trunk)[torch.from_numpy(tree.at)]


def rope_types(config: Any) -> set[str]:
    """Kinds of rotary embedding that a model's configuration names, of all its layers."""
    stated = [getattr(config, name, None) for name in ("rope_parameters", "rope_scaling")]
    tables = [table for table in stated if isinstance(table, dict)]
    tables += [inner for table in tables for inner in table.values() if isinstance(inner, dict)]
    return {str(table.get(key)) for table in tables for key in ("rope_type", "type")}


def some_units(vocabulary: int) -> list[Unit]:
    """A small tree, in its order, whose units share their first three tokens."""
    draw = np.random.default_rng(0).integers(0, vocabulary, 24).tolist()
    rows = [(draw[:7], draw[7:10]), (draw[:7], draw[10:13]), (draw[:5] + draw[13:15], draw[15:18])]
    rows += [(draw[:5] + draw[13:15], draw[18:19]), (draw[:3] + draw[19:21], draw[21:24])]
    units = [Unit(tuple(context), tuple(continuation)) for context, continuation in rows]
    return sorted(units, key=lambda unit: unit.context + unit.continuation)


def split(batch: Batch, parts: int) -> list[Batch]:
    """``batch`` in so many parts of about as many units."""
    cuts = [len(batch.units) * part // parts for part in range(parts + 1)]
    return [replace(batch, units=batch.units[a:b]) for a, b in pairwise(cuts)]


Values = tuple[NDArray[np.float64], NDArray[np.bool_]]


def log_probabilities(logits: Iterator[Tensor], wanted: Wanted) -> Values:
    """Log-probability of each wanted token, and whether it is the likeliest, from the logits of ``wanted.rows``."""
    order = np.argsort(wanted.at, kind="stable")
    at, tokens = wanted.at[order], wanted.tokens[order]
    values, greedy = np.empty(len(at)), np.empty(len(at), dtype=np.bool_)
    begin = 0
    for part in logits:
        wide = part if part.dtype == torch.float64 else part.float()
        first, last = np.searchsorted(at, (begin, begin + len(wide)))
        rows = torch.from_numpy(at[first:last] - begin).to(wide.device)
        chosen = wide[rows, torch.from_numpy(tokens[first:last]).to(wide.device)]
        highest = wide.amax(-1)
        found = (chosen - wide.logsumexp(-1)[rows]).clamp(max=0.0)
        values[order[first:last]] = found.double().cpu().numpy()
        greedy[order[first:last]] = (chosen >= highest[rows]).cpu().numpy()
        begin += len(wide)
    return values, greedy


def linear_log_probabilities(head: nn.Linear, hidden: Tensor, wanted: Wanted) -> Values:
    """The same from what a linear head gets [R, D], in blocks of rows and ids that stay in a processor's cache."""
    most, width = BLOCK
    block = hidden.new_empty(most * width)
    starts = range(0, head.out_features, width)
    highest = hidden.new_empty(len(starts), len(hidden))
    sums = torch.empty_like(highest)
    chosen = hidden.new_empty(len(wanted.at))
    row_of, id_of = wanted.at // most, wanted.tokens // width
    order = np.lexsort((id_of, row_of))
    bounds = np.searchsorted(
        (row_of * len(starts) + id_of)[order], np.arange(-(-len(hidden) // most) * len(starts) + 1)
    )
    for place, first in enumerate(range(0, len(hidden), most)):
        rows = hidden[first : first + most]
        for column, start in enumerate(starts):
            weight = head.weight[start : start + width]
            logits = block[: len(rows) * len(weight)].view(len(rows), len(weight))
            torch.mm(rows, weight.t(), out=logits)
            if head.bias is not None:
                logits += head.bias[start : start + width]
            key = place * len(starts) + column
            here = order[bounds[key] : bounds[key + 1]]
            at = torch.from_numpy(wanted.at[here] - first), torch.from_numpy(wanted.tokens[here] - start)
            chosen[torch.from_numpy(here)] = logits[at]
            most_likely = logits.amax(-1)
            highest[column, first : first + most] = most_likely
            sums[column, first : first + most] = logits.sub_(most_likely[:, None]).exp_().sum(-1)
    best = highest.amax(0)
    normaliser = best + (sums * (highest - best).exp()).sum(0).log()
    at_rows = torch.from_numpy(wanted.at)
    values = (chosen - normaliser[at_rows]).clamp(max=0.0)
    return values.double().numpy(), (chosen >= best[at_rows]).numpy()


@contextmanager
def attending(model: Any) -> Iterator[None]:
    """While open, the attention of ``model`` is that over a tree."""
    usual = model.config._attn_implementation
    try:
        model.set_attn_implementation(NAME)
        yield
    finally:
        model.set_attn_implementation(usual)


@contextmanager
def replaced(base: nn.Module, hidden: Tensor) -> Iterator[None]:
    """While open, ``base`` gives ``hidden`` [B, T, D] whatever it is asked."""
    own = base.__dict__.get("forward")
    base.forward = lambda *_, **__: BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)
    try:
        yield
    finally:
        if own is None:
            del base.forward
        else:
            base.forward = own


def out_of_memory(error: RuntimeError) -> bool:
    """Whether ``error`` says that memory ran out, on an accelerator or in the machine's own."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in NO_MEMORY)
