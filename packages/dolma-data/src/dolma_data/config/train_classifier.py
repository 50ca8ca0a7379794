"""Settings of ``train-classifier``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from .kinds import Count, Place, Several

Positive = Annotated[int, Parameter(validator=Number(gte=1))]


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """The model and its training, as in Joulin et al. 2016 (arXiv 1607.01759)."""

    dimension: Positive = 32
    """Numbers that stand for a word."""

    word_ngrams: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 2
    """Words in the longest run that counts as one feature."""

    min_characters: Positive = 2
    """Shortest run of characters inside a word that counts as a feature."""

    max_characters: Count = 4
    """Longest such run; 0 for words alone."""

    buckets: Positive = 1 << 18
    """Rows that runs of words and of characters share by their hash."""

    min_count: Positive = 1
    """Rarer words are known by their characters alone."""

    loss: Literal["softmax", "ova"] = "softmax"
    """softmax: one label out of several; ova: each label by itself."""

    epochs: Positive = 15
    """Passes over the examples, each in an order of its own."""

    learning_rate: Annotated[float, Parameter(validator=Number(gt=0))] = 0.5
    """At the beginning; it falls to 0 in a straight line."""


@dataclass(frozen=True, kw_only=True)
class TrainClassifierConfig:
    """Settings of ``train-classifier``."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS]
    """JSON Lines with text and label: files, patterns, or folders with documents/ in them."""

    output: Annotated[Path, Place.WRITTEN]
    """Folder to write the classifier to."""

    name: str | None = None
    """Name of the classifier and of its tagger; default: that of the output folder."""

    text_field: str = "text"
    """Where the text is; a.b for a field b inside of a."""

    label_field: str = "label"
    """Where the label is; `source` to tell sources of documents apart."""

    labels: dict[str, str] = field(default_factory=dict)
    """Labels to train on instead of those read, `--labels.wiki good --labels.forum poor`; others are left out."""

    lower: bool = False
    """Read text in lower case, in training and ever after."""

    held_out: Annotated[float, Parameter(validator=Number(gt=0, lt=1))] = 0.2
    """Fraction of each label's examples to measure by; equal texts stay on one side."""

    seed: Count = 0
    """Of the split, the first weights and the order of examples."""

    settings: ClassifierSettings = field(default_factory=ClassifierSettings)
    """The model and its training."""

    max_failed: Count = 0
    """Lines without text or label before the command fails."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
