"""Configurations of OLMo's own trainer, read as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from olmo_model.cli import app
from olmo_model.command_line import run
from olmo_model.config.commands import WhichStepsConfig
from olmo_model.config.training import TrainConfig
from olmo_model.errors import UserError
from olmo_model.explain import read
from olmo_model.lookup import which_steps
from olmo_model.official.command import bring, prepare
from olmo_model.official.evaluators import SETS, TASKS, source_of
from olmo_model.official.schema import FIELDS, INAPPLICABLE, is_official, our_keys
from olmo_model.official.tables import tables
from olmo_model.plan import make_plan
from olmo_model.presets import model_initialization

# every field of OLMo's TrainConfig, with values of our own; what is in here is read by nobody else
EVERY_FIELD = """
run_name: every-field
seed: 17
epoch: 2
dry_run: false
model:
  d_model: 32
  n_heads: 4
  n_kv_heads: null
  clip_qkv: 6
  n_layers: 2
  mlp_ratio: 8
  mlp_hidden_size: null
  activation_type: swiglu
  block_type: sequential
  block_group_size: 1
  alibi: false
  alibi_bias_max: 8.0
  rope: true
  rope_full_precision: true
  rope_theta: 5000
  flash_attention: true
  attention_dropout: 0.0
  multi_query_attention: null
  attention_layer_norm: false
  residual_dropout: 0
  embedding_dropout: 0.0
  embedding_layer_norm: false
  layer_norm_type: low_precision
  layer_norm_with_affine: false
  layer_norm_eps: 1e-5
  attention_layer_norm_with_affine: false
  max_sequence_length: 16
  include_bias: false
  bias_for_layer_norm: false
  scale_logits: false
  vocab_size: 300
  embedding_size: 384
  weight_tying: false
  eos_token_id: 0
  pad_token_id: 1
  init_device: meta
  init_fn: normal
  init_std: 0.03
  init_cutoff_factor: 3
  precision: amp_bf16
  scale_emb_init: false
  emb_init_std: null
  norm_after: false
optimizer:
  name: adamw
  learning_rate: 2.0e-3
  weight_decay: 0.05
  betas: [0.8, 0.9]
  eps: 1e-7
  no_decay_norm_and_bias: null
  selective_updates: false
  decay_norm_and_bias: true
  decay_embeddings: true
  metrics_log_interval: 5
  record_update_metrics: true
scheduler:
  name: linear_with_warmup
  units: steps
  t_warmup: 4
  t_max: 40
  alpha_f: 0.2
  grad_clip_warmup_steps: 3
  grad_clip_warmup_factor: 5
  warmup_min_lr: 1e-4
data:
  paths: [{tokens}/part-00000.npy, "${{path.join:{tokens},part-00001.npy}}"]
  memmap_dtype: uint16
  datasets: null
  label_mask_paths: [{folder}/mask-0, {folder}/mask-1]
  pad_direction: right
  generate_attention_mask: false
  generate_doc_lengths: false
  num_workers: 2
  drop_last: true
  pin_memory: true
  prefetch_factor: 4
  persistent_workers: true
  timeout: 3
  seed: 23
  instance_filter:
    repetition_max_period: 5
    repetition_min_period: 2
    repetition_max_count: 9
  custom_dataset: null
tokenizer:
  identifier: {tokens}/tokenizer.json
  truncate_direction: right
save_folder: {folder}/${{run_name}}
remote_save_folder: file://{folder}/copy
save_overwrite: true
save_interval: 3
save_interval_unsharded: 5
save_interval_ephemeral: 2
save_num_checkpoints_to_keep: 2
save_num_unsharded_checkpoints_to_keep: -1
force_save_unsharded: true
no_pre_train_checkpoint: true
sharded_checkpointer: torch_new
new_style_checkpoints: null
save_data_indices: true
load_path: null
load_path_sharded_checkpointer: null
try_load_latest_save: true
restore_dataloader: true
fast_forward_batches: null
reset_optimizer_state: false
reset_trainer_state: false
wandb:
  project: null
  entity: somebody
  group: some
  name: ${{run_name}}
  tags: [one]
  log_artifacts: true
  rank_zero_only: true
  log_interval: 1
