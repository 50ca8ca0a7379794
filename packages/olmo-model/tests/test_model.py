from __future__ import annotations

import pytest
import torch
from hugging_face_names import to_hugging_face
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from olmo_model.config.model import Initialization, ModelSettings
from olmo_model.convert.hugging_face import to_hugging_face_config
from olmo_model.errors import UserError
from olmo_model.loss import documents_of, language_model_loss
from olmo_model.model import Transformer, rotary_tables
from olmo_model.presets import PRESETS, model_config, model_initialization, parameter_count

IDS = torch.randint(0, 300, (3, 32), generator=torch.Generator().manual_seed(1))


TINY = {"norm": "rms_norm", "norm_eps": 1e-6}
OLMO2 = TINY | {"norm_after": True, "qk_norm": True, "rope_theta": 500_000.0}
GROUPED = {"n_kv_heads": 2}


def twin(model: Transformer) -> PreTrainedModel:
    other = AutoModelForCausalLM.from_config(AutoConfig.for_model(**to_hugging_face_config(model.config, "float32")))
    missing, unexpected = other.load_state_dict(to_hugging_face(model.state_dict(), model.config), strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    other.tie_weights()
    return other.eval()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "OlmoForCausalLM"),
        ({"clip_qkv": 0.5}, "OlmoForCausalLM"),
        (GROUPED, "OlmoForCausalLM"),
        (GROUPED | {"clip_qkv": 0.5}, "OlmoForCausalLM"),
        (TINY, "LlamaForCausalLM"),
        (TINY | GROUPED, "LlamaForCausalLM"),
        (OLMO2, "Olmo2ForCausalLM"),
        (OLMO2 | GROUPED, "Olmo2ForCausalLM"),
    ],
)
@pytest.mark.parametrize("weight_tying", [True, False])
def test_logits_and_gradients_are_those_of_transformers(make_model, weight_tying, changes, name):
    model = make_model(weight_tying=weight_tying, **changes)
    with torch.no_grad():
        for parameter in model.parameters():  # norms are drawn as ones, which would hide where they stand
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(parameter.numel()))
    other = twin(model)
    assert type(other).__name__ == name
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


@pytest.mark.parametrize(
    "changes",
    [
        {"qk_norm": True},
        {"norm_after": True},
        {"norm_eps": 1e-6},
        TINY | {"clip_qkv": 8.0},
        TINY | {"qk_norm": True},
        OLMO2 | {"clip_qkv": 8.0},
        OLMO2 | {"qk_norm": False},
    ],
)
def test_a_combination_without_a_twin_is_refused_with_those_that_have_one(make_model, changes):
    with pytest.raises(UserError, match=r"no Hugging Face model has .* \(model\); choose layer_norm .*Olmo2"):
        make_model(**changes)


def test_clipping_changes_the_result(make_model):
    with torch.no_grad():
        assert not torch.allclose(make_model(clip_qkv=0.5)(IDS), make_model()(IDS), atol=1e-3)


OLD_VOCABULARY, NEW_VOCABULARY = (50_280, 50_279, 1), (100_278, 100_257, 100_277)


@pytest.mark.parametrize(
    ("name", "total", "without_embedding"),
    [
        ("olmo-tiny-20m", 34_148_608, 21_270_784),
        ("olmo-tiny-60m", 85_074_432, 59_318_784),
        ("olmo-tiny-150m", 190_532_352, 151_898_880),
        ("olmo-tiny-300m", 371_491_840, 319_980_544),
        ("olmo-tiny-700m", 758_564_352, 681_297_408),
        ("olmo-1b", 1_176_764_416, 1_073_741_824),
        ("olmo-7b", 6_888_095_744, 6_682_050_560),
        ("olmo-7b-1.7", 6_888_095_744, 6_682_050_560),
        ("olmo-35b", 35_043_147_776, 34_682_568_704),
        ("olmo-50b", 50_216_304_640, 49_804_214_272),
        ("olmo-65b", 65_584_234_496, 65_172_144_128),
        ("olmo2-1b", 1_484_916_736, 1_279_395_840),
        ("olmo2-7b", 7_298_617_344, 6_887_575_552),
        ("olmo2-13b", 13_716_198_400, 13_202_396_160),
        ("olmo2-32b", 32_234_279_936, 31_720_477_696),
    ],
)
def test_sizes_of_ai2_have_the_known_number_of_parameters(name, total, without_embedding):
    vocab, eos, pad = NEW_VOCABULARY if name.startswith("olmo2") else OLD_VOCABULARY
    config = model_config(ModelSettings(preset=name), vocab_size=vocab, eos_token_id=eos, pad_token_id=pad)
    with torch.device("meta"):
        model = Transformer(config)
    parameters = dict(model.named_parameters())
    assert sum(weight.numel() for weight in parameters.values()) == parameter_count(config) == total
    assert total - parameters["transformer.wte.weight"].numel() == without_embedding


