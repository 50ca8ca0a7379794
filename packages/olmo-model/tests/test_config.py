from __future__ import annotations

import dataclasses
import re

import pytest

from olmo_model.config import commands, data, model, optimization, training
from olmo_model.config.commands import GenerateConfig, WhichDataConfig
from olmo_model.config.data import DataSettings, InstanceFilterSettings
from olmo_model.config.model import ModelSettings, padded
from olmo_model.config.optimization import (
    AnnealSettings,
    BatchWarmupSettings,
    GuardSettings,
    LossSettings,
    MuonSettings,
    OptimizerSettings,
    SchedulerSettings,
)
from olmo_model.config.training import CheckpointSettings, EvaluationSettings, TrainConfig, duration_in_steps, plain
from olmo_model.errors import UserError
from olmo_model.presets import model_config
from olmo_model.ranges import KEY

DATA = DataSettings(tokens="tokens")


@pytest.mark.parametrize(
    ("text", "steps"), [("1000", 1000), ("1e3", 1000), ("8192T", 2), ("8191T", 1), ("20e6T", 4882), ("0", 0)]
)
def test_durations(text, steps):
    assert duration_in_steps(text, lambda tokens: tokens // 4096, key="max_duration") == steps


@pytest.mark.parametrize("text", ["", "T", "ten", "1.5", "-3", "4095T", "nan", "infT"])
def test_what_is_no_duration_is_refused_with_its_key(text):
    with pytest.raises(UserError, match="max_duration"):
        duration_in_steps(text, lambda tokens: tokens // 4096, key="max_duration")


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
        ({"optimizer": OptimizerSettings(muon=MuonSettings(momentum=0.9))}, "optimizer.muon is set, but .* adamw"),
        ({"optimizer": OptimizerSettings(name="lionw", eps=1e-8)}, "optimizer.eps does nothing with lionw"),
        ({"scheduler": SchedulerSettings(name="constant", warmup="5")}, "scheduler.warmup does nothing with constant"),
        (
            {"scheduler": SchedulerSettings(name="inverse_sqrt_with_warmup", t_max="9")},
            "scheduler.t_max does nothing with inverse_sqrt_with_warmup",
        ),
        (
            {"scheduler": SchedulerSettings(name="constant_with_warmup", alpha_f=0.0)},
            "scheduler.alpha_f does nothing with constant_with_warmup",
        ),
        ({"scheduler": SchedulerSettings(decay_share=0.5)}, "decay_form and decay_share are wsd's"),
        (
            {"scheduler": SchedulerSettings(warmup_start=0.0, warmup_min_lr=0.0)},
            "warmup_start and warmup_min_lr say the same thing",
        ),
        ({"scheduler": SchedulerSettings(warmup_min_lr=1.0)}, "warmup_min_lr is above optimizer.learning_rate"),
        ({"scheduler": SchedulerSettings(grad_clip_warmup_steps="5")}, "belong together"),
        (
            {
                "optimizer": OptimizerSettings(max_grad_norm=None),
                "scheduler": SchedulerSettings(grad_clip_warmup_steps="5", grad_clip_warmup_factor=10.0),
            },
            "grad_clip_warmup_steps does nothing without a bound",
        ),
        ({"scheduler": SchedulerSettings(anneal=AnnealSettings(length="5"))}, "anneal is set, but not where it starts"),
        ({"batch_warmup": BatchWarmupSettings(sizes=(4,))}, "one of until for each of sizes"),
        (
            {"batch_warmup": BatchWarmupSettings(sizes=(16,), until=("1e6T",))},
            "batch_warmup.sizes do not rise to global_batch_size",
        ),
        (
            {"batch_warmup": BatchWarmupSettings(sizes=(4,), until=("1e6T",)), "micro_batch_size": 8},
            "micro_batch_size 8 does not divide batch_warmup.sizes 4",
        ),
        (
            {"data": DataSettings(tokens="tokens", instance_filter=InstanceFilterSettings(min_period=5, max_period=4))},
            "min_period is above max_period",
        ),
    ],
)
def test_settings_that_contradict_one_another_or_do_nothing_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**{"save_folder": "run", "data": DATA} | changes)


FROM_ONE = "a whole number from 1"
FROM_ZERO = "a number from 0"
ABOVE_ZERO = "a number above 0"
SHARE = "a number from 0 to 1"
NO_NUMBER = float("nan")
INFINITE = float("inf")


