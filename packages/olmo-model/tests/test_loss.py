from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from olmo_model import loss
from olmo_model.loss import IGNORED, linear_cross_entropy, next_token_labels, token_log_probabilities


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
    found = linear_cross_entropy(hidden, weight, labels)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(torch.autograd.grad(3 * found, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_large_logits_do_not_overflow():
    hidden, weight, labels = problem()
    value = linear_cross_entropy(hidden * 1000, weight, labels)
    expected = F.cross_entropy((hidden * 1000) @ weight.T, labels, ignore_index=IGNORED)
    torch.testing.assert_close(value, expected)


def test_no_gradient_is_made_where_none_is_wanted():
    hidden, weight, labels = problem()
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, weight, labels).requires_grad


def test_all_labels_ignored_gives_zero():
    hidden, weight, labels = problem()
    assert linear_cross_entropy(hidden, weight, torch.full_like(labels, IGNORED)).item() == 0.0


def test_autocast_runs_products_in_bfloat16_and_sums_in_float32():
    hidden, weight, labels = problem()
    expected = F.cross_entropy((hidden.bfloat16() @ weight.bfloat16().T).float(), labels, ignore_index=IGNORED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_cross_entropy(hidden, weight, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    found.backward()
    assert weight.grad.dtype == torch.float32


def test_labels_are_the_next_ids_and_the_last_is_ignored():
    assert next_token_labels(torch.tensor([[5, 6, 7]])).tolist() == [[6, 7, IGNORED]]


def test_log_probabilities_of_tokens():
    hidden, weight, labels = problem()
    targets = labels.clamp(min=0)
    expected = (hidden @ weight.T).log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(token_log_probabilities(hidden, weight, targets), expected.detach())
