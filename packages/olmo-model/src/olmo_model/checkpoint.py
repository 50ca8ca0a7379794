"""Checkpoints: written beside the training by all ranks, whole or not at all, and removed again when their time is up.

The weights are a Hugging Face folder, the rest is a torch distributed checkpoint inside it. No step needs the memory of
one machine for a whole model: weights are gathered one at a time, each for the rank that writes its file.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .config.training import CheckpointSettings
from .convert.layout import layout, pieces_of, split
from .errors import UserError
from .files import PARTIAL, atomic_write, digest_file, read_json, write_json
from .model import Transformer
from .model_folder import write_description
from .parallel import gathered, in_checkpoint_order
from .ranks import Ranks, of_rank
from .run_folder import MANIFEST, complete_checkpoints
from .safetensors_file import Shards
from .update import Update

log = logging.getLogger(__name__)
FORMAT_VERSION = 1
warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is no mistake
STATE = "train"  # the folder of what is not weights
# what torch's reader lets through: a missing or cut file, bytes that are no pickle, another shape
DAMAGE_OF_STATE = (OSError, EOFError, pickle.UnpicklingError, ValueError, KeyError, TypeError, RuntimeError)
Weights = Iterable[tuple[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the training is: steps done, tokens seen, where the next batch stands in the data order, and instances
    left out of the loss since the last row of metrics."""

    step: int
    tokens_seen: int
    epoch: int
    next_instance: int
    masked_instances: int = 0


class Checkpoints:
    """Writes the checkpoints of a run. All ranks call everything here, in the same order."""

    def __init__(
        self, run: Path, model: Transformer, update: Update, ranks: Ranks, tokenizer: Path, settings: CheckpointSettings
    ) -> None:
        self.run = run
        self.model = model
        self.update = update
        self.ranks = ranks
        self.tokenizer = tokenizer
        self.settings = settings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._job: Future[None] | None = None

    def save(self, progress: Progress, *, ephemeral: bool = False) -> Path:
        """Write ``run/stepN``, beside the training where the settings say so; first waits for the one before."""
        self.wait()
        folder = self.run / f"step{progress.step}"
        partial = folder.with_name(folder.name + PARTIAL)
        self.ranks.together(lambda: self._begin(partial))
        state = training_state(self.model, self.update, self.ranks, progress)
        state["rng"] = random_state(self.ranks.device)
        shards = Shards(
            partial,
            pieces_of(self.model.config),
            torch.float32,
            limit=self.settings.max_shard_size,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )

        def finish(weights: Weights, write_state: Callable[[], object]) -> None:
            own = self.ranks.together(lambda: self._write(partial, shards, weights, write_state), aside=True)
            digests = {file: digest for part in self.ranks.gather(own, aside=True) for file, digest in part.items()}
            self.ranks.together(
                lambda: self._publish(folder, partial, progress, ephemeral, shards, digests), aside=True
            )

        if self.settings.asynchronous:
            copies = [
                (name, part.to("cpu", torch.float32, copy=True))
                for name, part in self._weights()
                if name in shards.places
            ]
            self._job = self._thread.submit(finish, copies, self._state_writer(state, partial, aside=True))
        else:
            finish(self._weights(), self._state_writer(state, partial, aside=False))
        return folder

    def wait(self) -> None:
        """Wait until the last checkpoint stands in its place. What kept it from that is raised here, on all ranks."""
        job, self._job = self._job, None
        if job is not None:
            job.result()

    @property
    def failed(self) -> bool:
        """Whether this rank knows that the last checkpoint has failed; ``wait`` raises why."""
        return self._job is not None and self._job.done() and self._job.exception() is not None

    def close(self) -> None:
        """Let the last checkpoint come to its end, whatever becomes of it."""
        self._thread.shutdown()

    def _begin(self, partial: Path) -> None:
        if self.ranks.first:
            with naming(partial):
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)

    def _weights(self) -> Weights:
        """Every weight by its Hugging Face name, whole; gathered one at a time."""
        weights = dict(self.model.named_parameters())
        for native, pieces in layout(self.model.config).items():
            yield from split(gathered(native, weights[native], self.ranks.tensor), pieces).items()

    def _state_writer(self, state: dict[str, Any], partial: Path, *, aside: bool) -> Callable[[], object]:
        """What writes the state, or waits for a copy of it to be written."""
        # imported here: it takes as long as torch itself, and whoever only loads a model does without
        from torch.distributed.checkpoint.state_dict_saver import async_save, save

        group = self.ranks.files
        places: dict[str, Any] = {"checkpoint_id": partial / STATE, "process_group": group, "no_dist": group is None}
        if not aside:
            return lambda: save(state, **places)
        job = async_save(state, **places)
        assert isinstance(job, Future)
        return job.result

    def _write(
        self, partial: Path, shards: Shards, weights: Weights, write_state: Callable[[], object]
    ) -> dict[str, str]:
        """Write this rank's files; returns their digests. All ranks take part to the end, also behind a failure."""
        from torch.distributed.checkpoint.api import CheckpointException

        left = iter(weights)
        problems: list[OSError | CheckpointException] = []
        try:
            with shards:
                for name, weight in left:
                    shards.write(name, weight)
        except OSError as error:
            problems.append(error)
            for _ in left:  # gathering is the work of all ranks
                pass
        try:
            write_state()
        except (OSError, CheckpointException) as error:
            problems.append(error)
        if problems:
            raise unwritten(partial, problems[0]) from problems[0]
        own = [*(file.path for file in shards.own), *(partial / STATE).glob(f"__{self.ranks.rank}_*")]
        if self.ranks.first:
            own.append(partial / STATE / ".metadata")
        with naming(partial):
            for file in own:
                settle(file)
            return {str(file.relative_to(partial)): digest_file(file) for file in own}

    def _publish(
        self,
        folder: Path,
        partial: Path,
        progress: Progress,
        ephemeral: bool,
        shards: Shards,
        digests: dict[str, str],
    ) -> None:
        """Describe what is written, rename it into its place, and let go of older ones."""
        if not self.ranks.first:
            return
        with naming(partial):
            shards.write_index()
            write_description(partial, self.model.config, "float32", self.tokenizer)
            small = [file for file in partial.iterdir() if file.is_file() and file.name not in digests]
            for file in small:
                settle(file)
            digests |= {file.name: digest_file(file) for file in small}
            write_json(
                partial / MANIFEST,
                {
                    "artifact": "checkpoint",
                    "format_version": FORMAT_VERSION,
                    "step": progress.step,
                    "tokens_seen": progress.tokens_seen,
                    "ephemeral": ephemeral,
                    "ranks": self.ranks.world,
                    "parameters": sum(weight.numel() for weight in self.model.parameters()),
                    "dtype": "float32",
                    "tokenizer_digest": digest_file(self.tokenizer),
                    "files": dict(sorted(digests.items())),
                },
            )
            settle(partial / STATE)
            settle(partial)
            remove(folder)
            os.replace(partial, folder)
            settle(self.run)
        # the checkpoint stands: what fails now is no reason to end the run
        try:
            point_latest(self.run, folder)
        except OSError as error:
            log.warning("%s is not up to date: %s", self.run / "latest", error)
        for old in outlived(self.run, self.settings.keep, self.settings.permanent_interval):
            try:
                remove(old)
            except OSError as error:
                log.warning("an old checkpoint cannot be removed: %s", error)


