from __future__ import annotations

import pytest
import torch
from hugging_face_names import to_hugging_face
from safetensors.torch import save_file

from olmo_model.convert.hugging_face import from_hugging_face_config, to_hugging_face_config
from olmo_model.errors import UserError
from olmo_model.files import write_json
from olmo_model.model_folder import load_model


def read_back(folder, weights, config):
    """The state of a model whose folder holds these weights under their Hugging Face names."""
    write_json(folder / "config.json", to_hugging_face_config(config, "float32"))
    save_file({name: weight.clone() for name, weight in weights.items()}, folder / "model.safetensors")
    return load_model(folder).state_dict()


@pytest.mark.parametrize("weight_tying", [True, False])
def test_weights_come_back_without_a_changed_byte(make_model, tmp_path, weight_tying):
    model = make_model(weight_tying=weight_tying)
    there = to_hugging_face(model.state_dict(), model.config)
    back = read_back(tmp_path, there, model.config)
    assert list(back) == list(model.state_dict())
    for name, weight in model.state_dict().items():
        assert back[name].numpy().tobytes() == weight.numpy().tobytes()
    assert ("lm_head.weight" in there) is not weight_tying


def test_parts_of_fused_weights_go_where_they_belong(make_model):
    model = make_model(n_layers=1)
    there = to_hugging_face(model.state_dict(), model.config)
    ours = model.state_dict()
    assert torch.equal(
        there["model.layers.0.self_attn.k_proj.weight"], ours["transformer.blocks.0.att_proj.weight"][64:128]
    )
    assert torch.equal(there["model.layers.0.mlp.up_proj.weight"], ours["transformer.blocks.0.ff_proj.weight"][:128])
    assert torch.equal(there["model.layers.0.mlp.gate_proj.weight"], ours["transformer.blocks.0.ff_proj.weight"][128:])


def test_old_writers_extras_are_accepted_and_other_weights_refused(make_model, tmp_path):
    model = make_model()
    there = to_hugging_face(model.state_dict(), model.config)
    extras = {
        "lm_head.weight": there["model.embed_tokens.weight"],
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
    }
    assert read_back(tmp_path, there | extras, model.config)
    with pytest.raises(UserError, match=r"model\.norm\.weight has no place"):
        read_back(tmp_path, there | {"model.norm.weight": torch.ones(64)}, model.config)
    with pytest.raises(UserError, match=r"q_proj\.weight is missing"):
        read_back(tmp_path, {name: w for name, w in there.items() if "layers.2.self_attn.q" not in name}, model.config)
    with pytest.raises(UserError, match=r"shape \(2, 64\), not \(384, 64\)"):
        read_back(tmp_path, there | {"model.embed_tokens.weight": torch.ones(2, 64)}, model.config)


@pytest.mark.parametrize("changes", [{}, {"weight_tying": False, "clip_qkv": 8.0, "rope_theta": 5e5}])
def test_configuration_comes_back(make_model, changes):
    config = make_model(**changes).config
    values = to_hugging_face_config(config, "float32")
    assert from_hugging_face_config(values, vocab_size=300) == config


def test_both_spellings_of_the_rotary_base_are_read(make_model):
    values = to_hugging_face_config(make_model(rope_theta=777.0).config, "float32")
    old = {key: value for key, value in values.items() if key != "rope_parameters"}
    new = {key: value for key, value in values.items() if key not in ("rope_theta", "rope_scaling")}
    assert from_hugging_face_config(old).rope_theta == from_hugging_face_config(new).rope_theta == 777.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt_neox"}, "model_type is 'gpt_neox'"),
        ({"num_key_value_heads": 3}, "n_heads is not a multiple of n_kv_heads"),
        ({"attention_bias": True}, "biases in attention"),
        ({"hidden_act": "gelu"}, "activation gelu"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "scaled rotary"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "scaled rotary"),
        ({"hidden_size": None}, "lacks hidden_size"),
        (
            {"num_attention_heads": "four", "num_key_value_heads": None},
            "num_attention_heads is 'four', no whole number",
        ),
        ({"num_attention_heads": 0, "num_key_value_heads": 0}, "n_heads is 0"),
        ({"rope_parameters": [1]}, "rope_parameters or rope_scaling is no JSON object"),
        ({"rope_parameters": None, "rope_theta": "x"}, "rope_theta is 'x'"),
    ],
)
def test_other_architectures_are_refused(make_model, changes, message):
    values = to_hugging_face_config(make_model().config, "float32")
    with pytest.raises(UserError, match=message):
        from_hugging_face_config(values | changes)
