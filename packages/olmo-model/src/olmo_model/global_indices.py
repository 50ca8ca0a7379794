"""Runs of OLMo's own trainer, which writes the order of its epoch as a file (``IterableDataset`` of allenai/OLMo)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .command_line import load_yaml
from .config.training import TrainConfig
from .errors import UserError
from .explain import read
from .official.schema import is_official
from .order import LedgerRow, Segment
from .presets import find_preset
from .raw_tokens import HEADER, open_tokens
from .run_folder import MANIFEST, RunFolder
from .tokens import Instances, Tokens

PLACE = Path("train_data") / "global_indices.npy"  # in the folder of an OLMo run
CHECK = "give the file that the run wrote, with the run's own config.yaml and tokens"


class GlobalIndices:
    """Which instance stands at which position of an epoch: bare little-endian uint32, without NumPy's header."""

    def __init__(self, path: Path, instances: int) -> None:
        """A file of another kind, or with instances that the tokens do not have, is a UserError."""
        if not path.is_file():
            raise UserError("there is no such file of indices", where=path, fix="check --global-indices")
        size = path.stat().st_size
        with open(path, "rb") as stream:
            headed = stream.read(len(HEADER)) == HEADER
        if size == 0 or size % 4 or headed:
            what = "NumPy's header" if headed else f"{size} bytes, no whole number of uint32"
            raise UserError(f"the file has {what}, where OLMo writes bare indices", where=path, fix=CHECK)
        self.numbers: npt.NDArray[np.uint32] = np.memmap(path, dtype="<u4", mode="r")
        largest = int(self.numbers.max())
        if largest >= instances:
            raise UserError(f"the file names instance {largest}, the tokens hold {instances}", where=path, fix=CHECK)

    def taken(self, first: int, count: int) -> list[int]:
        """Instances at ``count`` positions from ``first`` on."""
        return [int(number) for number in self.numbers[first : first + count]]

    def positions(self, instances: range) -> list[tuple[int, int]]:
        """Each of these instances with each position it stands at; one of a dropped rest stands at none."""
        here = np.flatnonzero((self.numbers >= instances.start) & (self.numbers < instances.stop))
        return [(int(self.numbers[place]), int(place)) for place in here]


@dataclass(frozen=True)
class OlmoRun:
    """What a run of OLMo's trainer took: one stretch of steps."""

    history: list[Segment]
    tokens: Tokens
    order: GlobalIndices


def indices_of(run: Path, given: str | None) -> Path | None:
    """The file of indices that rules a run: the one given, else the run's own, where the run is none of ours."""
    if given is not None:
        return Path(given)
    own = run / PLACE
    return own if own.is_file() and not (run / MANIFEST).is_file() else None


def open_olmo_run(run: Path, indices: Path, tokens_folder: str | None, first_step: int) -> OlmoRun:
    """An OLMo run by its ``config.yaml`` (of either schema): its tokens, lengths and batch size are those of the file.

    ``first_step`` is the step that took the first instance of the file; ``tokens_folder`` is a tokens artifact in place
    of the files of the configuration, or the folder that they lie below.
    """
    place = RunFolder(run).config
    given = load_yaml(place)
    config = read(str(place), ("--evaluators=[]",) if is_official(given) else ()).config  # their data may be elsewhere
    tokens = _tokens(config, tokens_folder)
    length = config.data.sequence_length or config.model.max_sequence_length
    if length is None:
        length = find_preset(config.model.preset).max_sequence_length
    instances = Instances(tokens, length)
    order = GlobalIndices(indices, len(instances))
    row = LedgerRow(
        first_step=first_step,
        first_instance=0,
        epoch=given.get("epoch") or 0,
        batch_size=config.global_batch_size,
        sequence_length=length,
        seed=config.seed,
        instances=len(instances),
        tokens_fingerprint=tokens.fingerprint,
    )
    steps = len(order.numbers) // row.batch_size
    return OlmoRun([Segment(first_step, first_step + steps - 1, row)] if steps else [], tokens, order)


def _tokens(config: TrainConfig, folder: str | None) -> Tokens:
    if folder is None:
        return open_tokens(config.data, config.model)
    if (Path(folder) / MANIFEST).is_file():
        return Tokens(folder)
    return open_tokens(replace(config.data, tokens=folder), config.model)
