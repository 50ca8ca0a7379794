"""The run folder: its manifest and configuration, and what may change when a run goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError
from .files import atomic_write, read_json, write_json

FORMAT_VERSION = 1
# What changes no weight: names and places (the tokens are compared by content), reports, and the length of a run whose
# schedule does not depend on it.
FREE = (
    "save_folder",
    "run_name",
    "data.tokens",
    "max_duration",
    "log_interval",
    "checkpoint.",
    "evaluation.",
    "wandb.",
)
# What changes weights by rounding alone.
ROUNDING = ("micro_batch_size", "threads", "device")


def complete_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Step and folder of every complete checkpoint of a run, oldest first. Unfinished ones have another name."""
    found = []
    for folder in run.iterdir() if run.is_dir() else ():
        match = re.fullmatch(r"step(\d+)", folder.name)
        if match and (folder / "manifest.json").is_file():
            found.append((int(match.group(1)), folder))
    return sorted(found)


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
        return self.root / "manifest.json"

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def data_order(self) -> Path:
        return self.root / "data_order.jsonl"

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; a folder that is no run is a UserError."""
        if not self.manifest.is_file():
            raise UserError("no run here: manifest.json is missing", where=self.root, fix="give the folder of a run")
        manifest = read_json(self.manifest)
        if manifest.get("artifact") != "run" or manifest.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"not a run of format {FORMAT_VERSION}", where=self.manifest, fix="give the folder of a run"
            )
        assert isinstance(manifest, dict)
        return manifest

    def read_config(self) -> dict[str, Any]:
        """The resolved configuration."""
        if not self.config.is_file():
            raise UserError("the run has no configuration", where=self.config, fix="give the folder of a run")
        value = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        assert isinstance(value, dict)
        return value

    def newest_checkpoint(self) -> tuple[int, Path] | None:
        """Step and folder of the newest complete checkpoint."""
        return (complete_checkpoints(self.root) or [None])[-1]  # type: ignore[list-item]

    def prepare(self, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
        """Write manifest and configuration into a new folder or one that may go on; names keys that change rounding.

        A folder that holds something else, and a checkpoint of a run with other settings, are UserErrors.
        """
        rounding: list[str] = []
        if self.root.exists() and (
            not self.root.is_dir() or (any(self.root.iterdir()) and not self.manifest.is_file())
        ):
            raise UserError(
                "the folder holds something that is no run", where=self.root, fix="give another save_folder"
            )
        if self.manifest.is_file():
            before = self.read_manifest()
            if self.newest_checkpoint() is not None:
                rounding = self._refuse_other_settings(before, manifest, config)
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.manifest, manifest)
        with atomic_write(self.config) as stream:
            stream.write(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode())
        return rounding

    def _refuse_other_settings(
        self, before: Mapping[str, Any], manifest: Mapping[str, Any], config: Mapping[str, Any]
    ) -> list[str]:
        for key in ("tokens_fingerprint", "tokenizer_digest"):
            if before[key] != manifest[key]:
                raise UserError(
                    f"the run was begun on other data ({key} differs)",
                    where="data.tokens",
                    fix="give the tokens it was begun with, or another save_folder",
                )
        old, new = flat(self.read_config()), flat(config)
        differing = [key for key in old | new if old.get(key) != new.get(key)]
        deciding = [key for key in differing if not key.startswith(FREE) and key not in ROUNDING]
        if deciding:
            shown = ", ".join(f"{key} (was {old.get(key)}, is {new.get(key)})" for key in deciding)
            hint = ""
            if deciding == ["scheduler.t_max"]:
                hint = f"; a longer run on the old schedule needs --scheduler.t-max {old['scheduler.t_max']}"
            raise UserError(
                f"the run was begun with other settings: {shown}",
                where=self.root,
                fix=f"set them back, or give another save_folder{hint}",
            )
        return [key for key in differing if key in ROUNDING]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"model": {"d_model": 1}}`` as ``{"model.d_model": 1}``."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return result
