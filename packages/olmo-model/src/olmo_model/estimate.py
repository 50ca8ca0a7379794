"""What a run will take, before it begins."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .accelerators import training_flops_per_token
from .batches import Batches
from .callbacks.console import time_left
from .config.training import TrainConfig
from .errors import UserError
from .plan import Plan, choose_device, make_plan
from .presets import parameter_count
from .ranks import Ranks
from .train import build_model, build_trainer, build_update, set_threads, within_memory

WARM_UP_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Figures of a planned run; memory in bytes, time in seconds of training steps alone."""

    parameters: int
    instances: int
    tokens_per_step: int
    steps: int
    tokens: int
    epochs: float
    memory: dict[str, int]
    flops_per_token: int
    measured_tokens_per_second: float
    seconds: float


def estimate_memory(plan: Plan) -> dict[str, int]:
    """Bytes that training takes: weights, gradients and two moments in float32, and the activations of a micro-batch.

    Kept for the backward pass of a block are, per token: input, norm, qkv, rotated q and k, attention's output and
    the MLP's input and norm (10 widths), and up, gate and their product.
    """
    model = plan.model
    parameters = parameter_count(model)
    per_token = 10 * model.d_model + 3 * model.mlp_hidden_size // 2
    activations = plan.micro_batch_size * plan.sequence_length * (model.n_layers * per_token + 3 * model.d_model)
    parts = {
        "weights": 4 * parameters,
        "gradients": 4 * parameters,
        "optimizer": 8 * parameters,
        "activations": activations * (4 if plan.config.precision == "fp32" else 2),
    }
    return parts | {"total": sum(parts.values())}


def estimate(config: TrainConfig, measured_steps: int = 5) -> Estimate:
    """Build the model, take a few steps of the real data without keeping anything, and reckon from their speed."""
    if measured_steps < 1:
        raise UserError(f"measured_steps is {measured_steps}", where="options", fix="give a whole number from 1")
    set_threads(config.threads)
    plan = make_plan(config)
    ranks = Ranks(device=choose_device(config))
    with within_memory():
        model = build_model(plan, ranks)
        trainer = build_trainer(plan, ranks, model, build_update(plan, ranks, model), Batches(plan, ranks))
        for _ in range(WARM_UP_STEPS):
            trainer.train_step()
        started = time.perf_counter()
        for _ in range(measured_steps):
            trainer.train_step()
            trainer.settle()
        seconds = time.perf_counter() - started
    before, after = WARM_UP_STEPS, WARM_UP_STEPS + measured_steps
    rate = (plan.tokens_seen(after) - plan.tokens_seen(before)) / seconds
    total = plan.tokens_seen(plan.max_steps)
    epoch, position = plan.order.position(plan.max_steps + 1)
    return Estimate(
        parameters=parameter_count(plan.model),
        instances=len(plan.instances),
        tokens_per_step=plan.tokens_per_step,
        steps=plan.max_steps,
        tokens=total,
        epochs=epoch + position / plan.order.instances,
        memory=estimate_memory(plan),
        flops_per_token=training_flops_per_token(plan.model, plan.sequence_length),
        measured_tokens_per_second=rate,
        seconds=total / rate,
    )


def as_lines(found: Mapping[str, Any]) -> list[str]:
    """The fields of an estimate for a person."""
    memory = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in found["memory"].items())
    return [
        f"parameters       {found['parameters']:,}",
        f"data             {found['instances']:,} instances",
        f"step             {found['tokens_per_step']:,} tokens",
        f"run              {found['steps']:,} steps, {found['tokens']:,} tokens, {found['epochs']:.2f} epochs",
        f"memory           {memory}",
        f"work             {found['flops_per_token']:,} floating-point operations a token",
        f"speed            {found['measured_tokens_per_second']:,.0f} tokens/s (measured)",
        f"time             {time_left(found['seconds'])} without evaluation",
    ]