@pytest.mark.parametrize(
    ("part", "key", "value", "allowed"),
    [
        (None, "seed", -1, "a whole number from 0 to 9223372036854775807"),
        (None, "seed", 2**64, "a whole number from 0 to 9223372036854775807"),
        (None, "global_batch_size", -4, FROM_ONE),
        (None, "global_batch_size", 1.5, FROM_ONE),
        (None, "micro_batch_size", 0, FROM_ONE),
        (None, "threads", 0, "a whole number from 1 to 1024"),
        (None, "threads", 10**10, "a whole number from 1 to 1024"),
        (None, "log_interval", 0, FROM_ONE),
        (DataSettings, "sequence_length", 1, "a whole number from 2"),
        (ModelSettings, "n_heads", 0, FROM_ONE),
        (ModelSettings, "n_layers", -1, FROM_ONE),
        (ModelSettings, "d_model", 2**63, FROM_ONE),
        (ModelSettings, "eos_token_id", -1, "a whole number from 0"),
        (ModelSettings, "clip_qkv", -1.0, ABOVE_ZERO),
        (ModelSettings, "rope_theta", 0.0, ABOVE_ZERO),
        (OptimizerSettings, "learning_rate", NO_NUMBER, ABOVE_ZERO),
        (OptimizerSettings, "learning_rate", INFINITE, ABOVE_ZERO),
        (OptimizerSettings, "betas", (0.9, 1.0), "a number from 0 to below 1"),
        (OptimizerSettings, "betas", (-0.1, 0.9), "a number from 0 to below 1"),
        (OptimizerSettings, "eps", -1e-8, ABOVE_ZERO),
        (OptimizerSettings, "weight_decay", -0.1, FROM_ZERO),
        (OptimizerSettings, "max_grad_norm", 0.0, ABOVE_ZERO),
        (SchedulerSettings, "warmup_start", -0.1, SHARE),
        (SchedulerSettings, "warmup_start", 1.1, SHARE),
        (SchedulerSettings, "alpha_f", NO_NUMBER, SHARE),
        (SchedulerSettings, "warmup_min_lr", -1e-4, FROM_ZERO),
        (SchedulerSettings, "decay_share", 1.5, SHARE),
        (SchedulerSettings, "grad_clip_warmup_factor", 0.0, ABOVE_ZERO),
        (OptimizerSettings, "max_grad_norm_ratio", 0.0, ABOVE_ZERO),
        (LossSettings, "z_loss", -1e-4, FROM_ZERO),
        (GuardSettings, "sigma", 0.0, ABOVE_ZERO),
        (GuardSettings, "window", 3, "a whole number from 4 to 100000"),
        (BatchWarmupSettings, "sizes", (0,), FROM_ONE),
        (CheckpointSettings, "save_interval", 0, FROM_ONE),
        (CheckpointSettings, "keep", -1, FROM_ONE),
        (EvaluationSettings, "interval", 0, FROM_ONE),
        (EvaluationSettings, "batch_tokens", 0, FROM_ONE),
    ],
)
def test_a_number_outside_its_range_is_refused_with_key_value_and_range(part, key, value, allowed):
    values = {"save_folder": "run", "data": DATA}
    if part is None:
        values[key] = value
    else:
        name = {
            DataSettings: "data",
            CheckpointSettings: "checkpoint",
            BatchWarmupSettings: "batch_warmup",
        }.get(part, part.__name__.removesuffix("Settings").lower())
        more = {"tokens": "tokens"} if part is DataSettings else {}
        values[name] = part(**more | {key: value})
        key = f"{name}.{key}"
    with pytest.raises(UserError) as found:
        TrainConfig(**values)
    assert str(found.value) == f"{key} is {value!r} (configuration); give {allowed}"


@pytest.mark.parametrize("key", ["max_new_tokens", "temperature", "top_k", "seed"])
def test_numbers_of_a_generation_have_ranges_too(key):
    with pytest.raises(UserError, match=rf"{key} is -1 \(options\); give a"):
        GenerateConfig(prompt="", **{key: -1})


def test_steps_begin_at_one():
    with pytest.raises(UserError, match=r"step is \(3, 0\) \(options\); give a whole number from 1"):
        WhichDataConfig(step=(3, 0))


def test_every_number_has_a_range():
    modules = (commands, data, model, optimization, training)
    found = {value for module in modules for value in vars(module).values() if dataclasses.is_dataclass(value)}
    without = [
        f"{part.__name__}.{field.name}"
        for part in found
        for field in dataclasses.fields(part)
        if {"int", "float"} & set(re.findall(r"\w+", field.type)) and KEY not in field.metadata
    ]
    assert len(found) >= 12
    assert without == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "olmo-9b"}, "unknown preset"),
        ({"n_heads": 7}, "d_model is not a multiple of n_heads"),
        ({"mlp_hidden_size": 1000}, "not a multiple of 128"),
        ({"embedding_size": 1000}, "embedding_size is smaller"),
        ({"eos_token_id": 9999}, "eos_token_id lies outside"),
        ({"clip_qkv": -1.0}, r"clip_qkv is -1\.0 \(model\); give a number above 0"),
        ({"n_heads": 0}, r"n_heads is 0 \(model\); give a whole number from 1"),
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
    assert tree["data"] == {
        "tokens": "tokens",
        "sources": [],
        "files": [],
        "dtype": None,
        "tokenizer": None,
        "check_eos": True,
        "remote_cache": 1 << 28,
        "label_masks": None,
        "seed": None,
        "sequence_length": None,
        "attention_within_documents": False,
        "instance_filter": {"enabled": False, "min_period": 1, "max_period": 13, "max_count": 32},
    }
