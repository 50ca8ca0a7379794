"""How weights move: the optimizer, its learning rate, the loss, the growing batch, and the guard of every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError
from ..ranges import above, number, whole

OptimizerName = Literal["adamw", "lionw", "muon"]
ScheduleName = Literal[
    "linear_with_warmup",
    "cosine_with_warmup",
    "inverse_sqrt_with_warmup",
    "max_scheduler",
    "constant",
    "constant_with_warmup",
    "wsd",
    "cosine_linear_envelope",
]
DecayForm = Literal["linear", "sqrt", "cosine"]
Units = Literal["steps", "tokens"]
LossSemantics = Literal["v1", "late"]
OnNonFinite = Literal["stop", "skip"]
OnSpike = Literal["ignore", "skip", "stop"]

WITHOUT_END = ("inverse_sqrt_with_warmup", "constant", "constant_with_warmup")  # schedules that end nowhere
DEFAULT_WARMUP = "2000"


@dataclass(frozen=True, kw_only=True)
class MuonSettings:
    """What Muon needs beside the learning rate and the decay (Jordan et al. 2024). Only with optimizer.name muon."""

    momentum: float = field(default=0.95, metadata=number(0, 1, below=True))
    """Decay of the running mean of the gradients of matrices."""

    nesterov: bool = True
    """Look ahead: orthogonalise the mean of the gradient and the new running mean."""

    iterations: int = field(default=5, metadata=whole(1, 100))
    """Newton-Schulz iterations of an orthogonalisation."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """The optimizer; weight decay falls on the weights of linear layers only, unless switched on for others."""

    name: OptimizerName = "adamw"
    """adamw (Loshchilov and Hutter 2019), lionw (Chen et al. 2023, decoupled decay), or muon (Jordan et al. 2024) for
    the matrices of the blocks with AdamW for embeddings, head, norms and biases."""

    learning_rate: float = field(default=4e-4, metadata=above(0))
    """Peak learning rate."""

    betas: tuple[float, float] = field(default=(0.9, 0.95), metadata=number(0, 1, below=True))
    """Decay of the running means: AdamW's of gradient and squared gradient; LionW's of the update and of the mean."""

    eps: float = field(default=1e-5, metadata=above(0))
    """Added to the root of the squared gradient's mean. OLMo 1 trained with 1e-5, OLMo 2 with 1e-8."""

    weight_decay: float = field(default=0.1, metadata=number(0))
    """Decoupled weight decay, times the learning rate at every step."""

    decay_norm_and_bias: bool = False
    """Decay the weights of norms and the biases too."""

    decay_embeddings: bool = False
    """Decay the embeddings too; a head that is tied to the embedding counts as embedding."""

    max_grad_norm: float | None = field(default=1.0, metadata=above(0))
    """Bound of the global L2 norm of the gradient; no clipping where unset."""

    max_grad_norm_ratio: float | None = field(default=None, metadata=above(0))
    """Bound of every parameter's gradient norm as a multiple of its running mean; takes the place of max_grad_norm."""

    metrics_interval: int | None = field(default=None, metadata=whole(1))
    """Steps between metrics of every weight, of its gradient and of what the optimizer keeps for it (least and largest
    magnitude, mean, norm); none where unset."""

    muon: MuonSettings = field(default_factory=MuonSettings)
    """What Muon needs in addition."""


@dataclass(frozen=True, kw_only=True)
class AnnealSettings:
    """A final linear anneal that continues any schedule. Off until start is given."""

    start: str | None = None
    """Where the anneal begins, in steps ("556000") or tokens ("2e12T"): the last step of the schedule as it was. A run
    may be given an anneal after the fact, as long as it starts at or after its newest checkpoint."""

    length: str = "1000"
    """Length of the anneal: steps or tokens. Let max_duration be start + length + 1 to stop after its last step."""

    learning_rate: float | None = field(default=None, metadata=above(0))
    """Learning rate that the line begins at; that of the schedule at start where unset."""

    alpha_f: float = field(default=0.001, metadata=number(0, 1))
    """Learning rate at the end of the line as a fraction of the one at its beginning (OLMo 7B: 2.3e-5 to 2.3e-8)."""


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """How the learning rate moves: a linear warm-up, then a decay to a fraction of the peak."""

    name: ScheduleName = "linear_with_warmup"
    """Form after the warm-up: linear_with_warmup, cosine_with_warmup, inverse_sqrt_with_warmup, max_scheduler (the
    larger of cosine and inverse square root), constant (no warm-up either), constant_with_warmup, wsd (stable, then a
    decay), cosine_linear_envelope (cosine times linear)."""

    units: Units = "steps"
    """What the schedule counts: steps, or tokens seen. They differ where the batch size grows. A length given in the
    other unit is converted along the run's own batches."""

    warmup: str | None = None
    """Length of the warm-up: steps ("2000") or tokens ("20e6T"); 2000 steps where unset."""

    warmup_start: float = field(default=0.1, metadata=number(0, 1))
    """Learning rate before the first step as a fraction of the peak."""

    warmup_min_lr: float | None = field(default=None, metadata=number(0))
    """Learning rate before the first step, in place of warmup_start."""

    t_max: str | None = None
    """Where the decay ends, in steps or tokens; the end of the run where unset."""

    alpha_f: float = field(default=0.1, metadata=number(0, 1))
    """Learning rate at the end of the decay as a fraction of the peak."""

    decay_form: DecayForm = "linear"
    """Form of wsd's decay: linear, sqrt (1 minus the root of the share done; Hägele et al. 2024) or cosine."""

    decay_share: float = field(default=0.1, metadata=number(0, 1))
    """Part of the schedule's length that wsd decays over, at its end."""

    grad_clip_warmup_steps: str | None = None
    """How long the bound of the gradient is looser: steps or tokens; never where unset."""

    grad_clip_warmup_factor: float | None = field(default=None, metadata=above(0))
    """By how much the bound of the gradient is multiplied until then (OLMo 7B: 10 for 1000 steps)."""

    anneal: AnnealSettings = field(default_factory=AnnealSettings)
    """The final anneal."""


