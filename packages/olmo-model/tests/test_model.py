from __future__ import annotations

import pytest
import torch
from transformers import OlmoConfig, OlmoForCausalLM

from olmo_model.config.model import ModelSettings
from olmo_model.convert import to_hugging_face, to_hugging_face_config
from olmo_model.loss import language_model_loss
from olmo_model.model import Transformer
from olmo_model.presets import PRESETS, model_config, parameter_count

IDS = torch.randint(0, 300, (3, 32), generator=torch.Generator().manual_seed(1))


def twin(model: Transformer) -> OlmoForCausalLM:
    other = OlmoForCausalLM(OlmoConfig(**to_hugging_face_config(model.config, "float32")))
    missing, unexpected = other.load_state_dict(to_hugging_face(model.state_dict(), model.config), strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    other.tie_weights()
    return other.eval()


@pytest.mark.parametrize("clip_qkv", [None, 0.5])
@pytest.mark.parametrize("weight_tying", [True, False])
def test_logits_and_gradients_are_those_of_transformers(make_model, weight_tying, clip_qkv):
    model = make_model(weight_tying=weight_tying, clip_qkv=clip_qkv)
    other = twin(model)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS), other(IDS).logits, atol=1e-5, rtol=0)
    ours, theirs = language_model_loss(model, IDS).total, other(IDS, labels=IDS).loss
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    ours.backward()
    theirs.backward()
    gradients = to_hugging_face({name: w.grad for name, w in model.named_parameters()}, model.config)
    for name, weight in other.named_parameters():
        error = (gradients[name] - weight.grad).norm() / weight.grad.norm()
        assert error < 1e-4, name


def test_clipping_changes_the_result(make_model):
    with torch.no_grad():
        assert not torch.allclose(make_model(clip_qkv=0.5)(IDS), make_model()(IDS), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "parameters"), [("olmo-1b", 1_176_764_416), ("olmo-7b", 6_888_095_744), ("olmo-65b", 65_584_234_496)]
)
def test_sizes_of_olmo_1_have_the_published_number_of_parameters(name, parameters):
    config = model_config(ModelSettings(preset=name), vocab_size=50_280, eos_token_id=50_279, pad_token_id=1)
    with torch.device("meta"):
        model = Transformer(config)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


@pytest.mark.parametrize("name", list(PRESETS))
def test_parameter_count_from_shapes_is_that_of_the_built_model(name):
    config = model_config(ModelSettings(preset=name), vocab_size=4096, eos_token_id=0, pad_token_id=1)
    with torch.device("meta"):
        model = Transformer(config)
    assert sum(weight.numel() for weight in model.parameters()) == parameter_count(config)


def test_native_names_are_those_of_olmo(make_model):
    assert list(make_model(weight_tying=False, n_layers=1).state_dict()) == [
        "transformer.wte.weight",
        "transformer.blocks.0.att_proj.weight",
        "transformer.blocks.0.attn_out.weight",
        "transformer.blocks.0.ff_proj.weight",
        "transformer.blocks.0.ff_out.weight",
        "transformer.ff_out.weight",
    ]


def test_a_position_does_not_see_what_comes_after_it(make_model):
    model = make_model()
    changed = IDS.clone()
    changed[:, 20:] = 7
    with torch.no_grad():
        torch.testing.assert_close(model(changed)[:, :20], model(IDS)[:, :20], atol=0, rtol=0)


@pytest.mark.parametrize("pieces", [[32], [1] * 32, [20, 1, 11], [3, 29]])
def test_cached_pieces_give_the_logits_of_the_whole(make_model, pieces):
    model = make_model()
    cache = []
    with torch.no_grad():
        parts = [model(part, cache) for part in IDS.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), model(IDS), atol=1e-5, rtol=0)
    assert cache[0][0].shape == (3, 4, 32, 16)
