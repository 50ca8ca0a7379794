"""What conversion, generation and the look-ups take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..ranges import LARGEST_SEED, check_ranges, number, whole


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Into what to convert a model."""

    to: Literal["hf", "olmo"]
    """hf: a folder for Hugging Face's transformers. olmo: config.yaml and model.pt, as OLMo's own code reads them."""

    tokenizer: str | None = None
    """The model's tokenizer.json, where it does not lie in the folder."""

    keep_eos: bool = False
    """Leave the id of the end of a document and the tokenizer as they are, though they disagree in OLMo's known way."""

    max_shard_size: int = field(default=5_000_000_000, metadata=whole(1))
    """Bytes of one file of weights; a model with more is written as several files and an index."""

    overwrite: bool = False
    """Replace the model that lies in the target folder."""

    def __post_init__(self) -> None:
        check_ranges(self, "options")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """How to continue a prompt."""

    prompt: str
    """Text to continue. Empty: begin a document."""

    max_new_tokens: int = field(default=64, metadata=whole(1))
    """Most tokens to add."""

    temperature: float = field(default=0.0, metadata=number(0))
    """0 takes the likeliest token each time; 1 draws from the model's distribution, lower values sharpen it."""

    top_k: int | None = field(default=None, metadata=whole(1))
    """Draw among the k likeliest tokens only."""

    seed: int = field(default=0, metadata=whole(0, LARGEST_SEED))
    """Seed of the draws."""

    output: str | None = None
    """File for the result as JSON."""

    def __post_init__(self) -> None:
        check_ranges(self, "options")


@dataclass(frozen=True, kw_only=True)
class WhichDataConfig:
    """Which steps to look at."""

    step: tuple[int, ...] = field(metadata=whole(1))
    """A step; give the option several times for several steps."""

    tokens: str | None = None
    """Folder of the tokens artifact, where it is no longer where the run's configuration says."""

    output: str | None = None
    """File for the result as JSON."""

    def __post_init__(self) -> None:
        check_ranges(self, "options")


@dataclass(frozen=True, kw_only=True)
class WhichStepsConfig:
    """Which document to look for."""

    doc: str
    """Id of the document."""

    tokens: str | None = None
    """Folder of the tokens artifact, where it is no longer where the run's configuration says."""

    output: str | None = None
    """File for the result as JSON."""
