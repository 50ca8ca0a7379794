"""How fast a device can multiply matrices, and what share of that a training makes use of."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache

import torch

from .config.model import ModelConfig
from .errors import UserError
from .presets import parameter_count

GEMM_SIZE = 768  # of the square matrices that a processor is measured with
GEMM_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A device by name: dense bfloat16 FLOP/s, bytes of memory, watts of the board, and what device names it has.

    Figures are those of the makers' data sheets, without sparsity; where there are several boards, of the most common.
    """

    name: str
    flops: float
    memory: int
    watts: float
    pattern: str


def _listed(name: str, teraflops: float, gigabytes: float, watts: float, pattern: str) -> Accelerator:
    return Accelerator(name=name, flops=teraflops * 1e12, memory=int(gigabytes * 1e9), watts=watts, pattern=pattern)


# The first whose pattern is found in the name of a device is meant: boards of lower rates stand before their family.
ACCELERATORS = (
    # NVIDIA H200 and H100 Tensor Core GPU data sheets (SXM5: 989.4, NVL: 835, PCIe: 756 TFLOP/s)
    _listed("h200", 989.4, 141, 700, r"\bH200\b"),
    _listed("h100-pcie", 756, 80, 350, r"\bH100\b.*PCIe"),
    _listed("h100-nvl", 835, 94, 400, r"\bH100\b.*NVL"),
    _listed("h100", 989.4, 80, 700, r"\bH100\b"),
    # NVIDIA Blackwell architecture brief, HGX B200: 4.5 PFLOP/s with sparsity
    _listed("b200", 2250, 180, 1000, r"\bB200\b"),
    # NVIDIA A100 80GB data sheet
    _listed("a100-40gb", 312, 40, 400, r"\bA100\b.*40GB"),
    _listed("a100", 312, 80, 400, r"\bA100\b"),
    # NVIDIA A10, A40, L4, L40S, RTX 6000 Ada data sheets
    _listed("a10g", 70, 24, 300, r"\bA10G\b"),
    _listed("a10", 125, 24, 150, r"\bA10\b"),
    _listed("a40", 149.7, 48, 300, r"\bA40\b"),
    _listed("l40s", 362, 48, 350, r"\bL40S\b"),
    _listed("l4", 121, 24, 72, r"\bL4\b"),
    # NVIDIA GA102 and Ada architecture papers (float32 accumulation)
    _listed("3090", 71, 24, 350, r"\bRTX 3090\b(?! Ti)"),
    _listed("4090", 165.2, 24, 450, r"\bRTX 4090\b(?! D| Laptop)"),
    # AMD Instinct MI250X (both dies; torch shows each by itself, so half), MI300X data sheets
    _listed("mi250x", 191.5, 64, 280, r"\bMI250X\b"),
    _listed("mi300x", 1307.4, 192, 750, r"\bMI300X\b"),
)


def find_accelerator(device_name: str) -> Accelerator | None:
    """The accelerator of a device that calls itself so, as ``torch.cuda.get_device_name`` does; None for unknown."""
    return next((one for one in ACCELERATORS if re.search(one.pattern, device_name)), None)


def named_accelerator(name: str) -> Accelerator:
    """The accelerator of this name; an unknown one is a UserError that lists them."""
    for one in ACCELERATORS:
        if one.name == name.lower():
            return one
    known = ", ".join(one.name for one in ACCELERATORS)
    raise UserError(f"unknown accelerator {name!r}", where="--accelerator", fix=f"choose one of {known}")


@dataclass(frozen=True, kw_only=True)
class Peak:
    """FLOP/s that utilization is measured against, and where the figure comes from."""

    flops: float
    source: str


def peak_of(device: torch.device, setting: float | None) -> Peak | None:
    """What a device can do at best: ``setting`` where it is given; on CUDA the dense bfloat16 peak of its data sheet,
    None for a device that is not in the table; on a processor the rate of float32 matrix products, measured here."""
    if setting is not None:
        return Peak(flops=setting, source="peak_flops")
    if device.type == "cpu":
        rate = rate_of_this_processor(torch.get_num_threads())
        return Peak(flops=rate, source="float32 matrix products measured on this processor")
    name = torch.cuda.get_device_name(device)
    found = find_accelerator(name)
    return None if found is None else Peak(flops=found.flops, source=f"dense bfloat16 of {name}")


@cache
def rate_of_this_processor(threads: int) -> float:
    """What :func:`gemm_rate` gives with so many threads, which are those that torch uses; measured once a process."""
    return gemm_rate()


def gemm_rate(size: int = GEMM_SIZE, seconds: float = GEMM_SECONDS) -> float:
    """FLOP/s of the fastest of the float32 products of square matrices that ``seconds`` have room for, on the
    processor and with the threads that torch uses."""
    one = torch.ones(size, size)
    out = torch.empty_like(one)
    torch.mm(one, one, out=out)  # the first makes threads and buffers
    fastest = float("inf")
    now = time.perf_counter()
    until = now + seconds
    while True:
        began = now
        torch.mm(one, one, out=out)
        now = time.perf_counter()
        fastest = min(fastest, now - began)
        if now >= until:
            return 2 * size**3 / fastest


def training_flops_per_token(model: ModelConfig, sequence_length: int) -> int:
    """Floating-point operations of a training step per token: 6 a weight (the head counted once, the look-up of an
    untied embedding not), and the products of causal attention, of which half is needed (Chowdhery et al. 2022, B).
    What is computed again for the backward pass is not counted."""
    weights = parameter_count(model) - (0 if model.weight_tying else model.embedding_size * model.d_model)
    return 6 * weights + 6 * model.n_layers * model.d_model * sequence_length


def utilization(flops_per_token: float, tokens_per_second: float, peak_flops: float) -> float:
    """Model FLOP/s utilization in percent: the FLOP/s that the model's tokens are worth over those of the devices
    (Chowdhery et al. 2022, B). ``tokens_per_second`` and ``peak_flops`` are of the same number of devices."""
    return 100 * flops_per_token * tokens_per_second / peak_flops
