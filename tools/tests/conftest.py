"""Fixtures of the tests of tools: hand-made artifacts, and the checker run on them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from builders import corpus, evaluation, training

BUILDERS = (
    *(corpus.documents, corpus.mixed, corpus.plain, corpus.attributes, corpus.duplicates, corpus.summaries),
    *(corpus.classifier, corpus.decontamination_set, corpus.tokenizer, corpus.tokens),
    *(evaluation.suite, evaluation.windows, evaluation.perplexity_results, evaluation.unigram, evaluation.comparison),
    *(evaluation.curves, evaluation.earlier_comparison),
    *(evaluation.task, evaluation.requests, evaluation.predictions, evaluation.predictions_comparison),
    *(training.checkpoint, training.run, training.provenance),
)


@pytest.fixture
def build(tmp_path: Path) -> SimpleNamespace:
    """Builders below a fresh folder: ``build.tokens()`` writes a valid tokens artifact and returns its path."""
    return SimpleNamespace(**{builder.__name__: partial(builder, tmp_path) for builder in BUILDERS})


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Run the checker: (exit status, lines of its output)."""
    import check_artifacts

    def run(*arguments: object) -> tuple[int, list[str]]:
        capsys.readouterr()
        status = check_artifacts.main([str(argument) for argument in arguments])
        return status, capsys.readouterr().out.splitlines()

    return run
