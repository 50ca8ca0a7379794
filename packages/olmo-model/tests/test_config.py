from __future__ import annotations

import pytest

from olmo_model.config import (
    CheckpointSettings,
    DataSettings,
    ModelSettings,
    OptimizerSettings,
    TrainConfig,
    duration_in_steps,
    padded,
    plain,
)
from olmo_model.errors import UserError
from olmo_model.presets import model_config

DATA = DataSettings(tokens="tokens")


@pytest.mark.parametrize(
    ("text", "steps"), [("1000", 1000), ("1e3", 1000), ("8192T", 2), ("8191T", 1), ("20e6T", 4882), ("0", 0)]
)
def test_durations(text, steps):
    assert duration_in_steps(text, 4096, key="max_duration") == steps


@pytest.mark.parametrize("text", ["", "T", "ten", "1.5", "-3", "4095T", "nan", "infT"])
def test_what_is_no_duration_is_refused_with_its_key(text):
    with pytest.raises(UserError, match="max_duration"):
        duration_in_steps(text, 4096, key="max_duration")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_batch_size": 0}, "global_batch_size is 0"),
        ({"global_batch_size": 8, "micro_batch_size": 3}, "3 does not divide global_batch_size 8"),
        ({"checkpoint": CheckpointSettings(keep=0)}, "checkpoint.keep is 0"),
        ({"optimizer": OptimizerSettings(learning_rate=0.0)}, "learning_rate is 0.0"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(save_folder="run", data=DATA, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "olmo-9b"}, "unknown preset"),
        ({"n_heads": 7}, "d_model is not a multiple of n_heads"),
        ({"mlp_hidden_size": 1000}, "not a multiple of 128"),
        ({"embedding_size": 1000}, "embedding_size is smaller"),
        ({"eos_token_id": 9999}, "eos_token_id lies outside"),
        ({"clip_qkv": -1.0}, "clip_qkv is not positive"),
    ],
)
def test_impossible_models_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        model_config(ModelSettings(**changes), vocab_size=4096, eos_token_id=0, pad_token_id=1)


def test_settings_go_over_the_preset_and_the_tokenizer():
    settings = ModelSettings(preset="olmo-2m", n_layers=7, weight_tying=False)
    config = model_config(settings, vocab_size=4100, eos_token_id=2, pad_token_id=1)
    assert (config.d_model, config.n_layers, config.weight_tying) == (192, 7, False)
    assert (config.vocab_size, config.embedding_size, config.eos_token_id) == (4100, 4224, 2)


def test_embedding_is_padded_to_a_multiple_of_128():
    assert [padded(rows) for rows in (1, 128, 129, 50_280)] == [128, 128, 256, 50_304]


def test_plain_holds_lists_and_nested_mappings():
    tree = plain(TrainConfig(save_folder="run", data=DATA))
    assert tree["optimizer"]["betas"] == [0.9, 0.95]
    assert tree["data"] == {"tokens": "tokens", "sequence_length": None}