speed_monitor:
  window_size: 20
  gpu_flops_available: null
console_log_interval: 2
gen1_gc_interval: 1
compile:
  mode: null
  fullgraph: false
  backend: inductor
  dynamic: null
distributed_strategy: fsdp
fsdp:
  use_orig_params: true
  sharding_strategy: FULL_SHARD
  wrapping_strategy: by_block
  precision: pure
  hybrid_sharding_num_model_replicas: null
ddp:
  grad_sync_mode: batch
  find_unused_params: false
single:
  device: cpu
max_duration: 2ep
stop_at: 7
stop_after: null
time_limit: 3600
extra_steps_after_cancel: 4
canceled_check_interval: 10
early_stopping_factor: 3
global_train_batch_size: 8
device_train_batch_size: null
device_train_grad_accum: null
device_train_microbatch_size: 4
device_eval_batch_size: ${{device_train_microbatch_size}}
eval_interval: ${{save_interval}}
eval_subset_num_batches: 1
eval_on_load: true
evaluators:
  - label: v3-small-ppl-validation
    type: lm
    device_eval_batch_size: null
    subset_num_batches: null
    data:
      num_workers: 0
      drop_last: true
      datasets:
        v3-small-odd-validation: [{windows}]
        even-validation: [{windows}]
  - label: animals
    type: downstream
