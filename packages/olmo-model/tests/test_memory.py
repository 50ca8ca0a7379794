"""Memory of a rank from shapes, and what is said where it does not suffice."""

from __future__ import annotations

import dataclasses

import pytest

from olmo_model.accelerators import named_accelerator
from olmo_model.config.model import ModelConfig, ModelSettings
from olmo_model.config.optimization import OptimizerSettings
from olmo_model.config.parallel import ParallelSettings
from olmo_model.errors import UserError
from olmo_model.memory import Layout, machine_memory, memory_of_rank, optimizer_bytes, refuse_too_large
from olmo_model.presets import model_config, parameter_count

ONE = Layout(
    device="cpu",
    half=False,
    ranks=1,
    parallel=ParallelSettings(),
    sequence_length=16,
    micro_batch=8,
    micro_batches=1,
    recomputed="none",
    optimizer=OptimizerSettings(),
    checkpoint_copy=False,
)
LARGE = dataclasses.replace(ONE, device="cuda", half=True, sequence_length=2048)


def preset(name: str, **changes: object) -> ModelConfig:
    settings = ModelSettings(preset=name, **changes)
    return model_config(settings, vocab_size=50280, eos_token_id=50279, pad_token_id=1)


SMALL = preset("olmo-1m", d_model=32, n_heads=2, n_layers=2, mlp_hidden_size=128, embedding_size=50304)


def test_every_part_of_a_small_model_by_hand():
    parameters = 50304 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64)
    block = 2 * 32 * 4 + 4 * (96 + 32 + 128) + 4 * 2  # inputs of norms; queries, keys, values; attended; up and gate
    assert memory_of_rank(SMALL, ONE) == {
        "weights": 4 * parameters,
        "gradients": 4 * parameters,
        "optimizer": 8 * parameters,
        "activations": 128 * (2 * block + 32 * 12),
        "working": 128 * 50304 * 4,
        "allocator": 40_000_000 + round(0.4 * 128 * (2 * block + 32 * 12 + 50304 * 4)),
        "total": 16 * parameters + round(1.4 * 128 * (2 * block + 32 * 12 + 50304 * 4)) + 40_000_000,
    }


def test_the_copy_for_a_checkpoint_counts_on_a_processor():
    found = memory_of_rank(SMALL, dataclasses.replace(ONE, checkpoint_copy=True))
    assert found["checkpoint"] == 12 * parameter_count(SMALL)
    assert found["total"] == memory_of_rank(SMALL, ONE)["total"] + found["checkpoint"]


@pytest.mark.parametrize(("name", "of_matrices", "of_others"), [("adamw", 8, 8), ("lionw", 4, 4), ("muon", 4, 8)])
def test_the_state_of_each_optimizer(name, of_matrices, of_others):
    matrices = 2 * (4 * 32 * 32 + 3 * 32 * 64)
    expected = of_matrices * matrices + of_others * 50304 * 32
    assert optimizer_bytes(SMALL, OptimizerSettings(name=name)) == expected


def test_shards_and_tensor_groups_share_and_replicas_do_not():
    model = preset("olmo-7b")
    alone = memory_of_rank(model, LARGE)
    eight = memory_of_rank(model, dataclasses.replace(LARGE, ranks=8))
    parameters = parameter_count(model)
    assert eight["weights"] == parameters * 4 // 8
    assert eight["optimizer"] * 8 == alone["optimizer"] == 8 * parameters
    pairs = dataclasses.replace(LARGE, ranks=8, parallel=ParallelSettings(replicas=4))
    assert memory_of_rank(model, pairs)["optimizer"] == 4 * parameters
    tensor = memory_of_rank(model, dataclasses.replace(LARGE, ranks=2, parallel=ParallelSettings(tensor=2)))
    tables = 2 * 50304 * 4096
    assert tensor["gradients"] == 4 * (tables + (parameters - tables) // 2)
    assert tensor["activations"] < 0.8 * alone["activations"]


def test_smaller_micro_batches_and_activations_computed_again_take_less():
    model = preset("olmo-1b")
    whole = memory_of_rank(model, LARGE)["activations"]
    half = memory_of_rank(model, dataclasses.replace(LARGE, micro_batch=4))["activations"]
    some = memory_of_rank(model, dataclasses.replace(LARGE, recomputed="one_in_two"))["activations"]
    every = memory_of_rank(model, dataclasses.replace(LARGE, recomputed="whole_layer"))["activations"]
    assert half * 2 == whole
    assert every < some < whole
    assert every < 0.3 * whole


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("olmo-1b", {"micro_batch": 32}, r"micro_batch_size \d+ would fit"),
        ("olmo-7b", {"micro_batch": 2, "micro_batches": 512}, r"\d+ ranks, .*micro_batch_size 1 would fit"),
        ("olmo-7b", {"micro_batch": 1, "device": "cpu", "half": False}, "choose a smaller model"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name, changes, said):
    card = named_accelerator("h100")
    with pytest.raises(UserError, match=rf"a rank takes about .* there are 80.00 GB on the h100 .*{said}"):
        refuse_too_large(preset(name), dataclasses.replace(LARGE, **changes), card.memory, "on the h100")


def test_activations_are_computed_again_where_the_smallest_micro_batch_is_too_large():
    model = preset("olmo-1b", max_sequence_length=65536)
    layout = dataclasses.replace(LARGE, micro_batch=1, sequence_length=65536)
    with pytest.raises(UserError, match="activation_checkpointing whole_layer and micro_batch_size 1 would fit"):
        refuse_too_large(model, layout, 80_000_000_000, "on the h100")


def test_what_fits_is_not_refused():
    refuse_too_large(SMALL, ONE, memory_of_rank(SMALL, ONE)["total"], "here")


def test_the_machine_has_memory():
    assert 1e8 < machine_memory() < 1e15
