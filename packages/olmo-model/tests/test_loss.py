from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from olmo_model import loss
from olmo_model.config.optimization import LossSettings
from olmo_model.loss import (
    IGNORED,
    language_model_loss,
    linear_cross_entropy,
    next_token_labels,
    token_log_probabilities,
)


def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(37, 16, generator=generator, requires_grad=True)
    weight = torch.randn(50, 16, generator=generator, requires_grad=True)
    labels = torch.randint(0, 50, (37,), generator=generator)
    labels[[3, 20, 36]] = IGNORED
    return hidden, weight, labels


@pytest.mark.parametrize("rows", [1, 7, 37, 100])
def test_value_and_gradients_are_those_of_cross_entropy_for_any_chunk(monkeypatch, rows):
    monkeypatch.setitem(loss.CHUNK_ROWS, "cpu", rows)
    hidden, weight, labels = problem()
    expected = F.cross_entropy(hidden @ weight.T, labels, ignore_index=IGNORED)
    wanted = torch.autograd.grad(3 * expected, (hidden, weight))
    found = linear_cross_entropy(hidden, weight, labels).total
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(torch.autograd.grad(3 * found, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_on_a_processor_the_place_of_the_logits_stays(monkeypatch):
    """Whatever was computed in it before, in whatever mode, and with fewer or more columns."""
    monkeypatch.setattr(loss, "_kept", [])
    hidden, weight, labels = problem()
    with torch.inference_mode():
        linear_cross_entropy(hidden, weight, labels)
    (place,) = loss._kept
    found = torch.autograd.grad(linear_cross_entropy(hidden, weight, labels).total, (hidden, weight))
    few = labels.clamp(max=19)
    linear_cross_entropy(hidden, weight[:20], few).total.backward()
    assert loss._kept[0] is place
    expected = torch.autograd.grad(F.cross_entropy(hidden @ weight.T, labels, ignore_index=IGNORED), (hidden, weight))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    more = torch.randn(60, 16)
    torch.testing.assert_close(
        linear_cross_entropy(hidden, more, labels).total,
        F.cross_entropy(hidden @ more.T, labels, ignore_index=IGNORED),
    )


def test_large_logits_do_not_overflow():
    hidden, weight, labels = problem()
    value = linear_cross_entropy(hidden * 1000, weight, labels).total
    expected = F.cross_entropy((hidden * 1000) @ weight.T, labels, ignore_index=IGNORED)
    torch.testing.assert_close(value, expected)


def test_no_gradient_is_made_where_none_is_wanted():
    hidden, weight, labels = problem()
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, weight, labels).total.requires_grad


def test_all_labels_ignored_gives_zero():
    hidden, weight, labels = problem()
    assert linear_cross_entropy(hidden, weight, torch.full_like(labels, IGNORED)).total.item() == 0.0


def test_autocast_runs_products_in_bfloat16_and_sums_in_float32():
    hidden, weight, labels = problem()
    expected = F.cross_entropy((hidden.bfloat16() @ weight.bfloat16().T).float(), labels, ignore_index=IGNORED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_cross_entropy(hidden, weight, labels).total
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    found.backward()
    assert weight.grad.dtype == torch.float32


def z_term(logits: torch.Tensor, counted: torch.Tensor, semantics: str) -> torch.Tensor:
    squares = logits.logsumexp(dim=1).square()
    return squares.mean() if semantics == "v1" else (squares * counted).sum() / len(squares)


@pytest.mark.parametrize("z_loss", [0.0, 1e-4, 0.3])
@pytest.mark.parametrize("semantics", ["v1", "late"])
@pytest.mark.parametrize("rows", [7, 100])
def test_both_semantics_are_those_written_with_whole_logits(monkeypatch, semantics, z_loss, rows):
    monkeypatch.setitem(loss.CHUNK_ROWS, "cpu", rows)
    hidden, weight, labels = problem()
    logits = hidden @ weight.T
    summed = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    cross_entropy = summed / (34 if semantics == "v1" else 37)  # three of the 37 labels do not count
    z = z_loss * z_term(logits, labels != IGNORED, semantics)
    wanted = torch.autograd.grad(3 * (cross_entropy + z), (hidden, weight))
    found = linear_cross_entropy(hidden, weight, labels, LossSettings(semantics=semantics, z_loss=z_loss))
    torch.testing.assert_close(found.total, cross_entropy + z)
    torch.testing.assert_close(found.cross_entropy, cross_entropy)  # what is reported never includes the z-loss
    assert not found.cross_entropy.requires_grad
    if z_loss:
        torch.testing.assert_close(found.z_loss, z)
    else:
        assert found.z_loss is None
    for ours, theirs in zip(torch.autograd.grad(3 * found.total, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_labels_are_the_next_ids_and_the_last_is_ignored():
    assert next_token_labels(torch.tensor([[5, 6, 7]])).tolist() == [[6, 7, IGNORED]]


def test_masked_ids_are_not_predicted_but_read():
    ids = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]])
    label_mask = torch.tensor([[True, True, False, True], [True] * 4])
    assert next_token_labels(ids, label_mask=label_mask).tolist() == [[6, IGNORED, 8, IGNORED], [2, 3, 4, IGNORED]]
    instance_mask = torch.tensor([True, False])
    assert next_token_labels(ids, instance_mask=instance_mask).tolist() == [[6, 7, 8, IGNORED], [IGNORED] * 4]


@pytest.mark.parametrize(("semantics", "divisor"), [("v1", 7), ("late", 16)])
def test_a_masked_batch_is_divided_as_its_semantics_says(make_model, semantics, divisor):
    model = make_model()
    ids = torch.randint(0, 300, (2, 8), generator=torch.Generator().manual_seed(0))
    found = language_model_loss(
        model, ids, instance_mask=torch.tensor([True, False]), settings=LossSettings(semantics=semantics)
    )
    summed = F.cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="sum")
    torch.testing.assert_close(found.total, summed / divisor)


def test_log_probabilities_of_tokens():
    hidden, weight, labels = problem()
    targets = labels.clamp(min=0)
    expected = (hidden @ weight.T).log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(token_log_probabilities(hidden, weight, targets), expected.detach())
