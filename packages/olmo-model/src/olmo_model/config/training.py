"""A training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UserError
from ..places import is_url
from ..ranges import LARGEST_SEED, above, check_ranges, whole
from .data import DataSettings
from .model import ModelSettings
from .optimization import (
    BatchWarmupSettings,
    GuardSettings,
    LossSettings,
    OptimizerSettings,
    SchedulerSettings,
    check_optimization,
)
from .parallel import ParallelSettings

Precision = Literal["fp32", "amp_bf16", "auto"]
Recomputed = Literal[
    "none", "whole_layer", "one_in_two", "one_in_three", "one_in_four", "one_in_eight", "two_in_three", "three_in_four"
]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """When to keep the state of the run. The last step is always kept."""

    save_interval: int = field(default=1000, metadata=whole(1))
    """Steps between checkpoints that are kept."""

    keep: int | None = field(default=None, metadata=whole(1))
    """How many of the newest of them to keep; all of them where unset."""

    permanent_interval: int | None = field(default=None, metadata=whole(1))
    """Steps between further checkpoints, which stay whatever keep says."""

    ephemeral_interval: int | None = field(default=None, metadata=whole(1))
    """Steps between checkpoints that the next one replaces, so that little is lost when a machine fails. The one that a
    run leaves when it is asked to stop, or at its time limit, is such a one too."""

    asynchronous: bool = True
    """Write beside the training, from a copy of the weights and of the optimizer's state in the memory of the CPU, of
    which each rank holds its share; false writes straight away and holds a single weight."""

    max_shard_size: int = field(default=5_000_000_000, metadata=whole(1))
    """Bytes of one file of weights; the ranks write the files of a larger model in parallel."""


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

    sources: tuple[str, ...] | None = None
    """Sources of the windows artifact to use; all of them where unset."""

    limit: int | None = field(default=None, metadata=whole(1))
    """First so many windows of each source and instances of each task; all of them where unset."""

    on_load: bool = False
    """Evaluate before the first step too, new or after a checkpoint; the row stands at the step before it."""

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

    name: str | None = None
    """Name of the run there; run_name where unset."""

    tags: tuple[str, ...] | None = None
    """Tags of the run there."""

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

    remote_save_folder: str | None = None
    """URL (s3:// with olmo-model[s3], or another that fsspec opens) below which checkpoints and the other files of the
    run are copied as they come, beside the training. A folder that is fetched from there goes on like the run's own."""

    load_path: str | None = None
    """Model folder, run, or checkpoint of OLMo's own trainer, whose weights a new run begins with in place of drawn
    ones. Optimizer, schedule and data order begin anew, unless the next two settings say otherwise."""

    load_optimizer_state: bool = False
    """Take over the optimizer's state of load_path too: a checkpoint of a run, or an unsharded one (optim.pt) of OLMo's
    own trainer."""

    load_trainer_state: bool = False
    """Go on at the step of load_path, with the learning rate and the data of the steps behind it. Its data must have
    been where this configuration's is at that step."""

    global_batch_size: int = field(default=16, metadata=whole(1))
    """Instances of one step."""

    micro_batch_size: int | None = field(default=None, metadata=whole(1))
    """Instances that a rank computes together. Times the number of ranks it is a divisor of global_batch_size and of
    all batch_warmup.sizes. Where unset the largest there is."""

    batch_warmup: BatchWarmupSettings = field(default_factory=BatchWarmupSettings)
    """A batch that grows to global_batch_size."""

    max_duration: str = "1000"
    """Length of the run: steps ("1000"), tokens ("20e6T": as many whole steps as fit into them), or epochs ("2ep")."""

    early_stopping_factor: float | None = field(default=None, metadata=above(1))
    """Save and stop when a logged loss, after the warm-up, is more than so many times the least; never where unset."""

    stop_at: int | None = field(default=None, metadata=whole(1))
    """Step to stop after, though max_duration, and with it the schedule, goes on."""

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """The optimizer."""

    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    """The learning-rate schedule."""

    loss: LossSettings = field(default_factory=LossSettings)
    """What is minimised."""

    guard: GuardSettings = field(default_factory=GuardSettings)
    """Steps that may not change the weights."""

    precision: Precision = "fp32"
    """fp32, or amp_bf16: bfloat16 matrix products under autocast over fp32 weights, on CUDA only; auto: amp_bf16 on
    CUDA, fp32 on a processor."""

    device: Device = "auto"
    """Where to compute; auto takes a CUDA device if there is one."""

    activation_checkpointing: Recomputed = "none"
    """Blocks whose activations are computed again in the backward pass instead of being kept: none, all (whole_layer)
    or a share of them. It saves memory, costs up to a third more work and changes no number."""

    parallel: ParallelSettings = field(default_factory=ParallelSettings)
    """How the processes that torchrun starts share the work."""

    threads: int | None = field(default=None, metadata=whole(1, 1024))
    """Threads of the CPU; where unset what torch takes, its cores or OMP_NUM_THREADS."""

    time_limit: float | None = field(default=None, metadata=above(0))
    """Seconds after which the run saves and leaves, to be gone on with by the same command; no limit where unset. Leave
    time for a step, an evaluation and a checkpoint before whatever ends the job does."""

    log_interval: int = field(default=10, metadata=whole(1))
    """Steps between rows of metrics and lines on the console."""

    report_interval: int | None = field(default=10, metadata=whole(1))
    """Rows of metrics between two writings of report.html, a page that shows the run and reads itself again while the
    run goes on; no page where null."""

    peak_flops: float | None = field(default=None, metadata=above(0))
    """FLOP/s of one device that its utilization (MFU) is measured against. Where unset: on CUDA the dense bfloat16 peak
    of the device, if it is a known one; on a processor the rate of float32 matrix products, measured at the start."""

    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    """Checkpoints."""

    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    """Evaluation in the loop."""

    wandb: WandbSettings = field(default_factory=WandbSettings)
    """Weights & Biases."""

    tensorboard: bool = False
    """Write the rows of metrics for TensorBoard too, into the folder tensorboard of the run (extra ``tensorboard``)."""

    def __post_init__(self) -> None:
        check_ranges(self, "configuration")
        if self.load_path is None and (self.load_optimizer_state or self.load_trainer_state):
            name = "load_optimizer_state" if self.load_optimizer_state else "load_trainer_state"
            raise UserError(
                f"{name} without load_path",
                where="configuration",
                fix="give load_path; a run goes on without it",
            )
        if self.remote_save_folder is not None and not is_url(self.remote_save_folder):
            raise UserError(
                f"remote_save_folder is {self.remote_save_folder!r}, no URL",
                where="configuration",
                fix="give one such as s3://bucket/run",
            )
        check_optimization(self.optimizer, self.scheduler, self.batch_warmup, self.global_batch_size)
        if self.data.instance_filter.min_period > self.data.instance_filter.max_period:
            raise UserError(
                "data.instance_filter.min_period is above max_period", where="configuration", fix="change one of them"
            )
        for size in (self.global_batch_size, *self.batch_warmup.sizes):
            if self.micro_batch_size is not None and size % self.micro_batch_size:
                name = "global_batch_size" if size == self.global_batch_size else "batch_warmup.sizes"
                raise UserError(
                    f"micro_batch_size {self.micro_batch_size} does not divide {name} {size}",
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


def duration(text: str, *, key: str) -> tuple[int, str]:
    """A length and its unit: ``"1000"`` is 1000 steps, ``"20e6T"`` are 20,000,000 tokens, ``"2ep"`` are 2 epochs; else
    a UserError."""
    unit = "tokens" if text.endswith("T") else "epochs" if text.endswith("ep") else "steps"
    try:
        value = float(text.removesuffix("T").removesuffix("ep"))
        whole_value = int(value)
        if value < 0 or (unit != "tokens" and whole_value != value):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{key} is {text!r}", where="configuration", fix='give steps from 0 like "1000", or tokens like "20e6T"'
        ) from error
    if whole_value == 0 and value != 0:
        raise UserError(f"{key} is {text!r}, less than one token", where="configuration", fix="make it longer")
    return whole_value, unit


def duration_in_steps(
    text: str, steps_within: Callable[[int], int], *, key: str, steps_of_epochs: Callable[[int], int] | None = None
) -> int:
    """Steps of a duration; of tokens as many whole steps as fit, which ``steps_within(tokens)`` knows, of epochs what
    ``steps_of_epochs`` says.

    Raises UserError where it is no duration, or no whole step.
    """
    value, unit = duration(text, key=key)
    if unit == "epochs":
        if steps_of_epochs is None:
            raise UserError(f"{key} is {text!r}", where="configuration", fix="give steps or tokens")
        return steps_of_epochs(value)
    steps = steps_within(value) if unit == "tokens" else value
    if steps == 0 and value != 0:
        raise UserError(
            f"{key} is {text!r}, less than one step of tokens",
            where="configuration",
            fix="make it longer or batches smaller",
        )
    return steps
