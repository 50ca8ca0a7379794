"""A second place for the run: its checkpoints and files behind a URL."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..files import read_json
from ..places import join
from ..remote import exists, put, put_bytes, read_whole, remove_tree
from ..run_folder import MANIFEST, RunFolder, complete_checkpoints
from ..trainer import Row, Trainer

log = logging.getLogger(__name__)


class RemoteCopy:
    """Copies each checkpoint that is whole, beside the training, and the files of the run behind it.

    A checkpoint's manifest goes last, so that a copy with a manifest is whole. Passing checkpoints go from there when
    they go from the disk; others stay, also those that ``checkpoint.keep`` removes here. A copy that fails is made
    again with the next checkpoint; the run ends with an error where one is still missing.
    """

    def __init__(self, run: RunFolder, url: str, *, interval: int) -> None:
        self.run = run
        self.url = url
        self.interval = interval
        self.passing: set[str] = set()
        self.copied: set[str] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="copy")
        self._job: Future[None] | None = None

    def check(self, manifest: Mapping[str, Any], config: Mapping[str, Any], *, new: bool) -> None:
        """Write which run this is; where another one is there already, or nothing can be written, that is a UserError.

        A ``new`` run has no checkpoint yet: its copy can only be one of these settings.
        """
        for file, own in ((self.run.config, config), (self.run.manifest, manifest)):
            there = read_whole(join(self.url, file.name))
            if there is not None and (new or file == self.run.manifest) and _parsed(there) != own:
                raise UserError(
                    f"{file.name} there is that of another run",
                    where=self.url,
                    fix="give another remote_save_folder, or remove what is there",
                )
        put_bytes(json.dumps(manifest, indent=2).encode() + b"\n", join(self.url, MANIFEST))

    def start(self, trainer: Trainer) -> None:
        """Copy what an earlier start has left behind."""
        self._begin()

    def step(self, trainer: Trainer, row: Row) -> None:
        """Begin to copy a checkpoint that has come to its place."""
        if trainer.due(self.interval) and (self._job is None or self._job.done()):
            self._tell(self._job)
            self._job = None
            if self._missing():
                self._begin()

    def finish(self, trainer: Trainer) -> None:
        """See everything copied."""
        if self._job is not None:
            self._tell(self._job)
        self._thread.shutdown()
        self.copy()

    def _begin(self) -> None:
        self._job = self._thread.submit(self.copy)

    def _tell(self, job: Future[None] | None) -> None:
        error = None if job is None else job.exception()
        if isinstance(error, UserError):
            log.warning("a checkpoint is not copied yet: %s", error)
        elif error is not None:
            raise error

    def _missing(self) -> list[Path]:
        return [folder for _, folder in complete_checkpoints(self.run.root) if folder.name not in self.copied]

    def copy(self) -> None:
        """Copy what is not there yet."""
        for folder in self._missing():
            try:
                self._copy_checkpoint(folder)
            except FileNotFoundError:
                if folder.exists():
                    raise
                remove_tree(join(self.url, folder.name))  # it went from here while it was copied
                continue
            log.info("%s is copied to %s", folder.name, self.url)
        here = {folder.name for _, folder in complete_checkpoints(self.run.root)}
        for name in sorted(self.passing - here):
            remove_tree(join(self.url, name))
            self.passing.discard(name)
        for file in (self.run.metrics, self.run.data_order, self.run.config, self.run.manifest):
            if file.is_file():
                put(file, join(self.url, file.name))

    def _copy_checkpoint(self, folder: Path) -> None:
        place = join(self.url, folder.name)
        manifest = read_json(folder / MANIFEST)
        if not exists(f"{place}/{MANIFEST}"):
            for file in sorted(folder.rglob("*")):
                if file.is_file() and file != folder / MANIFEST:
                    put(file, f"{place}/{file.relative_to(folder).as_posix()}")
            put(folder / MANIFEST, f"{place}/{MANIFEST}")
        if manifest.get("ephemeral"):
            self.passing.add(folder.name)
        self.copied.add(folder.name)


def _parsed(content: bytes) -> object:
    try:
        return yaml.safe_load(content)
    except yaml.YAMLError:
        return None
