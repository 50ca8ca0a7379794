"""Which token comes next: the likeliest, or one drawn by temperature, top-k and top-p.

A draw is a number between 0 and 1 that is looked up among the cumulated probabilities. The numbers come from a stream
of each prompt's own, so what is drawn for a prompt depends on nothing that is computed beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DRAWS_AT_ONCE = 64
FIRST_CANDIDATES = 256  # looked at for top-p; the nucleus rarely holds more


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """temperature 0 takes the likeliest token. Else top_k (of the logits), then top_p (of the probabilities after
    temperature and top_k) narrow down what is drawn from."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None


def draws(seed: int, ids: Sequence[int], sample: int = 0) -> Iterator[float]:
    """Numbers in [0, 1), a stream for each seed, prompt and number of the sample (Philox; Salmon et al. 2011)."""
    prompt = hashlib.sha256(np.asarray(ids, dtype="<u8").tobytes()).digest()
    key = np.random.SeedSequence([seed, sample, *np.frombuffer(prompt, dtype="<u4").tolist()])
    generator = np.random.Generator(np.random.Philox(key))
    while True:
        yield from generator.random(DRAWS_AT_ONCE).tolist()


def choose(logits: Tensor, sampling: Sampling, numbers: Sequence[float]) -> Tensor:
    """An id for each row of ``logits`` [B, V]: [B]. ``numbers`` are the B draws, unused at temperature 0.

    Ties at the edge of top-k and top-p are all kept.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    scaled = (logits - logits.amax(-1, keepdim=True)).div_(sampling.temperature)  # at most 0, whatever the temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        edge = scaled.topk(sampling.top_k, sorted=False).values.amin(-1, keepdim=True)
        scaled.masked_fill_(scaled < edge, -torch.inf)
    probabilities = torch.softmax(scaled, dim=-1)
    if sampling.top_p is not None and sampling.top_p < 1:
        probabilities.masked_fill_(probabilities < nucleus_edge(probabilities, sampling.top_p), 0.0)
    sums = probabilities.double().cumsum(-1)
    wanted = torch.tensor(numbers, dtype=torch.float64, device=logits.device).unsqueeze(-1) * sums[:, -1:]
    # the first id whose sum lies above the number: an id of probability 0 adds nothing to the sum and is never it
    return torch.searchsorted(sums, wanted, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def nucleus_edge(probabilities: Tensor, top_p: float) -> Tensor:
    """The smallest probability in the nucleus of each row of ``probabilities`` [B, V]: [B, 1].

    The nucleus is the smallest set of likeliest tokens that together have at least ``top_p`` (Holtzman et al. 2020).
    """
    size = min(FIRST_CANDIDATES, probabilities.shape[-1])
    while True:
        best = probabilities.topk(size).values  # falling
        sums = best.double().cumsum(-1)
        if size == probabilities.shape[-1] or bool((sums[:, -1] >= top_p).all()):
            last = (sums < top_p).sum(-1, keepdim=True).clamp_(max=size - 1)
            return best.gather(-1, last)
        size = min(8 * size, probabilities.shape[-1])
