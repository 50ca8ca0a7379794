"""The run folder: its manifest and configuration, and what may change when a run goes on."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .command_line import load_yaml
from .config.training import TrainConfig, plain
from .errors import UserError
from .files import atomic_write, read_json, write_json

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
# What changes no weight: names and places (the tokens are compared by content), reports, and the length of a run whose
# schedule does not depend on it.
FREE = (
    "save_folder",
    "remote_save_folder",
    "run_name",
    "data.tokens",
    "data.files",
    "data.tokenizer",
    "data.check_eos",
    "data.remote_cache",
    "max_duration",
    "stop_at",
    "early_stopping_factor",
    "optimizer.metrics_interval",
    "log_interval",
    "report_interval",
    "peak_flops",
    "checkpoint.",
    "evaluation.",
    "wandb.",
    "tensorboard",
    "time_limit",
    "activation_checkpointing",
    "guard.",  # decides about steps to come alone: a run that it stopped may go on with such steps skipped
)
ANNEAL = "scheduler.anneal."  # may change as long as all of it is still to come
# What changes weights by rounding alone; of micro_batch_size see ``weighs_by_micro_batch``.
ROUNDING = ("micro_batch_size", "threads", "device", "parallel.")
# Of FREE, what a run that is complete would have had to do differently: nothing is measured or reported afterwards.
DONE_ONCE = (
    "evaluation.interval",
    "evaluation.windows",
    "evaluation.requests",
    "evaluation.tasks",
    "evaluation.sources",
    "evaluation.limit",
    "wandb.",
    "tensorboard",
    ANNEAL,
)


def step_folders(run: Path) -> list[tuple[int, Path]]:
    """Step and folder of everything in a run that has the name of a checkpoint, oldest first. Unfinished ones have
    another name."""
    found = []
    for folder in run.iterdir() if run.is_dir() else ():
        match = re.fullmatch(r"step(\d+)", folder.name)
        if match:
            found.append((int(match.group(1)), folder))
    return sorted(found)


def complete_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Those of ``step_folders`` that have a manifest."""
    return [(step, folder) for step, folder in step_folders(run) if (folder / MANIFEST).is_file()]


def resolve(folder: str | Path) -> Path:
    """The model folder that is meant: the folder itself, or the newest checkpoint where it is a run."""
    path = Path(folder)
    if (path / "config.json").is_file():
        return path
    checkpoints = complete_checkpoints(path)
    if not checkpoints:
        raise UserError("no model here: no config.json and no checkpoint", where=path, fix="give a checkpoint or a run")
    return checkpoints[-1][1]


