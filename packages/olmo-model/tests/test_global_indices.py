from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from olmo_model.config.commands import WhichDataConfig, WhichStepsConfig
from olmo_model.errors import UserError
from olmo_model.lookup import open_run, which_data, which_steps
from olmo_model.tokens import Tokens

T, B = 16, 4


@pytest.fixture
def olmo_run(tokens_folder, tmp_path) -> Path:
    """A folder as OLMo's trainer leaves it: its configuration and the order of its epoch, the last instances first."""
    tokens = Tokens(tokens_folder)
    run = tmp_path / "olmo"
    (run / "train_data").mkdir(parents=True)
    instances = sum(length // T for length in tokens.lengths)
    np.arange(instances - 1, 2, -1, dtype="<u4").tofile(run / "train_data" / "global_indices.npy")
    config = {
        "run_name": "old",
        "seed": 6198,
        "epoch": 1,
        "model": {
            "d_model": 32, "n_heads": 2, "n_layers": 1, "mlp_ratio": 4, "max_sequence_length": T, "vocab_size": 300,
            "embedding_size": 384, "eos_token_id": 0, "pad_token_id": 1,
            "rope": True, "layer_norm_with_affine": False, "attention_layer_norm_with_affine": False,
            "include_bias": False, "bias_for_layer_norm": False, "attention_dropout": 0.0, "residual_dropout": 0.0,
            "embedding_dropout": 0.0, "init_fn": "mitchell",
        },
        "optimizer": {"name": "adamw"},
        "scheduler": {"name": "constant", "t_warmup": 1},
        "tokenizer": {"identifier": str(tokens.tokenizer_file)},
        "save_folder": str(run),
        "max_duration": 100,
        "global_train_batch_size": B,
        "device_train_microbatch_size": B,
        "evaluators": [{"label": "a-set-that-is-not-here", "data": {"paths": ["absent.npy"]}}],
        "data": {"paths": [str(tokens_folder / path) for path in tokens.paths], "memmap_dtype": "uint16"},
    }  # fmt: skip
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


def test_steps_of_an_olmo_run_take_slices_of_its_indices(olmo_run, tokens_folder):
    tokens = Tokens(tokens_folder)
    instances = sum(length // T for length in tokens.lengths)
    for given in (None, str(tokens_folder)):
        found = which_data(olmo_run, WhichDataConfig(step=("1-2",), tokens=given))["steps"]
        assert [(row["step"], row["epoch"]) for row in found] == [(1, 1), (2, 1)]
        assert found[0]["instances"] == [instances - 1 - place for place in range(4)]
        assert found[1]["instances"] == [instances - 5 - place for place in range(4)]
        (first, *_) = found[0]["documents"]
        start = tokens.lengths[1] // T * T - T
        assert first["id"] == tokens.overlapping(1, [(start, start + 1)])[0][0].id
    steps = (instances - 3) // B
    with pytest.raises(UserError, match=f"step {steps + 1} is not among the steps 1 to {steps}"):
        which_data(olmo_run, WhichDataConfig(step=(steps + 1,)))


def test_documents_are_found_in_the_slices(olmo_run):
    for name in ("story-119", "story-50"):
        seen = which_steps(olmo_run, WhichStepsConfig(doc=name))["documents"][0]["seen"]
        assert seen
        for row in seen:
            (step,) = which_data(olmo_run, WhichDataConfig(step=(row["step"],)))["steps"]
            here = [each for each in step["documents"] if each["id"] == name and each["instance"] == row["instance"]]
            assert [np.subtract(*each["document_tokens"][::-1]) for each in here] == [row["tokens"]]


def test_a_document_whose_instances_the_file_leaves_out_was_not_seen(olmo_run):
    assert which_steps(olmo_run, WhichStepsConfig(doc="story-0"))["documents"][0]["seen"] == []


def test_a_file_elsewhere_and_a_later_epoch(olmo_run, tmp_path):
    moved = (olmo_run / "train_data" / "global_indices.npy").rename(tmp_path / "epoch1.npy")
    with pytest.raises(UserError, match="no run here"):
        which_data(olmo_run, WhichDataConfig(step=(1,)))
    config = WhichDataConfig(step=(101,), global_indices=str(moved), first_step=100)
    (found,) = which_data(olmo_run, config)["steps"]
    assert found["instances"] == np.fromfile(moved, dtype="<u4")[4:8].tolist()
    assert list(open_run(olmo_run, config).sources)[:2] == [moved, olmo_run / "config.yaml"]
    with pytest.raises(UserError, match="step 99 is not among the steps 100 to"):
        which_data(olmo_run, WhichDataConfig(step=(99,), global_indices=str(moved), first_step=100))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes, no whole number"),
        (b"12345", "5 bytes, no whole number"),
        (b"\x93NUMPY\x01\x00", "NumPy's header"),
        (b"\xff\xff\x00\x00", "names instance 65535, the tokens hold"),
    ],
)
def test_another_file_is_refused(olmo_run, content, message):
    (olmo_run / "train_data" / "global_indices.npy").write_bytes(content)
    with pytest.raises(UserError, match=message):
        which_data(olmo_run, WhichDataConfig(step=(1,)))
