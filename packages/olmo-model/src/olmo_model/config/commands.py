"""What conversion, generation and the look-ups take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError
from ..ranges import LARGEST_SEED, Stretches, above, check_ranges, number, stretches, whole


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
    """What to continue, and how."""

    prompt: str | None = None
    """Text to continue. Empty: begin a document."""

    prompts: str | None = None
    """JSON Lines file of prompts instead (.gz and .zst too): {"prompt": TEXT} or {"prompt_tokens": [ID, …]} in each
    row, other keys are kept."""

    max_new_tokens: int = field(default=64, metadata=whole(1))
    """Most tokens to add."""

    temperature: float = field(default=0.0, metadata=number(0))
    """0 takes the likeliest token each time; 1 draws from the model's distribution, lower values sharpen it."""

    top_k: int | None = field(default=None, metadata=whole(1))
    """Draw among the k likeliest tokens only."""

    top_p: float | None = field(default=None, metadata=number(0, 1))
    """Draw among the likeliest tokens that together have this probability only (nucleus sampling)."""

    stop: tuple[str, ...] = ()
    """A text that ends the continuation and is left out; give the option several times for several."""

    stop_token: tuple[int, ...] = field(default=(), metadata=whole(0))
    """An id that ends the continuation besides the end of a document, and is left out."""

    samples: int = field(default=1, metadata=whole(1))
    """Continuations of each prompt."""

    seed: int = field(default=0, metadata=whole(0, LARGEST_SEED))
    """Seed of the draws. With it a prompt gets the same draws whatever else is in the file or in the batch."""

    batch_size: int = field(default=16, metadata=whole(1))
    """Most sequences to compute at once."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a CUDA device if there is one."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of weights and cache. bf16 halves the memory; on processors it is no faster."""

    speculative: bool = True
    """Where the text repeats itself, guess several tokens from what stands before and check them in one pass. The text
    is the same without, in more time."""

    tokenizer: str | None = None
    """The model's tokenizer.json, where it does not lie in the folder."""

    output: str | None = None
    """File for the result: JSON for one prompt, JSON Lines for a file of them."""

    def __post_init__(self) -> None:
        check_ranges(self, "options")
        if (self.prompt is None) == (self.prompts is None):
            raise UserError(
                "there is no prompt" if self.prompt is None else "there are both a prompt and a file of prompts",
                where="options",
                fix="give either --prompt TEXT or --prompts FILE",
            )
        if "" in self.stop:
            raise UserError("a text to stop at is empty", where="options", fix="give --stop TEXT")


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Where a planned run would run."""

    ranks: int = field(default=1, metadata=whole(1))
    """Processes that share the work, one for each device."""

    accelerator: str | None = None
    """Kind of device, such as h100, a100 or 4090, whose data sheet gives speed, memory and power; nothing is measured
    then."""

    mfu: float | None = field(default=None, metadata=above(0))
    """Share of the accelerator's peak that the training reaches, up to 1; 0.4 where unset."""

    measured_steps: int | None = field(default=None, metadata=whole(1))
    """Steps to take the speed from, where no accelerator is named; 5 where unset."""

    watts: float | None = field(default=None, metadata=above(0))
    """Power of a device; by its data sheet where unset."""

    def __post_init__(self) -> None:
        check_ranges(self, "options")
        if self.mfu is not None and self.accelerator is None:
            raise UserError("mfu is given without an accelerator", where="options", fix="give --accelerator NAME too")
        if self.mfu is not None and self.mfu > 1:
            raise UserError(f"mfu is {self.mfu:g}", where="options", fix="give a share, such as 0.4")
        if self.measured_steps is not None and self.accelerator is not None:
            raise UserError(
                "there are both steps to measure and an accelerator", where="options", fix="give one of them"
            )


@dataclass(frozen=True, kw_only=True)
class WhichDataConfig:
    """Which steps to look at."""

    step: tuple[int | str, ...] = field(metadata=stretches())
    """A step, or steps like 10-20 or 3,10-20; the option may be given several times."""

    tokens: str | None = None
    """Folder of the tokens artifact, where it is no longer where the run's configuration says."""

    documents: str | None = None
    """Folder of the documents artifact that the tokens were made of. Characters are then counted in the text as it
    stands there, else as the tokenizer's normaliser left it; the two differ only where it changed something before."""

    global_indices: str | None = None
    """File in which OLMo's trainer wrote the order of its epoch; unset, RUN/train_data/global_indices.npy of an OLMo
    run. The batch size, and the tokens where no folder is given, are those of RUN/config.yaml."""

    first_step: int = field(default=1, metadata=whole(1))
    """The step that took the first instance of such a file: not 1 where its epoch is not the run's first."""

    output: str | None = None
    """File for the result as JSON."""

    def __post_init__(self) -> None:
        check_ranges(self, "options")

    def ranges(self) -> list[range]:
        """The steps in the order given."""
        return [steps for part in self.step for steps in Stretches().read(part)]


@dataclass(frozen=True, kw_only=True)
class WhichStepsConfig:
    """Which document to look for."""

    doc: str
    """Id of the document."""

    tokens: str | None = None
    """Folder of the tokens artifact, where it is no longer where the run's configuration says."""

    documents: str | None = None
    """Folder of the documents artifact that the tokens were made of; characters are then counted in the text there."""

    global_indices: str | None = None
    """File in which OLMo's trainer wrote the order of its epoch; unset, RUN/train_data/global_indices.npy of an OLMo
    run. The batch size, and the tokens where no folder is given, are those of RUN/config.yaml."""

    first_step: int = field(default=1, metadata=whole(1))
    """The step that took the first instance of such a file: not 1 where its epoch is not the run's first."""

    output: str | None = None
    """File for the result as JSON."""

    def __post_init__(self) -> None:
        check_ranges(self, "options")
