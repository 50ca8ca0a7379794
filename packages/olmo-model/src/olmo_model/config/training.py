"""A training run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UserError
from ..ranges import LARGEST_SEED, check_ranges, whole
from .data import DataSettings
from .model import ModelSettings
from .optimization import OptimizerSettings, SchedulerSettings

Precision = Literal["fp32", "amp_bf16"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """When to keep the state of the run. The last step is always kept."""

    save_interval: int = field(default=1000, metadata=whole(1))
    """Steps between checkpoints."""

    keep: int | None = field(default=None, metadata=whole(1))
    """How many of the newest checkpoints to keep; all of them where unset."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to measure while training. The last step is always evaluated."""

    interval: int = field(default=1000, metadata=whole(1))
    """Steps between evaluations."""

    windows: str | None = None
    """Folder of a windows artifact, for perplexity by source."""

    requests: str | None = None
    """Folder of a requests artifact in its tokenised form, for rank classification."""

    tasks: tuple[str, ...] | None = None
    """Tasks of the requests artifact to use; all of them where unset."""

    batch_tokens: int = field(default=8192, metadata=whole(1))
    """Tokens of one evaluation batch, padding included."""


@dataclass(frozen=True, kw_only=True)
class WandbSettings:
    """Logging to Weights & Biases (extra ``wandb``). Off until a project is named."""

    project: str | None = None
    """Project to log to."""

    entity: str | None = None
    """User or team that owns the project."""

    group: str | None = None
    """Group of runs that belong together."""

    mode: Literal["online", "offline"] = "offline"
    """Whether to send at once (online) or keep the records in the run folder for `wandb sync` (offline)."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run. `olmo-model train CONFIG.yaml --optimizer.learning-rate 1e-3` changes one value."""

    save_folder: str
    """Folder of the run: configuration, metrics, data order and checkpoints."""

    data: DataSettings
    """The data."""

    run_name: str | None = None
    """Name of the run; the name of save_folder where unset."""

    seed: int = field(default=6198, metadata=whole(0, LARGEST_SEED))
    """Seed of the first weights and of the data order."""

    model: ModelSettings = field(default_factory=ModelSettings)
    """The model."""

    global_batch_size: int = field(default=16, metadata=whole(1))
    """Instances of one step."""

    micro_batch_size: int | None = field(default=None, metadata=whole(1))
    """Instances that are computed together; a divisor of global_batch_size, which it equals where unset."""

    max_duration: str = "1000"
    """Length of the run: steps ("1000"), or tokens ("20e6T": as many whole steps as fit into them)."""

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """The optimizer."""

    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    """The learning-rate schedule."""

    precision: Precision = "fp32"
    """fp32, or amp_bf16: bfloat16 matrix products under autocast over fp32 weights, on CUDA only."""

    device: Device = "auto"
    """Where to compute; auto takes a CUDA device if there is one."""

    threads: int | None = field(default=None, metadata=whole(1, 1024))
    """Threads of the CPU; where unset what torch takes, its cores or OMP_NUM_THREADS."""

    log_interval: int = field(default=10, metadata=whole(1))
    """Steps between rows of metrics and lines on the console."""

    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    """Checkpoints."""

    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    """Evaluation in the loop."""

    wandb: WandbSettings = field(default_factory=WandbSettings)
    """Weights & Biases."""

    def __post_init__(self) -> None:
        check_ranges(self, "configuration")
        if self.micro_batch_size is not None and self.global_batch_size % self.micro_batch_size:
            raise UserError(
                f"micro_batch_size {self.micro_batch_size} does not divide global_batch_size {self.global_batch_size}",
                where="configuration",
                fix="choose a divisor, so that every micro-batch weighs the same",
            )


def plain(config: object) -> dict[str, Any]:
    """A dataclass tree as a tree of plain values (tuples become lists), as it is written to YAML."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)

    def simple(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: simple(item) for key, item in value.items()}
        return [simple(item) for item in value] if isinstance(value, (list, tuple)) else value

    result = simple(dataclasses.asdict(config))
    assert isinstance(result, dict)
    return result


def duration_in_steps(text: str, tokens_per_step: int, *, key: str) -> int:
    """Steps of a duration: ``"1000"`` counts steps, ``"20e6T"`` tokens, of which as many whole steps as fit.

    ``tokens_per_step`` is instances times sequence length. Raises UserError where it is neither, or no whole step.
    """
    try:
        value = float(text.removesuffix("T"))
        whole_value = int(value)
        if value < 0 or (not text.endswith("T") and whole_value != value):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{key} is {text!r}", where="configuration", fix='give steps from 0 like "1000", or tokens like "20e6T"'
        ) from error
    steps = whole_value // tokens_per_step if text.endswith("T") else whole_value
    if steps == 0 and value != 0:
        raise UserError(
            f"{key} is {text!r}, less than one step of {tokens_per_step} tokens",
            where="configuration",
            fix="make it longer or batches smaller",
        )
    return steps
