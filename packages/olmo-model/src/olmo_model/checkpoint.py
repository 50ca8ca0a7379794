"""Checkpoints: a Hugging Face folder with the state of the training beside the weights."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .errors import UserError
from .files import PARTIAL, digest_file, write_json
from .model import Transformer
from .model_folder import WEIGHTS, load_model, save_model
from .run_folder import complete_checkpoints
from .update import Update

FORMAT_VERSION = 1
# what torch's reader lets through: a missing or cut file, bytes that are no pickle, another shape
DAMAGE_OF_STATE = (OSError, EOFError, pickle.UnpicklingError, ValueError, KeyError, TypeError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the training is: steps done, tokens seen, and where the next batch stands in the data order."""

    step: int
    tokens_seen: int
    epoch: int
    next_instance: int


def save_checkpoint(run: Path, model: Transformer, update: Update, progress: Progress, tokenizer: Path) -> Path:
    """Write ``run/stepN`` beside its place, rename it, then move ``latest`` on."""
    # imported here: it takes as long as torch itself, and whoever only loads a model does without
    from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

    folder = run / f"step{progress.step}"
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_model(partial, model, tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that there is one process only
        save_distributed(_training_state(model, update, progress), checkpoint_id=partial / "train", no_dist=True)
    write_json(
        partial / "manifest.json",
        {
            "artifact": "checkpoint",
            "format_version": FORMAT_VERSION,
            "step": progress.step,
            "tokens_seen": progress.tokens_seen,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "dtype": "float32",
            "tokenizer_digest": digest_file(tokenizer),
            "weights_digest": digest_file(partial / WEIGHTS),
        },
    )
    for file in partial.rglob("*"):
        if file.is_file():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    point_latest(run, folder)
    return folder


def point_latest(run: Path, folder: Path) -> None:
    """Name the newest checkpoint in ``run/latest``."""
    latest = run / "latest"
    latest.with_name(latest.name + PARTIAL).write_text(folder.name + "\n", encoding="utf-8")
    os.replace(latest.with_name(latest.name + PARTIAL), latest)


def restore(folder: Path, model: Transformer, update: Update) -> Progress:
    """Put weights, the state of their update and the random state of a checkpoint back in place; says where to go on.

    A damaged checkpoint is a UserError that names it.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict_loader import load as load_distributed

    loaded = load_model(folder)
    if loaded.config != dataclasses.replace(model.config, vocab_size=model.config.embedding_size):
        raise UserError(
            "the checkpoint's config.json is not that of the run",
            where=folder / "config.json",
            fix="restore the file, or remove the checkpoint to go on from the one before",
        )
    model.load_state_dict(loaded.state_dict())
    state = _training_state(model, update, Progress(step=0, tokens_seen=0, epoch=0, next_instance=0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_distributed(state, checkpoint_id=folder / "train", no_dist=True)
        progress = Progress(**json.loads(state["progress"]))
    except (CheckpointException, *DAMAGE_OF_STATE) as error:
        raise UserError(
            "the state of the training is missing or damaged",
            where=folder / "train",
            fix="remove the checkpoint to go on from the one before",
        ) from error
    update.load(state["update"])
    torch.set_rng_state(state["rng"]["cpu"])
    if "cuda" in state["rng"]:
        torch.cuda.set_rng_state(state["rng"]["cuda"])
    return progress


def _training_state(model: Transformer, update: Update, progress: Progress) -> dict[str, Any]:
    rng = {"cpu": torch.get_rng_state()}
    if next(model.parameters()).is_cuda:
        rng["cuda"] = torch.cuda.get_rng_state()
    return {"update": update.state(), "rng": rng, "progress": json.dumps(asdict(progress))}


def remove_old_checkpoints(run: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest. Each is renamed first: a half-removed one is never taken for whole."""
    for _, folder in complete_checkpoints(run)[:-keep]:
        doomed = folder.with_name(folder.name + ".removed" + PARTIAL)
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(folder, doomed)
        shutil.rmtree(doomed)
