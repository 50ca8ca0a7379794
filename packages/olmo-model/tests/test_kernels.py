from __future__ import annotations

import weakref

import torch
import torch.nn.functional as F

from olmo_model.config.model import ModelConfig
from olmo_model.kernels import clip, computed_again, layer_norm, rms_norm, rotated_heads, swiglu, tied
from olmo_model.model import rotary_tables


def test_swiglu_and_its_gradient():
    x = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    up, gate = x.chunk(2, dim=-1)
    torch.testing.assert_close(swiglu(x), F.silu(gate) * up)
    assert torch.autograd.gradcheck(swiglu, x)


def test_layer_norm_and_its_gradient_are_torchs():
    x = torch.randn(2, 5, 48, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer_norm(x, 1e-3), F.layer_norm(x, (48,), eps=1e-3))
    assert torch.autograd.gradcheck(lambda part: layer_norm(part, 1e-3), x)


def test_layer_norm_gives_what_projections_read_under_autocast():
    x = torch.randn(2, 5, 48)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer_norm(x, 1e-5), F.layer_norm(x, (48,), eps=1e-5).bfloat16())


def test_clipped_values_have_no_gradient():
    x = torch.tensor([-3.0, -2.0, 0.5, 2.5], requires_grad=True)
    out = clip(x, 2.0)
    assert out.tolist() == [-2.0, -2.0, 0.5, 2.0]
    out.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 0.0]


def test_rotation_by_hand():
    cosine, sine = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    # the pairs (1, 3) and (2, 4) of queries and (5, 7) and (6, 8) of keys: a quarter turn, and none; values stay
    q, k, v = rotated_heads(torch.arange(1.0, 13.0).view(1, 1, 12), cosine, sine, 1, 1)
    assert q.flatten().tolist() == [-3.0, 2.0, 1.0, 4.0]
    assert k.flatten().tolist() == [-7.0, 6.0, 5.0, 8.0]
    assert v.flatten().tolist() == [9.0, 10.0, 11.0, 12.0]


def test_rotation_keeps_lengths_and_its_gradient_turns_back(make_model):
    cosine, sine = rotary_tables(make_model().config, torch.device("cpu"))
    qkv = torch.randn(2, 32, 8 * 16, requires_grad=True)  # four heads of queries, two of keys and values
    parts = rotated_heads(qkv, cosine, sine, 4, 2)
    assert [part.shape for part in parts] == [(2, 4, 32, 16), (2, 2, 32, 16), (2, 2, 32, 16)]
    whole = torch.cat(parts, dim=1).transpose(1, 2)  # [2, 32, 8, 16]
    torch.testing.assert_close(whole.norm(dim=-1), qkv.view(2, 32, 8, 16).norm(dim=-1))
    whole.backward(whole.detach())
    torch.testing.assert_close(qkv.grad, qkv.detach(), atol=1e-6, rtol=1e-5)


def test_rotation_runs_in_float32_and_returns_the_input_type(make_model):
    cosine, sine = rotary_tables(make_model().config, torch.device("cpu"))
    qkv = torch.randn(2, 32, 4 * 16).bfloat16()
    for half, full in zip(
        rotated_heads(qkv, cosine, sine, 2, 1), rotated_heads(qkv.float(), cosine, sine, 2, 1), strict=True
    ):
        assert half.dtype == torch.bfloat16
        assert torch.equal(half, full.bfloat16())


def test_what_is_computed_again_is_not_kept_and_gives_the_same_gradients():
    x = torch.randn(3, 8, requires_grad=True)
    weight = torch.randn(5, 4, requires_grad=True)
    calls = []

    def inner(part):
        calls.append(part)
        return swiglu(part)

    result = inner(x)
    with computed_again(result, inner, x):
        out = F.linear(result, weight)
    of_result = weakref.ref(result)
    expected = torch.autograd.grad(F.linear(swiglu(x), weight).square().sum(), (x, weight))
    total = out.square().sum()
    del result
    assert of_result() is None
    assert len(calls) == 1
    found = torch.autograd.grad(total, (x, weight))
    assert len(calls) == 2
    for ours, plain in zip(found, expected, strict=True):
        assert torch.equal(ours, plain)


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
