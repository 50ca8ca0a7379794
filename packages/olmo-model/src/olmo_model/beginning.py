"""What a new run takes over from a checkpoint that is not its own: weights, the optimizer's state, and the step.

Read are all models that ``convert`` reads; optimizer and step of this package's own checkpoints, and of unsharded ones
of OLMo's trainer (allenai/OLMo, olmo/checkpoint.py, ``FullCheckpointer``: ``optim.pt`` and ``train.pt``).
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checkpoint import STATE
from .convert.official import native_names
from .convert.sources import DAMAGE, UNSHARD, Source, open_source
from .errors import UserError
from .files import read_json
from .model import Transformer
from .parallel import fill
from .places import is_url
from .plan import Plan
from .ranks import Ranks
from .restoring import read_weights, restore
from .run_folder import MANIFEST
from .update import Update

OPTIMIZER, TRAINER = "optim.pt", "train.pt"
RATIO_MEAN = "grad_norm_exp_avg"  # what OLMo keeps for max_grad_norm_ratio
ARRAY = np.empty(0).__reduce__()[0]  # what makes an array of a pickle
# of what a trainer's state holds beside plain values: places of checkpoints, and the random state of NumPy
ALLOWED: list[Any] = [
    pathlib.PosixPath,
    np.ndarray,
    np.dtype,
    type(np.dtype(np.uint32)),
    (ARRAY, "numpy.core.multiarray._reconstruct"),
    (ARRAY, "numpy._core.multiarray._reconstruct"),
]


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a checkpoint's training was. ``taken`` instances of ``epoch``; None where it is not told."""

    step: int
    tokens_seen: int
    epoch: int | None = None
    taken: int | None = None


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The step that is done, 0 where the run begins, and the files that were read."""

    step: int
    files: list[Path]


def begin_with(plan: Plan, model: Transformer, update: Update, ranks: Ranks) -> Begun:
    """Take over from ``load_path`` what the settings say. A checkpoint of another architecture, one without what is
    asked for, and one whose data stood elsewhere at its step are UserErrors."""
    config = plan.config
    place = str(config.load_path)
    other = "give a model of this architecture, or set model and data.tokens to those of the checkpoint"
    if is_url(place):
        raise UserError("load_path is a URL", where=place, fix="fetch the checkpoint's folder and give its path")

    def read(stack: ExitStack) -> tuple[Source, list[Path]]:
        source = open_source(place, stack)
        read_weights(source.weights, source.folder, model, ranks, other)
        files = list(source.files)
        if source.kind == "olmo" and config.load_optimizer_state:
            files.append(_file(source.folder, OPTIMIZER))
            _load_optimizer(files[-1], model, update, ranks)
        return source, files

    with ExitStack() as stack:
        source, files = ranks.together(lambda: read(stack))
    if source.kind == "hf" and config.load_optimizer_state:
        ranks.together(lambda: _file(source.folder, STATE))
        restore(source.folder, model, update, ranks)
    if not config.load_trainer_state:
        return Begun(step=0, files=files)
    position = ranks.together(lambda: _position(source, config.global_batch_size, plan.sequence_length))
    ranks.together(lambda: _check_position(position, plan, source.folder))
    return Begun(step=position.step, files=files)


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise UserError(
            f"the checkpoint has no {name}, so that it is the weights of a model alone",
            where=folder,
            fix="give a checkpoint of a training (of OLMo's trainer an unsharded one), or leave out "
            "load_optimizer_state and load_trainer_state",
        )
    return folder / name


def _position(source: Source, batch_size: int, sequence_length: int) -> Position:
    if source.kind == "hf":
        manifest = read_json(_file(source.folder, MANIFEST))
        try:
            return Position(step=int(manifest["step"]), tokens_seen=int(manifest["tokens_seen"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                "this is no checkpoint of a training", where=source.folder / MANIFEST, fix="give one"
            ) from error
    path = _file(source.folder, TRAINER)
    state = _unpickled(path)
    try:
        step = int(state["global_step"])
        batches = int(state.get("global_data_step", step))  # of the oldest files, which count nothing else
        taken = state.get("global_train_examples_seen_this_epoch", state.get("global_train_examples_seen"))
        tokens = state.get("global_train_tokens_seen")
        return Position(
            step=step,
            tokens_seen=batches * batch_size * sequence_length if tokens is None else int(tokens),
            epoch=int(state.get("epoch") or 0),
            taken=batches * batch_size if taken is None else int(taken),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("the file says not how far the training was", where=path, fix="fetch it again") from error


def _check_position(position: Position, plan: Plan, folder: Path) -> None:
    """The data order is a function of the step: a checkpoint has to have come where it is at its step."""
    step = position.step
    ours, (epoch, first) = plan.tokens_seen(step), plan.order.position(step + 1)
    fix = "set the batch size and the data that it was trained with, or leave load_trainer_state out"
    if position.tokens_seen != ours:
        raise UserError(
            f"the checkpoint has seen {position.tokens_seen:,} tokens at step {step}, with this configuration it would "
            f"be {ours:,}",
            where=folder,
            fix=fix,
        )
    ended = epoch > 0 and first == 0 and position.epoch == epoch - 1  # an epoch's end is the next one's beginning
    if position.taken is not None and (position.epoch, position.taken) != (epoch, first) and not ended:
        raise UserError(
            f"the checkpoint has taken {position.taken} instances of epoch {position.epoch} at step {step}, with this "
            f"configuration it would be {first} of epoch {epoch}",
            where=folder,
            fix=fix,
        )
    if step >= plan.max_steps:
        raise UserError(
            f"the checkpoint is at step {step}, and the run ends at {plan.max_steps}",
            where=folder,
            fix="lengthen max_duration, or leave load_trainer_state out",
        )


def _unpickled(path: Path) -> Any:
    """Content of a file of ``torch.save``, of which nothing but plain values and tensors is made."""
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"no readable state: {reason}", where=path, fix="fetch it again") from error


def _load_optimizer(path: Path, model: Transformer, update: Update, ranks: Ranks) -> None:
    """Put the optimizer's state in place, and the running means of the bound by ratio, where there are any."""
    stored = _states(_unpickled(path), path)
    names = native_names(stored)
    state = update.state()
    with torch.no_grad():
        for name, kept in state["optimizer"].items():
            theirs = stored.get(names.get(name, ""), {})
            for key, value in kept.items():
                if not isinstance(theirs.get(key), (Tensor, float, int)):
                    raise UserError(
                        f"there is no {key} of {name}",
                        where=path,
                        fix=f"set optimizer.name to that of the checkpoint; it is {update.settings.name}",
                    )
                found = torch.as_tensor(theirs[key])
                if value.dim() == 0:
                    value.fill_(float(found))
                    continue
                if found.shape != value.shape:
                    raise UserError(
                        f"{key} of {name} has the shape {tuple(found.shape)}, not {tuple(value.shape)}",
                        where=path,
                        fix="fetch the checkpoint again",
                    )
                fill([(name, value)], lambda _, found=found: found, ranks.tensor)  # type: ignore[misc]
            if "norm_means" in state and RATIO_MEAN in theirs:
                state["norm_means"][name] = torch.as_tensor(theirs[RATIO_MEAN]).to(state["norm_means"][name])
    update.load(state)


def _states(content: Any, path: Path) -> dict[str, Mapping[str, Any]]:
    """What is kept for each weight, by its name: OLMo's files have names or numbers, which the groups explain."""
    try:
        numbers: dict[Any, str] = {}
        for group in content["param_groups"]:
            numbers |= dict(zip(group["params"], group.get("param_names", group["params"]), strict=True))
        found = {str(numbers[key]): kept for key, kept in content["state"].items()}
        if not all(isinstance(kept, Mapping) for kept in found.values()):
            raise TypeError("a state that is none")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError("not the state of an optimizer", where=path, fix=UNSHARD) from error
    return found
