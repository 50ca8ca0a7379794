"""From a configuration of OLMo's trainer to settings of ours."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.model import Initialization, ModelConfig, ModelSettings
from ..config.optimization import WITHOUT_END
from ..convert.official import from_official_config
from ..errors import UserError
from ..places import is_url
from ..presets import PRESETS, model_config
from .evaluators import wanted
from .fields import OfficialField
from .schema import FIELDS, effective

NO_EVALUATION = "left out, for no command makes data for them"
LATE_VALUES = (("sharded_checkpointer", "olmo_core"), ("load_path_sharded_checkpointer", "olmo_core"))
NEVER = 10**12  # steps
ANY_PRESET = "olmo-1b"  # whose every field is set besides


@dataclass
class Translation:
    """Settings of ours as a tree, and what the user should know about them, a line each."""

    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any) -> None:
        """Set a dotted key."""
        *sections, name = key.split(".")
        tree = self.settings
        for section in sections:
            tree = tree.setdefault(section, {})
        tree[name] = value


def translate(tree: Mapping[str, Any], where: str, ours: Mapping[str, Any]) -> Translation:
    """Translate a resolved configuration; ``ours`` are keys of ours that the user sets beside it.

    A value that would change the result and cannot be had is a UserError; the rest of what cannot apply is noted.
    """
    values, given = effective(tree, where)
    late = any(FIELDS[key].late for key in given) or any(values[key] == value for key, value in LATE_VALUES)
    found = Translation()
    _check_inapplicable(values, given, found, where)
    found.notes.append(
        "read as a file of OLMo's later code (loss.semantics late)" if late else
        "read as a file of OLMo v0.2.5, for it has no later field (loss.semantics v1)"
    )  # fmt: skip
    _model(values, late, found, where)
    _optimizer(values, given, found)
    _schedule(values, found)
    _data(values, found, where)
    _batch(values, found, where)
    _parallel(values, found)
    _run(values, given, found)
    _loss(values, late, found)
    _checkpoints(values, found)
    _evaluation(values, found, where, ours)
    return found


def _check_inapplicable(values: Mapping[str, Any], given: set[str], found: Translation, where: str) -> None:
    knobs: list[str] = []
    for key, spec in FIELDS.items():
        if spec.effect == "translated" or key.startswith("evaluators.") or key not in values:
            continue
        value = values[key]
        if spec.effect == "refused" and not spec.harmless(value) and not _of_absent(key, values):
            whence = "" if key in given else ", OLMo's default"
            raise UserError(f"{key} is {value!r}{whence}: {spec.reason}", where=where, fix=_way_out(spec))
        if key not in given:
            continue
        if spec.effect == "speed":
            knobs.append(key)
        elif spec.effect == "left out" and not spec.harmless(value):
            found.notes.append(f"{key} {_short(value)} has no effect: {spec.reason}")
    knobs += sorted({f"evaluators.{key}" for part in values["evaluators"] for key in part
                     if FIELDS[f"evaluators.{key}"].effect == "speed"})  # fmt: skip
    if knobs:
        found.notes.append(
            f"without effect on any result: {', '.join(knobs)} (`olmo-model config explain KEY` says why)"
        )


def _of_absent(key: str, values: Mapping[str, Any]) -> bool:
    """Whether a key belongs to something that is not on."""
    return key == "model.attention_layer_norm_with_affine" and not values["model.attention_layer_norm"]


def _way_out(spec: OfficialField) -> str:
    if spec.neutral:
        return f"set {spec.key} to {' or '.join(_short(value) for value in spec.neutral)}"
    return f"leave {spec.key} out"


def _short(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "as it is set"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _model(values: Mapping[str, Any], late: bool, found: Translation, where: str) -> None:
    given = {key.removeprefix("model."): value for key, value in values.items() if key.startswith("model.")}
    config = from_official_config(given, where)
    rule = given["init_fn"]
    if rule == "normal" and not late:
        rule = "normal_v1"
    first = Initialization(
        init_fn=rule,
        init_std=None if rule == "mitchell" else given["init_std"],
        init_cutoff_factor=given["init_cutoff_factor"],
    )
    settings = {"preset": _preset(config), **vars(config), **vars(first)}
    for key, value in settings.items():
        if value is not None:
            found.put(f"model.{key}", value)


def _preset(config: ModelConfig) -> str:
    """The preset of this very architecture, else one that leaves every field open to the rest of the settings."""
    facts = {key: getattr(config, key) for key in ("vocab_size", "eos_token_id", "pad_token_id")}
    for name in PRESETS:
        if model_config(ModelSettings(preset=name, embedding_size=config.embedding_size), **facts) == config:
            return name
    return ANY_PRESET


def _optimizer(values: Mapping[str, Any], given: set[str], found: Translation) -> None:
    name = "lionw" if values["optimizer.name"] == "decoupled_lionw" else values["optimizer.name"]
    found.put("optimizer.name", name)
    for key in ("learning_rate", "weight_decay", "betas", "decay_norm_and_bias", "decay_embeddings"):
        found.put(f"optimizer.{key}", values[f"optimizer.{key}"])
    if values["optimizer.no_decay_norm_and_bias"] is not None:
        found.put("optimizer.decay_norm_and_bias", not values["optimizer.no_decay_norm_and_bias"])
    if name == "adamw":
        found.put("optimizer.eps", values["optimizer.eps"])
    elif "optimizer.eps" in given:
        found.notes.append("optimizer.eps has no effect: LionW has none")
    if values["optimizer.metrics_log_interval"] is not None:
        found.put("optimizer.metrics_interval", values["optimizer.metrics_log_interval"])
    for key in ("max_grad_norm", "max_grad_norm_ratio"):
        found.put(f"optimizer.{key}", values[key])


def _schedule(values: Mapping[str, Any], found: Translation) -> None:
    name, units = values["scheduler.name"], values["scheduler.units"]
    found.put("scheduler.name", name)
    found.put("scheduler.units", units)
    if name != "constant":
        found.put("scheduler.warmup", _length(values["scheduler.t_warmup"], units))
        if values["scheduler.warmup_min_lr"] is not None:
            found.put("scheduler.warmup_min_lr", values["scheduler.warmup_min_lr"])
    if name not in WITHOUT_END:
        found.put("scheduler.alpha_f", values["scheduler.alpha_f"])
        end = values["scheduler.t_max"]
        if end is None:
            end = _run_length(values, units)
            # a warm-up that the run ends in is right, as OLMo has it, so the decay is put behind it
            end = None if end is None or end > values["scheduler.t_warmup"] else values["scheduler.t_warmup"]
        if end is not None:
            found.put("scheduler.t_max", _length(end, units))
    steps, factor = values["scheduler.grad_clip_warmup_steps"], values["scheduler.grad_clip_warmup_factor"]
    bounded = values["max_grad_norm"] is not None or values["max_grad_norm_ratio"] is not None
    if steps is not None and factor is not None and bounded:
        found.put("scheduler.grad_clip_warmup_steps", _length(steps, units))
        found.put("scheduler.grad_clip_warmup_factor", factor)
    elif steps is not None or factor is not None:
        found.notes.append("scheduler.grad_clip_warmup has no effect: it needs steps, a factor and a bound")


def _length(value: float, units: str) -> str:
    return f"{int(value)}T" if units == "tokens" else str(int(value))


def _run_length(values: Mapping[str, Any], units: str) -> float | None:
    """The run's length in the schedule's units, where the file alone says it."""
    text = str(values["max_duration"]).strip()
    tokens_per_step = values["global_train_batch_size"] * values["model.max_sequence_length"]
    try:
        if text.endswith("ep"):
            return None
        if text.endswith("T"):
            tokens = float(text[:-1])
            return tokens if units == "tokens" else tokens // tokens_per_step
        return float(text) * (tokens_per_step if units == "tokens" else 1)
    except ValueError:
        return None  # max_duration itself is refused later


def _data(values: Mapping[str, Any], found: Translation, where: str) -> None:
    paths, datasets = values["data.paths"], values["data.datasets"]
    if bool(paths) == bool(datasets):
        what = "data.paths and data.datasets are both set" if paths else "neither data.paths nor data.datasets is set"
        raise UserError(what, where=where, fix="set one of them, as in --data.paths=[TOKENS]")
    files = list(paths or [])
    for name in sorted(datasets or {}):
        value = datasets[name]
        files += value if isinstance(value, list) else [value]
    place = place_of_files([str(file) for file in files])
    found.put("data.tokens", place[0])
    if place[1]:
        found.put("data.files", place[1])
        found.put("data.dtype", values["data.memmap_dtype"])
        found.put("data.tokenizer", values["tokenizer.identifier"])
    if values["data.label_mask_paths"]:
        found.put("data.label_masks", values["data.label_mask_paths"])
    seed = values["data.seed"] if values["data.seed"] is not None else values["seed"]
    seed += values["epoch"] or 0
    if seed != values["seed"]:
        found.put("data.seed", seed)
    if values.get("data.instance_filter") is not None:
        found.put("data.instance_filter.enabled", True)
        for theirs, name in (
            ("repetition_min_period", "min_period"),
            ("repetition_max_period", "max_period"),
            ("repetition_max_count", "max_count"),
        ):
            found.put(f"data.instance_filter.{name}", values[f"data.instance_filter.{theirs}"])


def place_of_files(files: list[str]) -> tuple[str, list[str]]:
    """The folder of a tokens artifact alone, or a folder (or URL) and the files below it, in their order."""
    if any(map(is_url, files)):
        return _place_with_urls(files)
    if len(files) == 1 and (Path(files[0]).is_dir() or not Path(files[0]).suffix):
        return files[0], []
    folder = os.path.commonpath([Path(file).parent for file in files]) or "."
    return folder, [os.path.relpath(file, folder) for file in files]


def _place_with_urls(files: list[str]) -> tuple[str, list[str]]:
    """The URL that all files lie below; where they lie in several places, the folder at hand and all of each name."""
    roots = {file.rpartition("/")[0] for file in files}
    common = os.path.commonpath(roots).replace(":/", "://", 1) if all(map(is_url, files)) else ""
    if not is_url(f"{common}/") or common.endswith(("/", ":")):
        return ".", [file if is_url(file) else str(Path(file).absolute()) for file in files]
    return common, [file.removeprefix(f"{common}/") for file in files]


def _batch(values: Mapping[str, Any], found: Translation, where: str) -> None:
    batch, micro = values["global_train_batch_size"], values["device_train_microbatch_size"]
    ranks = world()
    micro = min(batch // ranks, micro)
    if micro < 1 or batch % (micro * ranks):
        of_ranks = f" times {ranks} ranks" if ranks > 1 else ""
        raise UserError(
            f"device_train_microbatch_size {values['device_train_microbatch_size']}{of_ranks} does not divide "
            f"global_train_batch_size {batch}",
            where=where,
            fix="choose a divisor, so that every micro-batch weighs the same",
        )
    found.put("global_batch_size", batch)
    found.put("micro_batch_size", micro)
    found.put("max_duration", str(values["max_duration"]).strip())


def world() -> int:
    """Processes that a launcher started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _parallel(values: Mapping[str, Any], found: Translation) -> None:
    strategy = values["fsdp.sharding_strategy"] if values.get("fsdp", {}) is not None else "FULL_SHARD"
    if values["distributed_strategy"] == "ddp":
        strategy = "NO_SHARD"
    copies = 1
    if strategy == "NO_SHARD":
        copies = world()
    elif strategy.lstrip("_").startswith("HYBRID_SHARD"):
        machines = world() // int(os.environ.get("LOCAL_WORLD_SIZE", str(world())))
        copies = values["fsdp.hybrid_sharding_num_model_replicas"] or machines
    found.put("parallel.replicas", copies)
    found.put("parallel.reshard_after_forward", strategy not in ("SHARD_GRAD_OP", "_HYBRID_SHARD_ZERO2"))


