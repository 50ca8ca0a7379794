"""Two hundred steps on data made here, against curves kept in ``golden/``: one for each semantics of the loss.

Each curve is made in float32 on one thread from fixed seeds. Values agree to 1e-6 in every step on one machine and
build; other processors order the sums of their products otherwise, and 200 steps make such differences larger, so the
allowance grows: relative 1e-6 for what the first step computes, 1e-4 for the last one. Any change of what is computed
(another divisor, another order of clipping and learning rate, another warm-up) moves values by far more.

To make them anew after a change that is meant: ``python tests/test_golden_curves.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from olmo_model.config.model import Initialization, ModelConfig
from olmo_model.config.optimization import GuardSettings, LossSettings, OptimizerSettings
from olmo_model.initialization import initialize
from olmo_model.loss import language_model_loss
from olmo_model.model import Transformer
from olmo_model.schedule import ClipWarmup, Schedule
from olmo_model.trainer import Trainer
from olmo_model.update import Update

FOLDER = Path(__file__).parent / "golden"
STEPS = 200
SHAPE = ModelConfig(
    d_model=32, n_heads=2, n_layers=2, mlp_hidden_size=128, max_sequence_length=16, vocab_size=64, embedding_size=128,
    eos_token_id=0, pad_token_id=1,
)  # fmt: skip
SETTINGS = {
    "v1": (LossSettings(semantics="v1", z_loss=1e-4), "linear_with_warmup", {}),
    "late": (
        LossSettings(semantics="late", z_loss=1e-5),
        "cosine_with_warmup",
        {"eps": 1e-8, "decay_embeddings": True},
    ),
}


def ids_of(step: int) -> torch.Tensor:
    """Ids [4, 16] in which each follows from the one before, but for some noise."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(2, 64, (4, 16), generator=generator)
    for place in range(1, 16):
        follows = torch.rand(4, generator=generator) < 0.8
        ids[:, place] = torch.where(follows, (ids[:, place - 1] * 5 + 3) % 62 + 2, ids[:, place])
    return ids


def mask_of(step: int) -> torch.Tensor:
    """Labels that count [4, 16]: in every third step half of the first instance's do not."""
    mask = torch.ones(4, 16, dtype=torch.bool)
    if step % 3 == 0:
        mask[0, :8] = False
    return mask


def curve(semantics: str) -> list[list[float]]:
    """Cross-entropy, z-loss, gradient norm and learning rate of every step."""
    torch.set_num_threads(1)
    loss, form, optimizer = SETTINGS[semantics]
    model = Transformer(SHAPE)
    initialize(model, Initialization(), 6198)
    schedule = Schedule(name=form, peak=5e-3, warmup=20, t_max=180)
    bound = ClipWarmup(until=10, factor=5.0)
    update = Update(
        model,
        OptimizerSettings(max_grad_norm=0.5, **optimizer),
        GuardSettings(),
        learning_rate=schedule.learning_rate,
        bound_factor=lambda step: bound.at(step - 1),
    )
    trainer = Trainer(
        compute_loss=lambda ids, mask: language_model_loss(model, ids, label_mask=mask, settings=loss),
        update=update,
        next_batch=lambda step: (ids_of(step), mask_of(step)),
        max_steps=STEPS,
        micro_batch_size=2,
    )
    names = ("train/CrossEntropyLoss", "train/ZLoss", "optim/total_grad_norm", "optim/learning_rate")
    rows = [trainer.train_step().row() for _ in range(STEPS)]
    return [[row[name] for name in names] for row in rows]


@pytest.mark.parametrize("semantics", ["v1", "late"])
def test_two_hundred_steps_are_those_of_the_golden_curve(semantics):
    expected = json.loads((FOLDER / f"{semantics}.json").read_text())
    found = curve(semantics)
    assert len(expected) == len(found) == STEPS
    for step, (ours, golden) in enumerate(zip(found, expected, strict=True), start=1):
        allowed = 1e-6 * 100 ** (step / STEPS)
        assert ours[:3] == pytest.approx(golden[:3], rel=allowed), step
        assert ours[3] == pytest.approx(golden[3], rel=1e-12), step


def test_the_curves_learn_and_differ():
    curves = [json.loads((FOLDER / f"{semantics}.json").read_text()) for semantics in ("v1", "late")]
    assert all(rows[-1][0] < 0.7 * rows[0][0] for rows in curves)
    first = [rows[0] for rows in curves]
    assert first[1][0] == pytest.approx(first[0][0] * 15 / 16, rel=1e-6)  # all but the last of 16 positions count
    # of step 3's micro-batches one lacks labels: means of means against one sum over all tokens
    assert curves[1][2][0] < curves[0][2][0] * 15 / 16


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for kind in SETTINGS:
        rows = ",\n".join(json.dumps([float(f"{value:.9g}") for value in row[:3]] + row[3:]) for row in curve(kind))
        (FOLDER / f"{kind}.json").write_text(f"[\n{rows}\n]\n")
