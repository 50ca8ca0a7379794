"""Forward and backward in bfloat16: several ranks compute what one process does."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from ranks import on_ranks

from olmo_model.batches import Batches
from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import OptimizerSettings, SchedulerSettings
from olmo_model.config.parallel import ParallelSettings
from olmo_model.config.training import TrainConfig
from olmo_model.parallel import on_grid
from olmo_model.plan import make_plan
from olmo_model.ranks import joined
from olmo_model.train import build_model, build_trainer, build_update

SHAPE = ModelSettings(preset="olmo-1m", d_model=32, n_heads=4, n_layers=2, mlp_hidden_size=256, max_sequence_length=16)
MODELS = {
    "layer_norm": SHAPE,
    "rms_norm": dataclasses.replace(SHAPE, norm="rms_norm", weight_tying=False),
    "norm_after": dataclasses.replace(SHAPE, norm="rms_norm", norm_after=True, qk_norm=True, weight_tying=False),
}
STEPS = 20


def losses(tokens: Path, model: ModelSettings, parallel: ParallelSettings, recomputed: str = "none") -> list[float]:
    """The loss of every step, in bfloat16, of the same micro-batches on any number of ranks."""
    config = TrainConfig(
        save_folder="run",
        data=DataSettings(tokens=str(tokens)),
        model=model,
        global_batch_size=16,
        micro_batch_size=2,
        max_duration=str(STEPS),
        optimizer=OptimizerSettings(learning_rate=3e-3),
        scheduler=SchedulerSettings(warmup="3"),
        activation_checkpointing=recomputed,
        parallel=parallel,
    )
    with joined("cpu") as ranks:
        plan = make_plan(config, ranks.world)
        # a plan on a processor refuses bfloat16 for its speed; it computes the same as a device that has it
        plan = dataclasses.replace(plan, config=dataclasses.replace(plan.config, precision="amp_bf16"))
        ranks = on_grid(ranks, parallel, plan.model)
        network = build_model(plan, ranks)
        batches = Batches(plan, ranks)
        trainer = build_trainer(plan, ranks, network, build_update(plan, ranks, network), batches)
        found = [trainer.train_step().cross_entropy.item() for _ in range(STEPS)]
        assert all(weight.dtype == weight.grad.dtype == torch.float32 for weight in network.parameters())
        batches.close()
        return found


@lru_cache
def alone(tokens: Path, model: str) -> list[float]:
    torch.set_num_threads(1)
    return losses(tokens, MODELS[model], ParallelSettings())


@pytest.mark.parametrize(
    ("world", "model", "parallel", "recomputed"),
    [
        (2, "rms_norm", ParallelSettings(), "none"),
        (4, "layer_norm", ParallelSettings(replicas=2), "one_in_two"),
        (4, "norm_after", ParallelSettings(reshard_after_forward=False), "none"),
    ],
    ids=str,
)
def test_ranks_have_the_losses_of_one_process(tokens_folder, world, model, parallel, recomputed):
    expected = alone(tokens_folder, model)
    found = on_ranks(world, losses, tokens_folder, MODELS[model], parallel, recomputed)
    assert all(each == found[0] for each in found)
    # sums of gradients differ in the last bit of float32, until a weight falls on another side of a rounding
    assert found[0][:5] == pytest.approx(expected[:5], rel=1e-6)
    assert found[0] == pytest.approx(expected, rel=1e-3)


def test_one_rank_is_bitwise_one_process(tokens_folder):
    expected = alone(tokens_folder, "norm_after")
    assert on_ranks(1, losses, tokens_folder, MODELS["norm_after"], ParallelSettings())[0] == expected


def test_tensor_groups_differ_by_the_rounding_of_their_parts(tokens_folder):
    expected = alone(tokens_folder, "rms_norm")
    found = on_ranks(2, losses, tokens_folder, MODELS["rms_norm"], ParallelSettings(tensor=2))[0]
    assert found == pytest.approx(expected, rel=1e-3)
