from __future__ import annotations

import pytest
import torch

from olmo_model.config.optimization import GuardSettings, LossSettings, OptimizerSettings
from olmo_model.errors import UserError
from olmo_model.loss import Loss, language_model_loss
from olmo_model.trainer import Trainer
from olmo_model.update import Update


def batch(step: int) -> torch.Tensor:
    return torch.randint(0, 300, (4, 16), generator=torch.Generator().manual_seed(step))


def make_trainer(model, guard=None, optimizer=None, **changes):
    optimizer = OptimizerSettings(max_grad_norm=0.5, **optimizer or {})
    update = Update(model, optimizer, guard or GuardSettings(), learning_rate=lambda step: 0.01 / step)
    settings = {
        "compute_loss": lambda ids: language_model_loss(model, ids),
        "update": update,
        "next_batch": lambda step: (batch(step),),
        "max_steps": 3,
        "micro_batch_size": 4,
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
        assert result.cross_entropy.item() == pytest.approx(loss.item(), rel=1e-6)
        assert result.applied.clipped.norm.item() == pytest.approx(norm.item(), rel=1e-5)
        assert result.applied.learning_rate == 0.01 / step
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("semantics", ["v1", "late"])
def test_micro_batches_add_up_to_the_batch(make_model, semantics):
    def trainer(size):
        model, settings = make_model(), LossSettings(semantics=semantics, z_loss=1e-3)
        return make_trainer(
            model,
            compute_loss=lambda ids: language_model_loss(model, ids, settings=settings),
            micro_batch_size=size,
        )

    whole, parts = trainer(4), trainer(1)
    for _ in range(3):
        one, other = whole.train_step(), parts.train_step()
        assert other.cross_entropy.item() == pytest.approx(one.cross_entropy.item(), rel=1e-5)
        assert other.z_loss.item() == pytest.approx(one.z_loss.item(), rel=1e-5)
        assert other.applied.clipped.norm.item() == pytest.approx(one.applied.clipped.norm.item(), rel=1e-4)


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


def spoiled(model, value, steps, factor=1.0):
    """The loss of a model, with ``value`` added in some steps; a count of steps taken."""
    taken = [0]

    def compute(ids):
        taken[0] += 1
        loss = language_model_loss(model, ids)
        if taken[0] not in steps:
            return loss
        return Loss(loss.total * factor + value, loss.cross_entropy + value, None)

    return compute


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("settle_interval", [1, 3])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(make_model, value, settle_interval):
    model, clean = make_model(), make_model()
    trainer = make_trainer(
        model,
        compute_loss=spoiled(model, value, {2}),
        describe_batch=lambda step: f"document 7 of step {step}",
        settle_interval=settle_interval,
    )
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step 2; its batch holds document 7 of step 2"):
        trainer.fit()
    assert trainer.current_step == (2 if settle_interval == 1 else 3)  # known late, but nothing moved in between
    make_trainer(clean, max_steps=1).fit()
    assert all(map(torch.equal, model.parameters(), clean.parameters()))


@pytest.mark.parametrize("name", ["adamw", "lionw", "muon"])
@pytest.mark.parametrize("value", [float("nan"), 5.0])
def test_a_skipped_step_leaves_the_weights_and_the_optimizer_as_they_were(make_model, name, value):
    guard = GuardSettings(non_finite="skip", spike="skip", window=4)
    model, clean = make_model(), make_model()
    skipped = []
    trainer = make_trainer(
        model,
        guard,
        {"name": name},
        compute_loss=spoiled(model, value, {4}, factor=1e3),
        max_steps=6,
        on_skipped=lambda step, account: skipped.append((step, account)),
        settle_interval=6,
    )
    trainer.fit()
    expected = "the loss is nan" if value != value else "more than 6 standard deviations above the last 4"
    assert [step for step, _ in skipped] == [4]
    assert expected in skipped[0][1]
    other = make_trainer(clean, guard, {"name": name})
    other.fit()
    other.current_step = 4  # as if the step had never been
    other.max_steps = 6
    other.fit()
    assert all(map(torch.equal, model.parameters(), clean.parameters()))


def test_a_step_that_is_not_finite_has_no_row(make_model):
    model = make_model()
    trainer = make_trainer(
        model, GuardSettings(non_finite="skip"), compute_loss=spoiled(model, float("nan"), {2}), settle_interval=9
    )
    rows = [trainer.train_step().row() for _ in range(3)]
    assert rows[1] == {}
    assert set(rows[0]) == {
        "train/CrossEntropyLoss", "optim/learning_rate", "optim/total_grad_norm", "optim/clipping_rate",
    }  # fmt: skip
    assert rows[0]["optim/clipping_rate"] == 1.0


def test_lionw_and_z_loss_have_values_of_their_own(make_model):
    model = make_model()
    trainer = make_trainer(
        model,
        optimizer={"name": "lionw"},
        compute_loss=lambda ids: language_model_loss(model, ids, settings=LossSettings(z_loss=1e-4)),
    )
    row = trainer.train_step().row()
    assert 0 < row["optim/update_cos_sim"] < 1
    assert row["train/ZLoss"] == pytest.approx(1e-4 * 6.0**2, rel=0.3)  # ln 384 is 5.95
