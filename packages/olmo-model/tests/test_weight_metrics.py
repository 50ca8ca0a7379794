"""Statistics of single weights, and the end of a run whose loss goes up."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

from olmo_model.callbacks.early_stopping import EarlyStopping
from olmo_model.callbacks.weight_metrics import WeightMetrics
from olmo_model.optim.statistics import statistics


def test_statistics_are_of_magnitudes_but_for_the_mean():
    found = statistics([torch.tensor([[3.0, -4.0]]), torch.tensor([1.0, 0.0, -7.0])])
    assert found[0].tolist() == [3.0, 4.0, -0.5, 5.0]
    assert found[1].tolist() == pytest.approx([0.0, 7.0, -2.0, math.sqrt(50)])


def test_every_weight_its_gradient_and_its_state_have_a_row(make_model, make_update):
    model = make_model(n_layers=1)
    update = make_update(model)
    model(torch.arange(8).reshape(1, 8), read_out=lambda hidden, head: hidden).square().mean().backward()
    update.apply(1, torch.tensor(1.0))
    callback = WeightMetrics(interval=2)
    row: dict[str, float] = {}
    callback.step(SimpleNamespace(current_step=1, update=update), row)
    assert row == {}
    callback.step(SimpleNamespace(current_step=2, update=update), row)
    name = "transformer.blocks.0.attn_out.weight"
    weight = dict(model.named_parameters())[name]
    assert row[f"optim/param/{name}.norm"] == pytest.approx(weight.norm().item(), rel=1e-6)
    assert row[f"optim/grad/{name}.max"] == weight.grad.abs().max().item()
    assert row[f"optim/exp_avg_sq/{name}.avg"] > 0
    assert len(row) == 4 * 4 * len(list(model.parameters()))
    assert all(math.isfinite(value) for value in row.values())


def test_a_loss_far_above_the_least_stops_the_run_after_the_warm_up(tmp_path):
    trainer = SimpleNamespace(current_step=0, stop_requested=False)
    callback = EarlyStopping(1.5, tmp_path / "metrics.jsonl", after_step=3)
    callback.start(trainer)
    for step, loss in enumerate([2.0, 8.0, 4.0, None, 2.9], start=1):
        trainer.current_step = step
        callback.step(trainer, {} if loss is None else {"train/CrossEntropyLoss": loss})
        assert not trainer.stop_requested
    trainer.current_step = 6
    callback.step(trainer, {"train/CrossEntropyLoss": 3.1})
    assert trainer.stop_requested


def test_the_least_loss_is_that_of_the_run_also_where_it_goes_on(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    losses = {1: 4.0, 2: 2.0000000000000004, 3: 3.0, 5: 1.0}
    rows = [{"step": step, "train/CrossEntropyLoss": loss} for step, loss in losses.items()]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"step": 4, "eval/x": 0.5}]))
    trainer = SimpleNamespace(current_step=4, stop_requested=False)  # of step 5 the weights are lost
    callback = EarlyStopping(1.5, metrics, after_step=0)
    callback.start(trainer)
    assert callback.least == 2.0000000000000004
    trainer.current_step = 5
    callback.step(trainer, {"train/CrossEntropyLoss": 3.1})
    assert trainer.stop_requested
