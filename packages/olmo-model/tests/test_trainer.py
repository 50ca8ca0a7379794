from __future__ import annotations

import pytest
import torch

from olmo_model.config.optimization import OptimizerSettings
from olmo_model.errors import UserError
from olmo_model.loss import language_model_loss
from olmo_model.optim import adamw
from olmo_model.trainer import Trainer


def batch(step: int) -> torch.Tensor:
    return torch.randint(0, 300, (4, 16), generator=torch.Generator().manual_seed(step))


def make_trainer(model, **changes):
    settings = {
        "parameters": list(model.parameters()),
        "compute_loss": lambda ids: language_model_loss(model, ids),
        "optimizer": adamw(model, OptimizerSettings()),
        "learning_rate": lambda step: 0.01 / step,
        "next_batch": batch,
        "max_steps": 3,
        "micro_batch_size": 4,
        "max_grad_norm": 0.5,
    }
    return Trainer(**settings | changes)


def test_steps_are_those_of_plain_pytorch(make_model):
    model, reference = make_model(), make_model()
    trainer = make_trainer(model)
    decayed = [weight for name, weight in reference.named_parameters() if "wte" not in name]
    groups = [{"params": decayed}, {"params": [reference.transformer["wte"].weight], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1)
    for step in (1, 2, 3):
        result = trainer.train_step()
        optimizer.zero_grad()
        logits = reference(batch(step))[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch(step)[:, 1:].flatten())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / step
        optimizer.step()
        assert norm > 0.5
        assert result.loss == pytest.approx(loss.item(), rel=1e-6)
        assert result.grad_norm == pytest.approx(norm.item(), rel=1e-5)
        assert result.learning_rate == 0.01 / step
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_micro_batches_add_up_to_the_batch(make_model):
    whole, parts = make_trainer(make_model()), make_trainer(make_model(), micro_batch_size=1)
    for _ in range(3):
        one, other = whole.train_step(), parts.train_step()
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)


class Recorder:
    def __init__(self):
        self.seen = []

    def start(self, trainer):
        self.seen.append(("start", trainer.current_step))

    def step(self, trainer, row):
        self.seen.append(("step", trainer.current_step))
        trainer.stop_requested = trainer.current_step == 2

    def finish(self, trainer):
        self.seen.append(("finish", trainer.current_step))


def test_a_request_to_stop_ends_after_the_step(make_model):
    recorder = Recorder()
    trainer = make_trainer(make_model(), callbacks=[recorder])
    trainer.fit()
    assert recorder.seen == [("start", 0), ("step", 1), ("step", 2), ("finish", 2)]
    assert not trainer.complete


def test_going_on_counts_from_the_given_step(make_model):
    recorder = Recorder()
    make_trainer(make_model(), callbacks=[recorder], step=2).fit()
    assert recorder.seen == [("start", 2), ("step", 3), ("finish", 3)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(make_model, value):
    model = make_model()
    before = [weight.clone() for weight in model.parameters()]
    trainer = make_trainer(
        model,
        compute_loss=lambda ids: language_model_loss(model, ids) * value,
        describe_batch=lambda step: f"document 7 of step {step}",
    )
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step 1; its batch holds document 7 of step 1"):
        trainer.fit()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
