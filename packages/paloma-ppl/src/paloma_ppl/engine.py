"""Log-probability of every token of a split, batch by batch, so that an interrupted run goes on where it stopped.

Windows come as a stream and are scored in sections: so many of them that they sort well by length, so few that a
section fits in memory whatever the size of the suite. The batch plan of a section is a pure function of the lengths of
its windows, not of the processes that share it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch

from .errors import UserError
from .ledger import Ledger
from .likelihood import Floats, LanguageModel, log_probabilities
from .processes import Processes
from .windows import Window

log = logging.getLogger(__name__)
SECTION_TOKENS = 1 << 20
PADDING = 0.05  # most of a batch that is padding
SMALL = 0.25  # a batch of less than this share of the budget takes shorter windows all the same


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of each batch: longest first, padded size at most ``batch_tokens`` (a longer one stands alone), padding
    at most ``PADDING`` of it unless the batch is ``SMALL``."""
    batches: list[list[int]] = []
    held = 0  # tokens of the last batch
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        longest = lengths[batches[-1][0]] if batches else 0
        padded = longest * (len(batches[-1]) + 1) if batches else 0
        full = padded > batch_tokens
        wasteful = padded - held - lengths[index] > PADDING * padded and held >= SMALL * batch_tokens
        if batches and not full and not wasteful:
            batches[-1].append(index)
            held += lengths[index]
        else:
            batches.append([index])
            held = lengths[index]
    return batches


def sections(windows: Iterable[Window], tokens: int) -> Iterator[list[Window]]:
    """Windows in groups of about so many tokens."""
    section: list[Window] = []
    held = 0
    for window in windows:
        section.append(window)
        held += len(window.ids) - 1
        if held >= tokens:
            yield section
            section, held = [], 0
    if section:
        yield section


def scored_tokens(window: Window) -> int:
    return sum(part.stop - part.start for part in window.parts)


class Engine:
    """Scores windows with one model; several processes share the batches through their ledgers."""

    def __init__(
        self,
        model: LanguageModel,
        ledger: Ledger,
        batch_tokens: int,
        processes: Processes | None = None,
        section_tokens: int = SECTION_TOKENS,
    ) -> None:
        self.model, self.ledger, self.batch_tokens = model, ledger, batch_tokens
        self.processes = processes or Processes()
        self.section_tokens = section_tokens
        self.parts = ledger.parts
        self.batches = self.tokens = self.padded = 0  # batches so far; tokens forwarded here, without and with padding

    def score(
        self, windows: Iterable[Window], advance: Callable[[int, bool], None] = lambda _, __: None
    ) -> Iterator[tuple[Window, Floats]]:
        """Yield every window, in the order given, with the log-probabilities of its scored tokens.

        ``advance`` is told how many more tokens have been scored, and whether an earlier run did it. Under torchrun
        only the first process gets results.
        """
        for section in sections(windows, self.section_tokens):
            yield from self.score_section(section, advance)

    def score_section(
        self, section: Sequence[Window], advance: Callable[[int, bool], None]
    ) -> Iterator[tuple[Window, Floats]]:
        plan = plan_batches([len(window.ids) - 1 for window in section], self.batch_tokens)
        first, self.batches = self.batches, self.batches + len(plan)
        sizes = [sum(scored_tokens(section[index]) for index in batch) for batch in plan]
        for number, (batch, size) in enumerate(zip(plan, sizes, strict=True)):
            mine = number % self.processes.count == self.processes.rank
            earlier = self.ledger.has(first + number, size)
            if mine and not earlier:
                values = np.concatenate(self.score_batch([section[index] for index in batch]))
                self.ledger.add(first + number, values, self.parts)
            advance(size, earlier)
        self.processes.wait()
        if self.processes.rank > 0:
            return
        if self.processes.count > 1:
            self.ledger.gather()
        found: dict[int, Floats] = {}
        for number, batch in enumerate(plan):
            ends = np.cumsum([scored_tokens(section[index]) for index in batch])
            found.update(zip(batch, np.split(self.ledger.read(first + number), ends[:-1]), strict=True))
        for index, window in enumerate(section):
            yield window, found[index]

    def score_batch(self, batch: Sequence[Window]) -> list[Floats]:
        """Values of each window. Out of memory, the batch is done again in twice as many parts, and so are later ones:
        ``parts`` says how many. The numbers depend on batch and parts alone."""
        while True:
            parts = min(self.parts, len(batch))
            cuts = [len(batch) * part // parts for part in range(parts + 1)]
            try:
                return [values for start, stop in pairwise(cuts) for values in self.score_part(batch[start:stop])]
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            # outside the handler, whose traceback would keep the tensors alive
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if parts == len(batch):
                raise UserError(f"one window does not fit in memory: {reason}", fix="give a smaller --max-length")
            self.parts = 2 * parts
            log.warning("out of memory: batches go on in %d parts; a smaller --batch-tokens avoids this", self.parts)

    def score_part(self, batch: Sequence[Window]) -> list[Floats]:
        ranges = [[(part.start, part.stop) for part in window.parts] for window in batch]
        values = list(log_probabilities(self.model, [window.ids for window in batch], ranges))
        self.tokens += sum(len(window.ids) - 1 for window in batch)
        self.padded += len(batch) * max(len(window.ids) - 1 for window in batch)
        return values


def out_of_memory(error: RuntimeError) -> bool:
    """Whether ``error`` says that memory ran out, on an accelerator or in the machine's own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