@dataclass(frozen=True, kw_only=True)
class BatchWarmupSettings:
    """A batch that grows by tokens seen. OLMo 65B: sizes 1024, 2048, 4096 until 100e9T, 200e9T, 300e9T, then 8192."""

    sizes: tuple[int, ...] = field(default=(), metadata=whole(1))
    """Instances of a step in each stage, rising; after the last stage global_batch_size holds."""

    until: tuple[str, ...] = ()
    """Tokens seen ("100e9T") from which on a stage is over, one for each of sizes, rising."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What is minimised: cross-entropy of the next token and, where wanted, z-loss."""

    semantics: LossSemantics = "v1"
    """v1: the mean over the counted labels of each micro-batch, then over micro-batches. late: the sum over all counted
    labels divided by all tokens of the batch, B times T, counted or not."""

    z_loss: float = field(default=0.0, metadata=number(0))
    """Multiplier of the squared log of the softmax's denominator (OLMo 1's auxiliary loss and PaLM 1e-4, OLMo 2 1e-5);
    v1 takes its mean over all positions, late its sum over the counted ones divided by B times T."""


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """What happens to a step whose loss or gradient norm is not finite, or far above the last ones."""

    non_finite: OnNonFinite = "stop"
    """Stop before the weights change, or skip the update and go on."""

    spike: OnSpike = "ignore"
    """What to do with a loss or gradient norm above mean + sigma standard deviations of the last ones."""

    sigma: float = field(default=6.0, metadata=above(0))
    """Standard deviations from which on a value is a spike."""

    window: int = field(default=128, metadata=whole(4, 100_000))
    """How many of the last steps the mean and deviation are taken over; nothing is a spike before half of them."""


def check_optimization(
    optimizer: OptimizerSettings, scheduler: SchedulerSettings, batches: BatchWarmupSettings, global_batch_size: int
) -> None:
    """Refuse settings that contradict one another or would do nothing; each is a UserError with its key."""
    plain_scheduler, plain_anneal = SchedulerSettings(), AnnealSettings()
    problems = {
        "optimizer.muon is set, but the optimizer is " + optimizer.name: optimizer.muon != MuonSettings()
        and optimizer.name != "muon",
        "optimizer.eps does nothing with lionw": optimizer.name == "lionw" and optimizer.eps != OptimizerSettings().eps,
        "scheduler.warmup does nothing with constant": scheduler.name == "constant"
        and scheduler.warmup not in (None, "0"),
        f"scheduler.t_max does nothing with {scheduler.name}": scheduler.t_max is not None
        and scheduler.name in WITHOUT_END,
        f"scheduler.alpha_f does nothing with {scheduler.name}": scheduler.alpha_f != plain_scheduler.alpha_f
        and scheduler.name in WITHOUT_END,
        "scheduler.decay_form and decay_share are wsd's": scheduler.name != "wsd"
        and (scheduler.decay_form, scheduler.decay_share) != (plain_scheduler.decay_form, plain_scheduler.decay_share),
        "scheduler.warmup_start and warmup_min_lr say the same thing": scheduler.warmup_min_lr is not None
        and scheduler.warmup_start != plain_scheduler.warmup_start,
        "scheduler.warmup_min_lr is above optimizer.learning_rate": scheduler.warmup_min_lr is not None
        and scheduler.warmup_min_lr > optimizer.learning_rate,
        "scheduler.grad_clip_warmup_steps and grad_clip_warmup_factor belong together": (
            (scheduler.grad_clip_warmup_steps is None) != (scheduler.grad_clip_warmup_factor is None)
        ),
        "scheduler.grad_clip_warmup_steps does nothing without a bound": scheduler.grad_clip_warmup_steps is not None
        and optimizer.max_grad_norm is None
        and optimizer.max_grad_norm_ratio is None,
        "scheduler.anneal is set, but not where it starts": scheduler.anneal != plain_anneal
        and scheduler.anneal.start is None,
        "batch_warmup needs one of until for each of sizes": len(batches.sizes) != len(batches.until),
        "batch_warmup.sizes do not rise to global_batch_size": any(
            small >= large for small, large in zip(batches.sizes, [*batches.sizes[1:], global_batch_size], strict=True)
        )
        if batches.sizes
        else False,
    }
    for problem, present in problems.items():
        if present:
            raise UserError(problem, where="configuration", fix="remove or change one of them")
