"""Every setting of a run as plain dataclasses. Nothing here imports torch, so that ``--help`` stays fast."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import UserError
from .ranges import LARGEST_SEED, above, check_ranges, number, whole

Precision = Literal["fp32", "amp_bf16"]
Device = Literal["auto", "cpu", "cuda"]
ScheduleName = Literal["linear_with_warmup", "cosine_with_warmup"]

ROW_MULTIPLE = (
    128  # rows of the embedding and width of the MLP are multiples of this (Groeneveld et al. 2024, section 2)
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture, complete: OLMo v1 (Groeneveld et al. 2024, arXiv 2402.00838, table 1)."""

    d_model: int = field(metadata=whole(1))
    """Width of the residual stream."""

    n_heads: int = field(metadata=whole(1))
    """Attention heads; d_model is a multiple of it."""

    n_layers: int = field(metadata=whole(1))
    """Transformer blocks."""

    mlp_hidden_size: int = field(metadata=whole(1))
    """Width of the fused gate and up projection, twice the width of the MLP; a multiple of 128."""

    max_sequence_length: int = field(metadata=whole(1))
    """Longest input in tokens; the rotary tables are made for it."""

    vocab_size: int = field(metadata=whole(1))
    """Ids of the tokenizer."""

    embedding_size: int = field(metadata=whole(1))
    """Rows of the embedding and of the head: vocab_size padded to a multiple of 128."""

    eos_token_id: int = field(metadata=whole(0))
    """Id that ends a document."""

    pad_token_id: int = field(metadata=whole(0))
    """Id for padding; never trained on, but written to the model's configuration."""

    weight_tying: bool = True
    """Use the embedding as the output head."""

    clip_qkv: float | None = field(default=None, metadata=above(0))
    """Clamp the queries, keys and values to this magnitude."""

    rope_theta: float = field(default=10000.0, metadata=above(0))
    """Base of the rotary embedding's wave lengths."""

    def __post_init__(self) -> None:
        check_ranges(self, "model")
        problems = {
            "d_model is not a multiple of n_heads": self.d_model % self.n_heads != 0,
            "the head size (d_model / n_heads) is odd": (self.d_model // self.n_heads) % 2 != 0,
            f"mlp_hidden_size is not a multiple of {ROW_MULTIPLE}": self.mlp_hidden_size % ROW_MULTIPLE != 0,
            "embedding_size is smaller than vocab_size": self.embedding_size < self.vocab_size,
            "eos_token_id lies outside the vocabulary": self.eos_token_id >= self.vocab_size,
            "pad_token_id lies outside the vocabulary": self.pad_token_id >= self.vocab_size,
        }
        for problem, present in problems.items():
            if present:
                raise UserError(problem, where="model", fix="change the model's shape")

    @property
    def head_size(self) -> int:
        return self.d_model // self.n_heads


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model to train: a preset and, where wanted, other values for its fields."""

    preset: str = "olmo-3m"
    """Size to start from: olmo-1m, -2m, -3m, -5m, -20m, -60m, -150m, olmo-1b, olmo-7b or olmo-65b."""

    d_model: int | None = field(default=None, metadata=whole(1))
    """Width of the residual stream, instead of the preset's."""

    n_heads: int | None = field(default=None, metadata=whole(1))
    """Attention heads, instead of the preset's."""

    n_layers: int | None = field(default=None, metadata=whole(1))
    """Transformer blocks, instead of the preset's."""

    mlp_hidden_size: int | None = field(default=None, metadata=whole(1))
    """Width of the fused gate and up projection (twice that of the MLP), instead of the preset's."""

    max_sequence_length: int | None = field(default=None, metadata=whole(1))
    """Longest input in tokens, instead of the preset's."""

    vocab_size: int | None = field(default=None, metadata=whole(1))
    """Ids of the tokenizer; taken from the tokens artifact where unset."""

    embedding_size: int | None = field(default=None, metadata=whole(1))
    """Rows of the embedding; vocab_size padded to a multiple of 128 where unset."""

    eos_token_id: int | None = field(default=None, metadata=whole(0))
    """Id that ends a document; taken from the tokens artifact where unset, refused where it differs from it."""

    pad_token_id: int | None = field(default=None, metadata=whole(0))
    """Id for padding; taken from the tokens artifact where unset."""

    weight_tying: bool | None = None
    """Use the embedding as the output head, instead of the preset's choice."""

    clip_qkv: float | None = field(default=None, metadata=above(0))
    """Clamp the queries, keys and values to this magnitude; unset means no clamp."""

    rope_theta: float | None = field(default=None, metadata=above(0))
    """Base of the rotary embedding, instead of the preset's 10000."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What to train on."""

    tokens: str
    """Folder of the tokens artifact."""

    sequence_length: int | None = field(default=None, metadata=whole(2))
    """Tokens of an instance; the model's max_sequence_length where unset."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW (Loshchilov and Hutter 2019) with the decay on linear weights only, embeddings left out."""

    learning_rate: float = field(default=4e-4, metadata=above(0))
    """Peak learning rate."""

    betas: tuple[float, float] = field(default=(0.9, 0.95), metadata=number(0, 1, below=True))
    """Decay of the running means of gradient and squared gradient."""

    eps: float = field(default=1e-5, metadata=above(0))
    """Added to the root of the squared gradient's mean."""

    weight_decay: float = field(default=0.1, metadata=number(0))
    """Decoupled weight decay, times the learning rate at every step."""

    max_grad_norm: float = field(default=1.0, metadata=above(0))
    """Bound of the global L2 norm of the gradient."""


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """How the learning rate moves: a linear warm-up, then a decay to a fraction of the peak."""

    name: ScheduleName = "linear_with_warmup"
    """Form of the decay."""

    warmup: str = "2000"
    """Length of the warm-up: steps ("2000") or tokens ("20e6T")."""

    warmup_start: float = field(default=0.1, metadata=number(0, 1))
    """Learning rate before the first step as a fraction of the peak."""

    t_max: str | None = None
    """Where the decay ends, in steps or tokens; the end of the run where unset."""

    alpha_f: float = field(default=0.1, metadata=number(0, 1))
    """Learning rate at the end of the decay as a fraction of the peak."""


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


def padded(rows: int) -> int:
    """The next multiple of 128."""
    return math.ceil(rows / ROW_MULTIPLE) * ROW_MULTIPLE