precision: amp_bf16
max_grad_norm: 0.5
max_grad_norm_ratio: null
softmax_auxiliary_loss: true
auxiliary_loss_multiplier: 1e-3
fused_loss: true
activation_checkpointing: whole_layer
python_profiling: false
torch_profiling: false
hf_datasets_cache_dir: null
module_outputs_save_steps: null
"""


@pytest.fixture
def official(tokens_folder, windows_folder, tmp_path) -> Path:
    text = EVERY_FIELD.format(tokens=tokens_folder, windows=windows_folder, folder=tmp_path)
    (tmp_path / "official.yaml").write_text(text)
    for number in range(2):
        ids = (tokens_folder / f"part-0000{number}.npy").stat().st_size // 2
        (tmp_path / f"mask-{number}").write_bytes(b"\1" * ids)
    return tmp_path / "official.yaml"


def call(*arguments: str) -> int:
    return run(app, list(arguments), positional_config=frozenset({"train", "plan"}), prepare=prepare)


def small(**changes: object) -> dict:
    """A configuration that names no data beyond a folder and evaluates nothing."""
    tree = {
        "model": {
            "d_model": 64,
            "n_heads": 4,
            "n_layers": 2,
            "mlp_hidden_size": 256,
            "rope": True,
            "attention_dropout": 0.0,
            "residual_dropout": 0.0,
            "embedding_dropout": 0.0,
            "include_bias": False,
            "layer_norm_with_affine": False,
            "init_fn": "mitchell",
        },
        "optimizer": {"name": "adamw"},
        "scheduler": {"t_warmup": 5},
        "data": {"paths": ["tokens"], "drop_last": True},
        "max_duration": 50,
        "global_train_batch_size": 16,
        "time_limit": None,
    }
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return tree


def translated(**changes: object) -> dict:
    return bring([], small(**changes), "f.yaml")[1]


def notes(**changes: object) -> list[str]:
    return bring([], small(**changes), "f.yaml")[2]


def test_the_file_of_every_field_has_every_field():
    tree = yaml.safe_load(EVERY_FIELD.format(tokens="tokens", windows="windows", folder="folder"))

    def keys(part: dict, prefix: str = "") -> set[str]:
        found = set()
        for key, value in part.items():
            found |= {prefix + key} | (keys(value, f"{prefix}{key}.") if isinstance(value, dict) else set())
        return found

    given = keys(tree)
    for evaluator in tree["evaluators"]:
        given |= keys(evaluator, "evaluators.")
    of_evaluators_data = {key for key in FIELDS if key.startswith("evaluators.data.")}
    assert set(FIELDS) - of_evaluators_data <= given


def test_a_file_with_every_field_is_planned_validated_and_trained(official, requests_folder, tmp_path, capsys):
    requests = ["--evaluation.requests", str(requests_folder)]
    assert call("plan", str(official), *requests, "--measured-steps", "1") == 0
    assert "run              7 steps, 896 tokens" in capsys.readouterr().out
    assert call("config", "validate", str(official), *requests) == 0
    assert "7 steps of 128 tokens, from the beginning, on cpu" in capsys.readouterr().out
    assert not (tmp_path / "every-field").exists()
    assert call("train", str(official), *requests) == 0
    folder = tmp_path / "every-field"
    assert sorted(place.name for place in folder.glob("step*")) == ["step5", "step6", "step7"]  # 5 stays for good
    for name in ("step5", "step7"):
        assert (tmp_path / "copy" / name / "manifest.json").read_bytes() == (
            folder / name / "manifest.json"
        ).read_bytes()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert rows[5]["optim/grad/transformer.blocks.0.attn_out.weight.norm"] > 0
    evaluated = [row["step"] for row in rows if "eval/perplexity/odd/CrossEntropyLoss" in row]
    assert evaluated == [0, 3, 6, 7]
    assert "eval/downstream/animals_acc_raw" in rows[0]
    loss = next(row for row in rows if row["step"] == 1)
    assert loss["train/ZLoss"] > 0
    assert loss["optim/learning_rate"] == pytest.approx(1e-4 + (2e-3 - 1e-4) / 4)
    resolved = yaml.safe_load((folder / "config.yaml").read_text())
    assert resolved["model"]["init_fn"] == "normal"
    assert resolved["precision"] == "fp32"
    assert resolved["data"]["seed"] == 25
    assert resolved["optimizer"]["betas"] == [0.8, 0.9]
    assert resolved["scheduler"]["warmup_min_lr"] == 1e-4
    assert call("train", str(folder / "config.yaml")) == 0  # our own schema now, and complete


def test_documents_of_bare_files_are_found_again(official, tmp_path):
    assert call("train", str(official), "--evaluators=[]", "--stop_at=3") == 0
    folder = tmp_path / "every-field"
    found = which_steps(folder, WhichStepsConfig(doc="story-3"))
    assert found["documents"][0]["id"] == "story-3"
    assert all(row["step"] <= 3 for row in found["documents"][0]["seen"])


def test_bare_files_give_the_losses_of_the_artifact_they_are_of(official, tokens_folder, tmp_path):
    bare, whole = str(tmp_path / "bare"), str(tmp_path / "whole")
    short = ["--evaluators=[]", "--stop_at=4", "--console_log_interval=1", "--remote_save_folder=null"]
    assert call("train", str(official), *short, f"--save_folder={bare}") == 0
    assert call("train", str(official), *short, f"--save_folder={whole}", f"--data.paths=[{tokens_folder}]") == 0

    def losses(folder: str) -> list[float]:
        rows = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["train/CrossEntropyLoss"] for line in rows]

    assert len(losses(bare)) == 4
    assert losses(bare) == losses(whole)


def test_the_schema_is_told_from_the_keys():
    assert is_official(small())
    assert not is_official({"save_folder": "run", "data": {"tokens": "t"}, "max_duration": 3})
    assert not is_official({"save_folder": "run", "data": {"tokens": "t"}, "global_train_batch_size": 3})
    assert not is_official({})


def test_every_field_becomes_a_setting_or_has_a_reason():
    ours = our_keys()
    for field in FIELDS.values():
        if field.effect == "translated":
            parts = [key for key in field.becomes.split(", ") if key and not key.startswith("--")]
            assert set(parts) <= ours, field.key
            assert not field.reason
        else:
            assert len(field.reason) > 10, field.key
            assert not field.becomes
        assert len(field.about) > 4, field.key
    assert len(INAPPLICABLE) == len({field.key for field in INAPPLICABLE})


def test_options_are_keys_of_olmo_or_ours():
    options = ["--model.d_model=128", "--max-duration", "20ep", "--threads", "2", "--optimizer.betas=[0.5, 0.6]"]
    rest, tree, _ = bring(options, small(), "f.yaml")
    assert rest == ["--threads", "2"]
    assert (tree["model"]["d_model"], tree["max_duration"], tree["optimizer"]["betas"]) == (128, "20ep", [0.5, 0.6])


@pytest.mark.parametrize(
    ("text", "becomes"),
    [(50, "50"), ("739_328", "739_328"), ("2e12T", "2e12T"), ("20ep", "20ep")],
)
def test_durations_are_steps_tokens_or_epochs(text, becomes):
    assert translated(max_duration=text)["max_duration"] == becomes


def test_files_without_a_later_field_are_read_as_of_the_first_release():
    early = translated(model__init_fn="normal")
    assert (early["model"]["init_fn"], early["loss"]["semantics"]) == ("normal_v1", "v1")
    late = translated(model__init_fn="normal", optimizer__eps=1e-8)
    assert (late["model"]["init_fn"], late["loss"]["semantics"]) == ("normal", "late")
    assert "read as a file of OLMo v0.2.5, for it has no later field (loss.semantics v1)" in notes()


def test_defaults_are_those_of_olmo():
    tree = translated()
    assert tree["optimizer"] == {
        "name": "adamw", "learning_rate": 1e-4, "weight_decay": 0.01, "betas": [0.9, 0.95], "eps": 1e-5,
        "decay_norm_and_bias": False, "decay_embeddings": False, "max_grad_norm": None, "max_grad_norm_ratio": None,
    }  # fmt: skip
    assert tree["scheduler"] == {"name": "cosine_with_warmup", "units": "steps", "warmup": "5", "alpha_f": 0.1}
    assert (tree["micro_batch_size"], tree["log_interval"], tree["precision"]) == (16, 1, "fp32")
    assert tree["evaluation"] == {"interval": 1000}


@pytest.mark.parametrize(
    ("strategy", "more", "replicas", "reshard"),
    [
        ("FULL_SHARD", {}, 1, True),
        ("SHARD_GRAD_OP", {}, 1, False),
        ("NO_SHARD", {}, 8, True),
        ("HYBRID_SHARD", {}, 2, True),
        ("_HYBRID_SHARD_ZERO2", {"fsdp__hybrid_sharding_num_model_replicas": 4}, 4, False),
        ("FULL_SHARD", {"distributed_strategy": "ddp"}, 8, True),
    ],
)
def test_strategies_of_sharding_over_the_ranks_there_are(strategy, more, replicas, reshard, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    tree = translated(fsdp__sharding_strategy=strategy, **more)
    assert tree["parallel"] == {"replicas": replicas, "reshard_after_forward": reshard}
    assert tree["micro_batch_size"] == 2  # of 16 instances, on 8 ranks
    with pytest.raises(UserError, match="device_train_microbatch_size 3 times 8 ranks does not divide"):
        translated(global_train_batch_size=32, device_train_microbatch_size=3)


def test_limits_and_passing_checkpoints():
    tree = translated(time_limit=60, save_interval_ephemeral=5)
    assert (tree["time_limit"], tree["checkpoint"]["ephemeral_interval"]) == (60.0, 5)
    assert "time_limit" not in translated()


def test_checkpoints_that_stay():
    def checkpoint(**changes: object) -> dict:
        return translated(**changes)["checkpoint"]

    assert checkpoint(save_interval=10, save_interval_unsharded=50, save_num_checkpoints_to_keep=2) == {
        "save_interval": 10, "permanent_interval": 50, "keep": 2,
    }  # fmt: skip
    assert checkpoint(save_interval=None, save_interval_unsharded=50, save_num_unsharded_checkpoints_to_keep=3) == {
        "save_interval": 50, "keep": 3,
    }  # fmt: skip
    assert checkpoint(save_interval=10, save_interval_unsharded=50, save_num_unsharded_checkpoints_to_keep=0) == {
        "save_interval": 10
    }
    told = notes(save_interval=10, save_interval_unsharded=50, save_num_unsharded_checkpoints_to_keep=3)
    assert any(line.startswith("save_num_unsharded_checkpoints_to_keep 3 has no effect") for line in told)


def test_what_is_taken_over_from_a_checkpoint():
    tree = translated(load_path="/x", reset_trainer_state=True)
    assert (tree["load_path"], tree["load_optimizer_state"], tree["load_trainer_state"]) == ("/x", True, False)
    assert translated(load_path="/x", reset_optimizer_state=True)["load_trainer_state"] is True
    assert "load_trainer_state" not in translated()


def test_token_units_and_a_warm_up_longer_than_the_run():
    tree = translated(scheduler__units="tokens", scheduler__t_warmup=4096, scheduler__t_max=3e6)
    assert (tree["scheduler"]["warmup"], tree["scheduler"]["t_max"]) == ("4096T", "3000000T")
    # as in OLMo, the warm-up is simply not done when the run is: t_max moves behind it and no learning rate changes
    assert translated(scheduler__t_warmup=2000)["scheduler"]["t_max"] == "2000"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler__t_warmpu": 3}, r"no field scheduler\.t_warmpu .*did you mean scheduler\.t_warmup\?"),
        ({"data__pathz": []}, r"no field data\.pathz .*did you mean data\.paths\?"),
        ({"global_batch_sizes": 3}, r"did you mean global_train_batch_size\?"),
        ({"optimizer__learning_rate": "fast"}, r"optimizer\.learning_rate is 'fast' .*give float"),
        ({"optimizer__betas": [0.9]}, r"optimizer\.betas is \[0\.9\]"),
        ({"scheduler__units": "epochs"}, r"scheduler\.units is 'epochs' .*give steps | tokens"),
        ({"model__attention_dropout": 0.1}, r"model\.attention_dropout is 0\.1: .*dropout"),
        ({"model__alibi": True}, r"model\.alibi is True"),
        ({"data__generate_attention_mask": True}, r"data\.generate_attention_mask is True"),
        ({"reset_optimizer_state": True}, "reset_optimizer_state is True"),
        ({"device_train_microbatch_size": 3}, "device_train_microbatch_size 3 does not divide"),
        ({"data__datasets": {"a": ["b"]}}, "both set"),
        ({"evaluators": [{"type": "lm"}]}, r"evaluators\.0 has no label"),
        ({"evaluators": [{"label": "x", "tipe": "lm"}]}, r"did you mean evaluators\.type\?"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        translated(**changes)


def test_a_default_of_olmo_that_cannot_be_is_refused_as_one():
    tree = small()
    del tree["model"]["residual_dropout"]
    with pytest.raises(UserError, match=r"model\.residual_dropout is 0\.1, OLMo's default: .*; set .* to 0\.0"):
        bring([], tree, "f.yaml")


def test_what_is_left_out_is_told_once_and_knobs_in_one_line():
    told = notes(
        wandb={"project": None, "log_artifacts": True}, data__num_workers=4, data__timeout=3, python_profiling=True
    )
    assert [line for line in told if line.startswith("wandb.log_artifacts true has no effect: ")]
    assert [line for line in told if line.startswith("python_profiling true has no effect: ")]
    (knobs,) = [line for line in told if line.startswith("without effect on any result")]
    assert "data.num_workers, data.timeout" in knobs
    assert not any("log_artifacts" in line for line in notes())


def test_a_preset_beside_the_file_is_refused():
    with pytest.raises(UserError, match=r"model\.preset says nothing"):
        bring(["--model.preset", "olmo-1m"], small(), "f.yaml")
    with pytest.raises(UserError, match=r"unknown option --model\.d_modle .*did you mean --model\.d_model\?"):
        bring(["--model.d_modle=3"], small(), "f.yaml")


def test_labels_of_evaluators():
    assert source_of("v3-small-c4_en-validation") == source_of("c4_en-validation") == "c4_en"
    assert source_of("v2-small-m2d2_s2orc-validation") == "m2d2_s2orc"
    assert len(SETS["v3-small-ppl-validation"]) == 11
    assert len(SETS["v2-small-ppl-validation"]) == 13
    assert TASKS["openbook_qa"] == "openbookqa"


def test_missing_data_of_a_label_names_the_command(requests_folder):
    windows = {"evaluators": [{"label": "v3-small-ppl-validation", "data": {"paths": ["r2://b/x.npy"]}}]}
    with pytest.raises(
        UserError, match=r"needs windows of c4_en, dolma_books.*`paloma-ppl windows --suite SUITE .*1024"
    ):
        translated(**windows)
    downstream = [{"label": "piqa", "type": "downstream"}, {"label": "openbook_qa", "type": "downstream"}]
    with pytest.raises(UserError, match="`catwalk-eval requests --tasks piqa,openbookqa"):
        translated(evaluators=downstream)
    with pytest.raises(UserError, match=r"piqa, openbook_qa need requests, which .* does not hold"):
        bring(["--evaluation.requests", str(requests_folder)], small(evaluators=downstream), "f.yaml")
    told = notes(evaluators=[{"label": "rte", "type": "downstream"}, {"label": "sst2", "type": "downstream"}])
    assert "evaluators rte, sst2 are left out, for no command makes data for them" in told


def test_show_tells_where_each_value_comes_from(official, requests_folder, capsys):
    found = read(str(official), ["--optimizer.learning_rate=1e-3", "--threads", "1", "--evaluators=[]"])
    assert isinstance(found.config, TrainConfig)
    assert found.origins["optimizer.learning_rate"] == "flag"
    assert found.origins["threads"] == "flag"
    assert found.origins["optimizer.weight_decay"] == "file"
    assert found.origins["guard.sigma"] == "default"
    assert call("config", "show", str(official), "--evaluators=[]", "--stop_at=3") == 0
    shown = capsys.readouterr().out
    assert "  learning_rate: 0.002  # file\n" in shown
    assert "stop_at: 3  # flag\n" in shown
    assert "  sigma: 6.0  # default\n" in shown
    assert "  sequence_length: 16  # derived\n" in shown
    assert yaml.safe_load(shown)["optimizer"]["learning_rate"] == 2e-3


def test_what_a_file_leaves_out_is_a_default_of_olmo_or_derived(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small(save_folder="run")))
    origins = read(str(tmp_path / "small.yaml"), ["--scheduler.t_warmup=3"]).origins
    assert origins["model.d_model"] == origins["save_folder"] == "file"
    assert origins["optimizer.eps"] == origins["model.norm_eps"] == "OLMo's default"
    assert origins["loss.semantics"] == "derived"
    assert origins["scheduler.warmup"] == "flag"
    assert origins["guard.sigma"] == "default"


def test_explain_knows_keys_of_both_schemas(capsys):
    assert call("config", "explain", "optimizer.eps") == 0
    told = capsys.readouterr().out
    assert "range        a number above 0" in told
    assert "default      1e-05" in told
    assert "olmo_model.config.optimization.OptimizerSettings" in told
    assert call("config", "explain", "data.num_workers") == 0
    assert "cannot apply, without effect on any result: token files are memory-mapped" in capsys.readouterr().out
    assert call("config", "explain", "--device-train-microbatch-size") == 0
    assert "becomes      micro_batch_size" in capsys.readouterr().out
    assert call("config", "explain", "scheduler.alpha") == 2
    assert "did you mean scheduler.alpha_f?" in capsys.readouterr().err


def test_validate_refuses_what_train_would_refuse(official, capsys):
    assert call("config", "validate", str(official), "--evaluators=[]", "--model.eos_token_id=400") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: eos_token_id lies outside")


def test_epochs_are_steps_of_the_data(official):
    plan = make_plan(read(str(official), ["--evaluators=[]", "--stop_at=null"]).config)
    assert plan.max_steps == 2 * (len(plan.instances) // 8)
    assert model_initialization(plan.config.model).init_std == 0.03


def test_the_page_about_the_fields_holds_the_tables():
    page = Path(__file__).parents[3] / "docs" / "official-configs.md"
    if not page.is_file():
        pytest.skip("the documentation is not here: this is the package alone")
    assert page.read_text(encoding="utf-8").endswith(tables() + "\n")