def _beginning(values: Mapping[str, Any], found: Translation) -> None:
    resets = [key for key in ("reset_optimizer_state", "reset_trainer_state") if values[key]]
    if values["load_path"] is None and resets:
        raise UserError(
            f"{resets[0]} is True: a run that goes on from its own save_folder keeps that state",
            where="configuration",
            fix=f"set {resets[0]} to false, or give load_path",
        )
    if values["load_path"] is not None:
        found.put("load_path", values["load_path"])
        found.put("load_optimizer_state", not values["reset_optimizer_state"])
        found.put("load_trainer_state", not values["reset_trainer_state"])


def _run(values: Mapping[str, Any], given: set[str], found: Translation) -> None:
    found.put("save_folder", values["save_folder"])
    found.put("seed", values["seed"])
    found.put("log_interval", values["console_log_interval"])
    for key in ("run_name", "stop_at", "early_stopping_factor", "remote_save_folder"):
        if values[key] is not None:
            found.put(key, values[key])
    _beginning(values, found)
    again = values["activation_checkpointing"]
    if again is not None:
        found.put("activation_checkpointing", "whole_layer" if again == "fine_grained" else again)
    if values.get("data.generate_doc_lengths"):
        found.put("data.attention_within_documents", True)
    if "time_limit" in given and values["time_limit"] is not None:
        found.put("time_limit", values["time_limit"])
    precision = values["precision"]
    found.put("precision", "auto" if precision == "amp_bf16" else precision or "fp32")
    if values.get("single.device") is not None:
        found.put("device", values["single.device"])
    if values["dry_run"]:
        found.put("dry_run", True)
    if values.get("wandb") is None or not values["wandb.project"]:
        return
    if importlib.util.find_spec("wandb") is None:
        found.notes.append("wandb is not installed: metrics are in metrics.jsonl alone")
        return
    found.put("wandb.project", values["wandb.project"])
    for key in ("entity", "group", "name", "tags"):
        if f"wandb.{key}" in given and values[f"wandb.{key}"] is not None:
            found.put(f"wandb.{key}", values[f"wandb.{key}"])