def training_state(model: Transformer, update: Update, ranks: Ranks, progress: Progress) -> dict[str, Any]:
    """What a checkpoint holds beside the weights: the state of their update, sharded as they are and in a checkpoint's
    order, and the progress; ``random_state`` besides."""
    state = update.state()
    state["optimizer"] = {
        name: {key: in_checkpoint_order(name, value, ranks) for key, value in kept.items()}
        for name, kept in state["optimizer"].items()
    }
    return {"update": state, "progress": json.dumps(asdict(progress))}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that a process on this device draws from, by kind of device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def outlived(run: Path, keep: int | None, permanent_interval: int | None = None) -> list[Path]:
    """Checkpoints that are no longer wanted: ephemeral ones but the newest of all, others but the newest ``keep`` and
    every one at a multiple of ``permanent_interval``. What has a manifest that cannot be read stays."""
    complete, passing = [], set()
    for step, folder in complete_checkpoints(run):
        try:
            if read_json(folder / MANIFEST)["ephemeral"]:
                passing.add(folder)
        except (UserError, KeyError, TypeError):
            continue
        complete.append((step, folder))
    lasting = [
        folder
        for step, folder in complete
        if folder not in passing and (permanent_interval is None or step % permanent_interval)
    ]
    gone = [folder for _, folder in complete[:-1] if folder in passing]
    return gone + (lasting[:-keep] if keep is not None else [])


def remove(folder: Path) -> None:
    """Remove a checkpoint, if there is one. It is renamed first: a half-removed one is never taken for whole."""
    if folder.exists():
        doomed = folder.with_name(folder.name + ".removed" + PARTIAL)
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(folder, doomed)
        shutil.rmtree(doomed)


def point_latest(run: Path, folder: Path) -> None:
    """Name the newest checkpoint in ``run/latest``."""
    with atomic_write(run / "latest") as stream:
        stream.write(f"{folder.name}\n".encode())


def settle(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk, not on their way to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritten(partial: Path, error: BaseException) -> UserError:
    """What a user reads of a checkpoint that could not be written."""
    cause, rank = error, 0
    failures = getattr(error, "failures", None)  # of torch's CheckpointException: one of every rank that failed
    if failures:
        rank, (cause, _) = next(iter(failures.items()))
    # what torch's writer of archives raises has lost the system's words on its way between the ranks
    why = str(cause) if isinstance(cause, OSError) else f"a file of the state did not come to its end ({cause})"
    return of_rank(
        rank,
        UserError(
            f"the checkpoint cannot be written: {why}",
            where=partial,
            fix="make room or mend the disk, and run the same command again: it goes on from the last checkpoint",
        ),
    )


@contextmanager
def naming(partial: Path) -> Iterator[None]:
    """An error of the disk is a UserError that names the checkpoint."""
    try:
        yield
    except OSError as error:
        raise unwritten(partial, error) from error
