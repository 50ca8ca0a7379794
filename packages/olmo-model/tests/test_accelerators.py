"""Peaks of devices by name, the measured rate of a processor, and the share of it that a training uses."""

from __future__ import annotations

import time

import pytest
import torch

from olmo_model.accelerators import (
    ACCELERATORS,
    find_accelerator,
    gemm_rate,
    named_accelerator,
    peak_of,
    rate_of_this_processor,
    training_flops_per_token,
    utilization,
)
from olmo_model.config.model import ModelSettings
from olmo_model.errors import UserError
from olmo_model.presets import model_config


@pytest.mark.parametrize(
    ("device_name", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA A40", "a40"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "4090"),
        ("NVIDIA GeForce RTX 3090", "3090"),
        ("AMD Instinct MI300X", "mi300x"),
        ("AMD Instinct MI250X", "mi250x"),
    ],
)
def test_a_device_is_found_by_what_it_calls_itself(device_name, name):
    found = find_accelerator(device_name)
    assert found is not None
    assert found.name == name
    assert named_accelerator(name.upper()) is found


@pytest.mark.parametrize("device_name", ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A1000", "NVIDIA L400", "GH200"])
def test_a_device_of_another_kind_is_not_taken_for_a_known_one(device_name):
    assert find_accelerator(device_name) is None


def test_names_are_unique_and_an_unknown_one_is_refused_with_the_list():
    assert len({one.name for one in ACCELERATORS}) == len(ACCELERATORS)
    with pytest.raises(UserError, match=r"unknown accelerator 'h1000' .*h200, h100-pcie"):
        named_accelerator("h1000")


def test_the_rate_of_a_processor_is_measured_in_a_fraction_of_a_second():
    rate_of_this_processor.cache_clear()
    began = time.perf_counter()
    peak = peak_of(torch.device("cpu"), None)
    assert time.perf_counter() - began < 2  # it asks for a fifth; machines are busy
    assert peak is not None
    assert peak.source == "float32 matrix products measured on this processor"
    assert 1e8 < peak.flops < 1e14


def test_the_rate_of_a_processor_is_measured_once_for_each_number_of_threads():
    """A measured figure comes twice by chance hardly ever."""
    torch.set_num_threads(1)
    alone = peak_of(torch.device("cpu"), None)
    torch.set_num_threads(2)
    both = peak_of(torch.device("cpu"), None)
    torch.set_num_threads(1)
    assert peak_of(torch.device("cpu"), None) == alone != both


def test_one_product_is_enough_to_measure():
    assert gemm_rate(size=64, seconds=0) > 0


def test_a_setting_is_taken_for_any_device():
    peak = peak_of(torch.device("cpu"), 5e12)
    assert peak is not None
    assert (peak.flops, peak.source) == (5e12, "peak_flops")


def test_utilization_of_an_h100_by_the_1b_at_55_000_tokens_a_second():
    settings = ModelSettings(preset="olmo-1b")
    model = model_config(settings, vocab_size=50280, eos_token_id=50279, pad_token_id=1)
    flops = training_flops_per_token(model, 4096)
    assert flops == 6 * 1_176_764_416 + 6 * 16 * 2048 * 4096
    share = utilization(flops, 55_000, named_accelerator("h100").flops)
    assert share == pytest.approx(43.73, abs=0.01)