@pytest.mark.parametrize(
    ("name", "twin", "initialization"),
    [
        ("olmo-1m", "olmo", Initialization()),
        ("olmo-65b", "olmo", Initialization()),
        ("olmo-tiny-20m", "llama", Initialization(init_fn="normal", init_std=0.02, init_cutoff_factor=3.0)),
        ("olmo2-32b", "olmo2", Initialization(init_fn="normal", init_std=0.02, init_cutoff_factor=3.0)),
    ],
)
def test_a_preset_brings_its_twin_and_its_first_weights(name, twin, initialization):
    settings = ModelSettings(preset=name)
    config = model_config(settings, vocab_size=50_280, eos_token_id=50_279, pad_token_id=1)
    assert config.twin == twin
    assert model_initialization(settings) == initialization


def test_another_initialisation_replaces_the_whole_of_the_presets():
    settings = ModelSettings(preset="olmo2-1b", init_fn="mitchell")
    assert model_initialization(settings) == Initialization(init_fn="mitchell")
    settings = ModelSettings(preset="olmo2-1b", init_std=0.01)
    assert model_initialization(settings).init_cutoff_factor == 3.0
    with pytest.raises(UserError, match="normal_v1 needs an init_std"):
        model_initialization(ModelSettings(preset="olmo-1b", init_fn="normal_v1"))
    with pytest.raises(UserError, match="mitchell takes no init_std"):
        model_initialization(ModelSettings(preset="olmo-1b", init_std=0.02))


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


def test_native_names_of_norms_are_those_of_olmo(make_model):
    names = list(make_model(n_layers=1, **OLMO2).state_dict())
    block = "transformer.blocks.0."
    assert {name for name in names if "norm" in name or "ln_f" in name} == {
        "transformer.ln_f.weight",
        f"{block}attn_norm.weight",
        f"{block}ff_norm.weight",
        f"{block}q_norm.weight",
        f"{block}k_norm.weight",
    }


def test_a_position_does_not_see_what_comes_after_it(make_model):
    model = make_model()
    changed = IDS.clone()
    changed[:, 20:] = 7
    with torch.no_grad():
        torch.testing.assert_close(model(changed)[:, :20], model(IDS)[:, :20], atol=0, rtol=0)


@pytest.mark.parametrize("changes", [{}, OLMO2 | GROUPED])
def test_documents_that_do_not_see_each_other_are_computed_as_if_alone(make_model, changes):
    model = make_model(**changes)
    ids = torch.randint(2, 300, (2, 32), generator=torch.Generator().manual_seed(3))
    ids[0, [9, 20]] = 0
    ids[1, 31] = 0
    documents = documents_of(ids, 0)
    assert documents[0].tolist() == [0] * 10 + [1] * 11 + [2] * 11
    assert documents[1].tolist() == [0] * 32
    with torch.no_grad():
        found = model(ids, documents=documents)
        alone = model(ids[:1, :10])
        other = ids.clone()
        other[0, :10] = 7
        changed = model(other, documents=documents)
    torch.testing.assert_close(found[:1, :10], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(changed[0, 10:], found[0, 10:], atol=0, rtol=0)
    assert not torch.allclose(changed[0, :10], found[0, :10], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "widths"),
    # results of norms without a weight, inputs of others (one is the block's own), queries, keys and values, what
    # attention gives; of OLMo 2 also queries, keys and values before the norm; a byte for each clipped value
    [({}, 6), (TINY, 5), (GROUPED, 5), (OLMO2, 10), ({"clip_qkv": 8.0}, 6.75)],
)
def test_a_block_keeps_of_every_position_some_widths_and_up_and_gate(make_model, changes, widths):
    model = make_model(n_layers=1, **changes)
    D, T, B = 64, 32, 3
    x = torch.randn(B, T, D, requires_grad=True)
    tables = rotary_tables(model.config, x.device)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        out = next(iter(model.blocks))(x, *tables)
    kept = sum(event.self_cpu_memory_usage for event in found.key_averages()) - out.nbytes
    numbers = kept / 4 / (B * T)
    assert widths * D + 256 <= numbers < (widths + 0.5) * D + 256  # and a few numbers of norms and heads
