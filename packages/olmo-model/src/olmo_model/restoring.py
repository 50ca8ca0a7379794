"""Going on: the newest checkpoint that is whole, and its state put back in place on any number of ranks."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from .checkpoint import DAMAGE_OF_STATE, STATE, Progress, point_latest, training_state
from .errors import UserError
from .files import PARTIAL, digest_file, read_json
from .model import Transformer
from .model_folder import NativeWeights, open_native
from .parallel import fill, in_ranks_order
from .ranks import Ranks
from .run_folder import MANIFEST, step_folders
from .update import Update

log = logging.getLogger(__name__)
DAMAGED = ".damaged"  # behind the name of a checkpoint that is kept, but no longer taken for one


def newest_whole_checkpoint(run: Path, ranks: Ranks, *, tidy: bool = True) -> tuple[int, Path] | None:
    """Step and folder of the newest checkpoint whose files have the digests of its manifest; None without any.

    The first rank says which there are, and all read the files in turns. Damaged checkpoints after the one that is
    taken, those without a manifest among them, are set aside under another name, and the log says so; without ``tidy``
    nothing is touched. If all are damaged that is a UserError, for going on from nothing would undo the run.
    """
    damaged: list[tuple[Path, str]] = []
    whole: tuple[int, Path] | None = None
    for step, folder in reversed(ranks.from_first(lambda: step_folders(run))):
        found = ranks.gather(_damage(folder, ranks))
        problems = [problem for problem in found if problem is not None]
        if not problems:
            whole = step, folder
            break
        damaged.append((folder, problems[0]))
    if damaged and whole is None:
        raise UserError(
            f"no checkpoint of the run is whole; of the newest {damaged[0][1]}",
            where=run,
            fix="restore one, or begin again in another save_folder",
        )
    if ranks.first and not tidy:
        for _, problem in damaged:
            log.warning("a checkpoint is damaged: %s; it is passed over", problem)
    if tidy:
        ranks.together(lambda: _tidy(run, damaged, whole) if ranks.first else None)
    return whole


def _tidy(run: Path, damaged: list[tuple[Path, str]], whole: tuple[int, Path] | None) -> None:
    """Remove what a killed run had not finished, and give damaged checkpoints another name."""
    for left in run.glob(f"step*{PARTIAL}"):
        shutil.rmtree(left, ignore_errors=True)
    for folder, problem in damaged:
        aside = folder.with_name(folder.name + DAMAGED)
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(folder, aside)
        log.warning("a checkpoint is damaged: %s; it is now %s", problem, aside)
    if whole is not None:
        point_latest(run, whole[1])


def _damage(folder: Path, ranks: Ranks) -> str | None:
    """The first file of a rank's share that is missing or has other bytes than when it was written; None where there is
    none. What the files are the first rank says."""
    listed = ranks.from_first(lambda: _listed(folder))
    if isinstance(listed, str):
        return listed
    for name, digest in list(listed.items())[ranks.rank :: ranks.world]:
        path = folder / name
        try:
            if digest_file(path) != digest:
                return f"{path} does not have the bytes that were written"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
    return None


def _listed(folder: Path) -> dict[str, str] | str:
    """Digests of a checkpoint's files by their path in it, or what is wrong with its manifest."""
    if not (folder / MANIFEST).is_file():
        return f"{folder / MANIFEST} is missing"
    try:
        return {str(name): str(digest) for name, digest in read_json(folder / MANIFEST)["files"].items()}
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return f"{folder / MANIFEST} is no manifest of a checkpoint"


def restore(folder: Path, model: Transformer, update: Update, ranks: Ranks) -> Progress:
    """Put weights, the state of their update and the random state of a checkpoint in place; says where to go on.

    A checkpoint of another architecture, or one that cannot be read, is a UserError that names it.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load as load_distributed

    again = "restore the file, or remove the checkpoint to go on from the one before"

    def read() -> None:
        with ExitStack() as stack:
            read_weights(open_native(folder, stack), folder, model, ranks, again)

    ranks.together(read)
    group = ranks.files

    def read_state() -> dict[str, Any]:
        try:
            stored = FileSystemReader(folder / STATE).read_metadata().state_dict_metadata
            state = _places(stored, model, update, ranks)
            load_distributed(state, checkpoint_id=folder / STATE, process_group=group, no_dist=group is None)
            state["progress"] = Progress(**json.loads(state["progress"]))
            return state
        except (CheckpointException, *DAMAGE_OF_STATE) as error:
            raise UserError(
                "the state of the training is missing or damaged",
                where=folder / STATE,
                fix="remove the checkpoint to go on from the one before",
            ) from error

    state = ranks.together(read_state)
    _put_in_place(state, model, update, ranks)
    progress = state["progress"]
    assert isinstance(progress, Progress)
    return progress


def _places(stored: Mapping[str, Any], model: Transformer, update: Update, ranks: Ranks) -> dict[str, Any]:
    """Where a stored state is read to, of which ``stored`` says what there is: the guard's rings are as long as they
    were, and random states those of the devices that wrote it."""
    state = training_state(model, update, ranks, Progress(step=0, tokens_seen=0, epoch=0, next_instance=0))
    guard = state["update"]["guard"]
    for name in ("losses", "norms"):
        guard[name] = guard[name].new_zeros(stored[f"update.guard.{name}"].size)
    state["rng"] = {
        name.removeprefix("rng."): torch.zeros(described.size, dtype=torch.uint8)
        for name, described in stored.items()
        if name.startswith("rng.")
    }
    return state


def read_weights(weights: NativeWeights, folder: Path, model: Transformer, ranks: Ranks, fix: str) -> None:
    """Give a model its weights; those of another architecture are a UserError with this ``fix``."""
    ours, theirs = model.config, weights.config
    names = [field.name for field in dataclasses.fields(ours) if field.name != "vocab_size"]  # not stored everywhere
    differing = [
        f"{name} is {getattr(theirs, name)}, not {getattr(ours, name)}"
        for name in names
        if getattr(theirs, name) != getattr(ours, name)
    ]
    if differing:
        raise UserError(
            f"the checkpoint's configuration is not that of the run: {', '.join(differing)}", where=folder, fix=fix
        )
    fill(model.named_parameters(), weights.read, ranks.tensor)


def _put_in_place(state: dict[str, Any], model: Transformer, update: Update, ranks: Ranks) -> None:
    weights = dict(model.named_parameters())
    optimizer = state["update"]["optimizer"]
    for name, kept in optimizer.items():
        optimizer[name] = {key: in_ranks_order(name, value, weights[name], ranks) for key, value in kept.items()}
    update.load(state["update"])
    random = state["rng"]
    torch.set_rng_state(random["cpu"])
    if ranks.device.type == "cuda":
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"])
        elif ranks.first:
            log.warning("the checkpoint was not written on CUDA: the random state there is the one at hand")
