"""Settings of ``decontaminate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .kinds import Count, Place, Several


@dataclass(frozen=True, kw_only=True)
class EvaluationRule:
    """Which evaluation text, and when a document holds it."""

    suites: Annotated[tuple[str, ...], Several, Place.READ] = ()
    """Folders of perplexity suites, as paloma-ppl prepare writes them, or in Paloma's published layout."""

    requests: Annotated[tuple[str, ...], Several, Place.READ] = ()
    """Files of evaluation requests (OLMo's or catwalk-eval's requests.jsonl.gz), or folders of them."""

    texts: Annotated[tuple[str, ...], Several, Place.READ] = ()
    """JSON Lines with a text, or with a question and an answer or choices; id, source and domain are optional."""

    exempt_sources: Annotated[tuple[str, ...], Several] = ()
    """Evaluation sources whose text is left out, such as code, whose lines say little."""

    minimum_words: int = 13
    """Lines of suites, requests and texts count from so many words on (Unicode Standard Annex 29, letter or digit)."""

    ngram_length: int = 0
    """Compare n-grams of so many words instead of lines; 0: lines. Case, punctuation and line breaks do not count.
    Usual are 13 (GPT-3, lm-evaluation-harness) and 12 (datatrove). A shorter text is compared as a whole."""

    ngram_minimum_words: int = 8
    """A question, an answer or a choice by itself counts from so many words on, and a text shorter than ngram_length
    does; 8 as in GPT-3 (arXiv 2005.14165, appendix C), whose authors found chance hits below."""

    ngram_threshold: float = 0.8
    """Share of a text's different n-grams that a document must hold; the share is the score."""


@dataclass(frozen=True, kw_only=True)
class DecontaminateConfig:
    """Settings of ``decontaminate``."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS]
    """Folders with documents/ in them, files or patterns; attributes go to attributes/ beside documents/."""

    decontamination_set: Annotated[Path | None, Place.READ] = None
    """Folder of the evaluation text that must not be trained on, as paloma-ppl decontamination-set writes it."""

    evaluation: Annotated[EvaluationRule, Parameter(name="*")] = field(default_factory=EvaluationRule)
    """Which evaluation text, and when a document holds it."""

    name: str = "decontamination"
    """Folder and key of the attributes."""

    report: Annotated[Path | None, Place.WRITTEN] = None
    """Folder for report.json and report.md: what was hit by source and by item, with the text."""

    max_failed: Count = 0
    """Lines that may be unreadable (they keep their place in the attributes) before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