def _loss(values: Mapping[str, Any], late: bool, found: Translation) -> None:
    found.put("loss.semantics", "late" if late else "v1")
    if values["softmax_auxiliary_loss"]:
        found.put("loss.z_loss", values["auxiliary_loss_multiplier"] or 0.0)


def _checkpoints(values: Mapping[str, Any], found: Translation) -> None:
    often, unsharded = values["save_interval"], values["save_interval_unsharded"]
    keep, keep_unsharded = (
        values[key] for key in ("save_num_checkpoints_to_keep", "save_num_unsharded_checkpoints_to_keep")
    )
    if keep_unsharded == 0:  # which switches them off
        unsharded = None
    if often is None and unsharded is None:
        found.notes.append("save_interval null: the last step alone is saved")
        found.put("checkpoint.save_interval", NEVER)
    elif often is None:
        found.put("checkpoint.save_interval", unsharded)
        keep = keep_unsharded
    else:
        found.put("checkpoint.save_interval", often)
        if unsharded is not None:
            found.put("checkpoint.permanent_interval", unsharded)
            if keep_unsharded > 0:
                found.notes.append(
                    f"save_num_unsharded_checkpoints_to_keep {keep_unsharded} has no effect: those of "
                    "save_interval_unsharded stay"
                )
    if values["save_interval_ephemeral"] is not None:
        found.put("checkpoint.ephemeral_interval", values["save_interval_ephemeral"])
    if keep == 0:
        found.notes.append("save_num_checkpoints_to_keep 0: the newest checkpoint is kept all the same")
        keep = 1
    if keep > 0:
        found.put("checkpoint.keep", keep)


