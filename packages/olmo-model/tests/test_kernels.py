from __future__ import annotations

import torch
import torch.nn.functional as F

from olmo_model.config.model import ModelConfig
from olmo_model.kernels import rms_norm, rotate, swiglu, tied
from olmo_model.model import rotary_tables


def test_swiglu_and_its_gradient():
    x = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    up, gate = x.chunk(2, dim=-1)
    torch.testing.assert_close(swiglu(x), F.silu(gate) * up)
    assert torch.autograd.gradcheck(swiglu, x)


def test_rotation_by_hand():
    cosine, sine = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])  # the pairs (1, 3) and (2, 4): a quarter turn, and none
    assert rotate(x, cosine, sine).tolist() == [[-3.0, 2.0, 1.0, 4.0]]


def test_rotation_keeps_lengths_and_its_gradient_turns_back(make_model):
    cosine, sine = rotary_tables(make_model().config, torch.device("cpu"))
    x = torch.randn(2, 4, 32, 16, requires_grad=True)
    turned = rotate(x, cosine, sine)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    turned.backward(turned.detach())
    torch.testing.assert_close(x.grad, x.detach(), atol=1e-6, rtol=1e-5)


def test_rotation_runs_in_float32_and_returns_the_input_type(make_model):
    cosine, sine = rotary_tables(make_model().config, torch.device("cpu"))
    x = torch.randn(2, 32, 16).bfloat16()
    turned = rotate(x, cosine, sine)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, rotate(x.float(), cosine, sine).bfloat16())


def test_tables_begin_at_angle_zero_and_use_theta():
    shape = {"d_model": 8, "n_heads": 2, "n_layers": 1, "mlp_hidden_size": 128, "max_sequence_length": 3}
    ids = {"vocab_size": 2, "embedding_size": 128, "eos_token_id": 0, "pad_token_id": 1}
    cosine, sine = rotary_tables(ModelConfig(**shape, **ids), torch.device("cpu"))
    torch.testing.assert_close(sine, torch.tensor([[0.0, 0.0], [1.0, 0.01], [2.0, 0.02]]).sin())
    torch.testing.assert_close(cosine, torch.tensor([[0.0, 0.0], [1.0, 0.01], [2.0, 0.02]]).cos())


def test_root_mean_square_norm_and_its_gradients_are_torchs():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 5, 48, generator=generator, requires_grad=True)
    weight = torch.rand(48, generator=generator, requires_grad=True)
    pull = torch.randn(2, 5, 48, generator=generator)
    results = []
    for norm in (lambda: rms_norm(x, weight, 1e-3), lambda: torch.nn.functional.rms_norm(x, (48,), weight, 1e-3)):
        out = norm()
        results.append((out, *torch.autograd.grad(out, (x, weight), pull)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_tied_weights_get_the_gradient_of_rows_and_head_without_a_second_matrix():
    ids = torch.tensor([[1, 2], [2, 0]])
    weight = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda matrix: tied(ids, matrix), weight)
    embedded, head = tied(ids, weight)
    (F.linear(embedded, head).square().sum()).backward()
    expected = weight.detach().clone().requires_grad_()
    F.linear(F.embedding(ids, expected), expected).square().sum().backward()
    torch.testing.assert_close(weight.grad, expected.grad)


def test_either_use_of_tied_weights_alone():
    ids = torch.tensor([[1, 1]])
    weight = torch.zeros(3, 2, requires_grad=True)
    tied(ids, weight)[0].sum().backward()
    assert weight.grad.tolist() == [[0, 0], [2, 2], [0, 0]]
    weight.grad = None
    tied(ids, weight)[1].sum().backward()
    assert weight.grad.tolist() == [[1, 1]] * 3
