"""What a run will take, before it begins."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .accelerators import Accelerator, find_accelerator, named_accelerator, training_flops_per_token
from .batches import Batches
from .callbacks.console import time_left
from .config.commands import PlanOptions
from .config.training import TrainConfig
from .memory import layout_of, memory_for, memory_of_rank, optimizer_bytes, refuse_too_large
from .plan import Plan, choose_device, make_plan
from .presets import parameter_count
from .ranks import Ranks
from .train import build_model, build_trainer, build_update, set_threads, within_memory

WARM_UP_STEPS = 2
MEASURED_STEPS = 5
MFU = 0.4  # of the peak: what a well-kept trainer reaches


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Figures of a planned run; memory of a rank and sizes in bytes, time in seconds of training steps alone, energy
    of the devices alone in kWh, None where their power is not known."""

    parameters: int
    instances: int
    tokens_per_step: int
    steps: int
    tokens: int
    epochs: float
    ranks: int
    micro_batch_size: int
    memory: dict[str, int]
    memory_available: int
    checkpoint_bytes: int
    flops_per_token: int
    flops: float
    tokens_per_second: float
    speed_from: str
    seconds: float
    device_hours: float
    energy_kwh: float | None


def estimate(config: TrainConfig, options: PlanOptions) -> Estimate:
    """Reckon a run from the shapes of its model and from a speed: that of an accelerator by name, else that of a few
    steps of the real data here, of which nothing is kept.

    Raises UserError where a rank's memory does not suffice, before anything is built.
    """
    set_threads(config.threads)
    named = None if options.accelerator is None else named_accelerator(options.accelerator)
    half = config.precision == "amp_bf16" or (named is not None and config.precision == "auto")
    if named is not None:  # of another machine: what this one has decides nothing
        plan = make_plan(dataclasses.replace(config, device="cpu", precision="fp32"), options.ranks)
        device, available, where = "cuda", named.memory, f"on the {named.name}"
    else:
        plan = make_plan(config, options.ranks)
        device, half = plan.device.type, plan.config.precision == "amp_bf16"
        available, where = memory_for(plan.device, options.ranks)
    layout = layout_of(plan, options.ranks, device, half=half)
    refuse_too_large(plan.model, layout, available, where)
    flops = training_flops_per_token(plan.model, plan.sequence_length)
    if named is not None:
        share = MFU if options.mfu is None else options.mfu
        rate = options.ranks * named.flops * share / flops
        speed_from = f"{100 * share:g} % of the {named.flops / 1e12:,.4g} TFLOP/s of each {named.name}"
    else:
        steps = options.measured_steps or MEASURED_STEPS
        rate = _measured_speed(config, plan, steps)
        speed_from = f"measured in {steps} steps here"
        if device == "cuda" and options.ranks > 1:
            rate, speed_from = rate * options.ranks, f"{speed_from}, times {options.ranks} ranks"
    total = plan.tokens_seen(plan.max_steps)
    seconds = total / rate
    epoch, position = plan.order.position(plan.max_steps + 1)
    watts = options.watts if options.watts is not None else _watts(named, device)
    parameters = parameter_count(plan.model)
    return Estimate(
        parameters=parameters,
        instances=len(plan.instances),
        tokens_per_step=plan.tokens_per_step,
        steps=plan.max_steps,
        tokens=total,
        epochs=epoch + position / plan.order.instances,
        ranks=options.ranks,
        micro_batch_size=plan.micro_batch_size,
        memory=memory_of_rank(plan.model, layout),
        memory_available=available,
        checkpoint_bytes=4 * parameters + optimizer_bytes(plan.model, plan.config.optimizer),
        flops_per_token=flops,
        flops=float(flops) * total,
        tokens_per_second=rate,
        speed_from=speed_from,
        seconds=seconds,
        device_hours=seconds * options.ranks / 3600,
        energy_kwh=None if watts is None else watts * options.ranks * seconds / 3.6e6,
    )


def _watts(named: Accelerator | None, device: str) -> float | None:
    """Power of a device by its data sheet."""
    if named is None and device == "cuda":
        named = find_accelerator(torch.cuda.get_device_name())
    return None if named is None else named.watts


def _measured_speed(config: TrainConfig, plan: Plan, steps: int) -> float:
    """Tokens per second of one process here, with the micro-batches of the plan."""
    alone = make_plan(dataclasses.replace(config, micro_batch_size=plan.micro_batch_size))
    ranks = Ranks(device=choose_device(config))
    batches = Batches(alone, ranks)
    try:
        with within_memory():
            model = build_model(alone, ranks)
            trainer = build_trainer(alone, ranks, model, build_update(alone, ranks, model), batches)
            for _ in range(WARM_UP_STEPS):
                trainer.train_step()
            trainer.settle()
            started = time.perf_counter()
            for _ in range(steps):
                trainer.train_step()
                trainer.settle()
            seconds = time.perf_counter() - started
    finally:
        batches.close()
    return (alone.tokens_seen(WARM_UP_STEPS + steps) - alone.tokens_seen(WARM_UP_STEPS)) / seconds


def as_lines(found: Mapping[str, Any]) -> list[str]:
    """The fields of an estimate for a person."""
    parts = [f"{name} {size / 1e6:,.0f} MB" for name, size in found["memory"].items() if name != "total"]
    energy = found["energy_kwh"]
    each = "" if found["ranks"] == 1 else f" on each of {found['ranks']} ranks"
    return [
        f"parameters       {found['parameters']:,}",
        f"data             {found['instances']:,} instances",
        f"step             {found['tokens_per_step']:,} tokens, micro-batches of {found['micro_batch_size']}{each}",
        f"run              {found['steps']:,} steps, {found['tokens']:,} tokens, {found['epochs']:.2f} epochs",
        f"memory           {found['memory']['total'] / 1e6:,.0f} of {found['memory_available'] / 1e6:,.0f} MB{each}: "
        + ", ".join(parts),
        f"checkpoint       {found['checkpoint_bytes'] / 1e6:,.0f} MB",
        f"work             {found['flops_per_token']:,} floating-point operations a token, {found['flops']:.3g} in all",
        f"speed            {found['tokens_per_second']:,.0f} tokens/s ({found['speed_from']})",
        f"time             {time_left(found['seconds'])} without evaluation, {found['device_hours']:,.3g} device hours",
        "energy           "
        + ("not known here; --watts gives a device's power" if energy is None else f"{energy:,.3g} kWh of the devices"),
    ]