def _evaluation(values: Mapping[str, Any], found: Translation, where: str, ours: Mapping[str, Any]) -> None:
    evaluators = values["evaluators"]
    length = values["model.max_sequence_length"]
    found.put("evaluation.interval", values["eval_interval"])
    if not evaluators:
        return
    need = wanted(
        evaluators,
        windows=ours.get("evaluation.windows"),
        requests=ours.get("evaluation.requests"),
        length=length,
        where=where,
    )
    if need.unknown:
        found.notes.append(f"evaluators {', '.join(need.unknown)} are {NO_EVALUATION}")
    sizes = [part.get("device_eval_batch_size") or values["device_eval_batch_size"] for part in evaluators]
    found.put("evaluation.batch_tokens", max(sizes) * length)
    counts = [
        values["eval_subset_num_batches"] if part.get("subset_num_batches") is None else part["subset_num_batches"]
        for part in evaluators
    ]
    if all(count >= 0 for count in counts):
        found.put("evaluation.limit", max(count * size for count, size in zip(counts, sizes, strict=True)) or 1)
    if values["eval_on_load"]:
        found.put("evaluation.on_load", True)
    if need.windows is not None:
        found.put("evaluation.windows", need.windows)
        found.put("evaluation.sources", list(need.sources))
    if need.requests is not None:
        found.put("evaluation.requests", need.requests)
        found.put("evaluation.tasks", list(need.tasks))