@dataclass(frozen=True)
class RunFolder:
    """Places inside a run folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def data_order(self) -> Path:
        return self.root / "data_order.jsonl"

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; a folder that is no run is a UserError."""
        if not self.manifest.is_file():
            raise UserError("no run here: manifest.json is missing", where=self.root, fix="give the folder of a run")
        manifest = read_json(self.manifest)
        kind = {"artifact": "run", "format_version": FORMAT_VERSION}
        if not isinstance(manifest, dict) or any(manifest.get(key) != value for key, value in kind.items()):
            raise UserError(
                f"not a run of format {FORMAT_VERSION}", where=self.manifest, fix="give the folder of a run"
            )
        return manifest

    def read_config(self) -> dict[str, Any]:
        """The resolved configuration."""
        if not self.config.is_file():
            raise UserError("the run has no configuration", where=self.config, fix="give the folder of a run")
        return load_yaml(self.config)

    def micro_batch_size(self, config: Mapping[str, Any]) -> int | None:
        """The micro-batch that a run which goes on under a flat configuration has to keep, where that leaves it open:
        the run's own, if it decides how much a label weighs. None where there is nothing to keep."""
        if config["micro_batch_size"] is not None or not weighs_by_micro_batch(config):
            return None
        if not complete_checkpoints(self.root):
            return None
        size = self.read_config().get("micro_batch_size")
        sizes = (config["global_batch_size"], *config["batch_warmup.sizes"])
        if type(size) is not int or size < 1 or any(each % size for each in sizes):
            return None  # of another run, which ``check`` refuses by what differs
        return size

    def check(
        self,
        manifest: Mapping[str, Any],
        config: Mapping[str, Any],
        max_steps: int,
        newest: tuple[int, Path] | None,
    ) -> Standing:
        """Where the run stands whose newest checkpoint that is whole (step and folder) is ``newest``. Whatever cannot
        be gone on with under these settings is a UserError.

        That is: a folder that holds something else; a checkpoint of a run with other settings or data; a complete run
        whose changed settings ask for what only training gives.
        """
        if self.root.exists() and (
            not self.root.is_dir() or (any(self.root.iterdir()) and not self.manifest.is_file())
        ):
            raise UserError(
                "the folder holds something that is no run", where=self.root, fix="give another save_folder"
            )
        before = self.read_manifest() if self.manifest.is_file() else None
        if before is None or newest is None:
            return Standing(0, None, max_steps == 0, ())
        step, folder = newest
        self._refuse_other_data(before, manifest)
        old, new = flat(self.read_config()), flat(config)
        differing = [key for key in old | new if old.get(key) != new.get(key)]
        ahead = all(anneal_is_ahead(settings, step, folder) for settings in (old, new))
        self._refuse_other_training([key for key in differing if not (ahead and key.startswith(ANNEAL))], old, new)
        complete = step >= max_steps
        if complete:
            self._refuse_other_measuring(differing, old, new, step, max_steps)
        return Standing(step, folder, complete, tuple(key for key in differing if key.startswith(ROUNDING)))

    def check_removable(self, load_path: str | None) -> None:
        """What is here and no run is a UserError, and so is a run that holds what another is to begin with."""
        if self.root.exists() and not self.root.is_dir():
            raise UserError("this is no folder", where=self.root, fix="give another save_folder")
        if self.root.is_dir() and any(self.root.iterdir()):
            self.read_manifest()
            if load_path is not None and Path(load_path).resolve().is_relative_to(self.root.resolve()):
                raise UserError(
                    "load_path lies in the run that --overwrite removes",
                    where=self.root,
                    fix="give another save_folder",
                )

    def remove(self) -> None:
        """Remove the run that is here, if there is one; ``check_removable`` comes first."""
        if self.root.is_dir():
            shutil.rmtree(self.root)

    def write(self, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Write manifest and configuration, into a new folder too."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.manifest, manifest)
        with atomic_write(self.config) as stream:
            stream.write(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode())

    def _refuse_other_data(self, before: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
        for key in ("tokens_fingerprint", "tokenizer_digest"):
            if before.get(key) != manifest[key]:
                raise UserError(
                    f"the run was begun on other data ({key} differs)",
                    where="data.tokens",
                    fix="give the tokens it was begun with, or another save_folder",
                )

        for place, version in manifest.get("remote", {}).items():
            then = before.get("remote", {}).get(place, version)
            if then != version:
                raise UserError(
                    f"the object is not the one that the run was begun with ({version}; then {then})",
                    where=place,
                    fix="restore it, or give another save_folder",
                )

    def _refuse_other_training(self, differing: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        harmless: tuple[str, ...] = (*FREE, *ROUNDING)
        if weighs_by_micro_batch(new):
            harmless = tuple(key for key in harmless if key != "micro_batch_size")
        deciding = [key for key in differing if not key.startswith(harmless)]
        if not deciding:
            return
        hint = ""
        if deciding == ["scheduler.t_max"]:
            hint = f"; a longer run on the old schedule needs --scheduler.t-max {old['scheduler.t_max']}"
        raise UserError(
            f"the run was begun with other settings: {changes(deciding, old, new)}",
            where=self.root,
            fix=f"set them back, or give another save_folder{hint}",
        )

    def _refuse_other_measuring(
        self, differing: list[str], old: Mapping[str, Any], new: Mapping[str, Any], step: int, max_steps: int
    ) -> None:
        late = [key for key in differing if key.startswith(DONE_ONCE)]
        if step > max_steps:
            late.append("max_duration")
        if late:
            raise UserError(
                f"the run is complete at step {step} and was made with other settings: {changes(late, old, new)}",
                where=self.root,
                fix="set them back, give another save_folder, or go on under them with a larger max_duration and "
                f"--scheduler.t-max {new['scheduler.t_max']}",
            )


@dataclass(frozen=True)
class Standing:
    """How far a run is: newest step and checkpoint (0 and None before the first), whether nothing is left to train,
    and the settings that changed and make losses agree up to rounding alone."""

    step: int
    checkpoint: Path | None
    complete: bool
    rounding: tuple[str, ...]


NOT_BEGUN = Standing(0, None, complete=False, rounding=())


def as_begun(config: TrainConfig) -> TrainConfig:
    """The configuration with the micro-batch that the run in its folder has to keep, where it leaves that open."""
    size = RunFolder(Path(config.save_folder)).micro_batch_size(flat(plain(config)))
    return config if size is None else dataclasses.replace(config, micro_batch_size=size)


def weighs_by_micro_batch(config: Mapping[str, Any]) -> bool:
    """Whether a flat configuration minimises means over the counted labels of each micro-batch, of which some have more
    than others, so that the size of a micro-batch decides how much a label weighs."""
    some_left_out = config["data.instance_filter.enabled"] or config["data.label_masks"]
    return config["loss.semantics"] == "v1" and bool(some_left_out)


def anneal_is_ahead(config: Mapping[str, Any], step: int, checkpoint: Path) -> bool:
    """Whether the anneal of a flat, resolved configuration, if there is one, begins after what is done."""
    start = config.get(ANNEAL + "start")
    if start is None:
        return True
    text = str(start)
    if text.endswith("T"):
        return int(text[:-1]) >= int(read_json(checkpoint / "manifest.json")["tokens_seen"])
    return int(text) >= step


def changes(keys: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """``seed (was 1, is 2), …``."""
    return ", ".join(f"{key} (was {old.get(key)}, is {new.get(key)})" for key in keys)


def metrics_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """``(step, line)`` of every row of ``metrics.jsonl``, an unfinished last line left out; none without the file.

    A line that is no row is a UserError that names it.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        yield step_of_row(path, number, line), line


def step_of_row(path: Path, number: int, line: bytes) -> int:
    """Step of the row that is line ``number`` of ``metrics.jsonl``."""
    try:
        step = json.loads(line)["step"]
        if type(step) is not int:
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "not a row of metrics", where=path, line=number, fix="restore the file, or remove the line"
        ) from error
    return step


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"model": {"d_model": 1}}`` as ``{"model.d_model": 1}``."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return result
