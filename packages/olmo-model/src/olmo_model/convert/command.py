"""``olmo-model convert``."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..config.commands import ConvertConfig
from ..errors import UserError
from ..files import PARTIAL
from ..presets import parameter_count
from ..provenance import recorded
from .check import TOLERANCE, largest_difference, logits_of, logits_of_transformers, sample_ids, transformers_can_run
from .end_of_document import mend
from .sources import Kind, Source, open_source
from .writing import write_hugging_face, write_official

OURS, THEIRS = "olmo-model", "transformers"


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was done: where to, how many weights, which code read the two folders, by how much their logits differ
    (over the largest of them), and what the user should know."""

    target: Path
    parameters: int
    readers: tuple[str, str]
    difference: float
    notes: tuple[str, ...]


def convert(source: str | Path, target: str | Path, config: ConvertConfig) -> Conversion:
    """Write the model of ``source`` to ``target`` in the other format, or in the same one afresh.

    Weights keep their type and their bits. The folder is made beside its place, both are run on a sample text, and only
    where their logits agree within ``TOLERANCE`` it gets its name. Raises UserError for a source that is no such
    model, weights that do not fit its configuration, a target that exists, and logits that differ.
    """
    place = Path(target)
    given = Path(config.tokenizer) if config.tokenizer else None
    with ExitStack() as stack:
        found = open_source(source, stack, given)
        _refuse_target(place, found.folder, overwrite=config.overwrite)
        with recorded("olmo-model", "convert", folder=place, config=config, inputs=found.files) as record:
            partial = place.with_name(place.name + PARTIAL)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                result = _write(found, partial, place, config)
                _put_in_place(partial, place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            record.outputs += [file for file in sorted(place.iterdir()) if file.is_file()]
            record.counts = {"parameters": result.parameters}
    return result


def _write(found: Source, partial: Path, place: Path, config: ConvertConfig) -> Conversion:
    mended = mend(found.weights.config, found.tokenizer, keep=config.keep_eos)
    tokenizer = found.tokenizer
    if mended.tokenizer is not None:
        tokenizer = partial / "tokenizer.new"
        tokenizer.write_bytes(mended.tokenizer)
    if config.to == "hf":
        write_hugging_face(partial, found.weights, mended.config, tokenizer, config.max_shard_size)
    else:
        write_official(partial, found.weights, mended.config, tokenizer)
    (partial / "tokenizer.new").unlink(missing_ok=True)
    notes = [] if mended.note is None else [mended.note]
    if found.tokenizer is None:
        notes.append("no tokenizer.json lies beside the model, so none is written (--tokenizer FILE gives one)")
    ids = sample_ids(found.weights.config, found.tokenizer)
    before, reader_before = _logits(found.folder, found.kind, found, ids)
    with ExitStack() as stack:
        written = open_source(partial, stack)
        after, reader_after = _logits(partial, config.to, written, ids)
        difference = largest_difference(before, after, place)
    return Conversion(
        target=place,
        parameters=parameter_count(found.weights.config),
        readers=(reader_before, reader_after),
        difference=difference,
        notes=tuple(notes),
    )


def _logits(folder: Path, kind: Kind, source: Source, ids: Tensor) -> tuple[Tensor, str]:
    if kind == "hf" and transformers_can_run(source.weights.config):
        return logits_of_transformers(folder, ids), THEIRS
    return logits_of(source.weights, ids), OURS


def _refuse_target(place: Path, source: Path, *, overwrite: bool) -> None:
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    inside = place.resolve() in (source.resolve(), *source.resolve().parents)
    if inside:
        raise UserError("the target holds the model to convert", where=place, fix="give another folder")
    if not overwrite:
        raise UserError("the target exists", where=place, fix="give another folder, or --overwrite to replace it")
    if not any((place / name).is_file() for name in ("config.json", "config.yaml")):
        raise UserError("the target holds no model", where=place, fix="give another folder; it is left as it is")


def _put_in_place(partial: Path, place: Path) -> None:
    for file in partial.iterdir():
        with open(file, "rb") as stream:
            os.fsync(stream.fileno())
    replaced = place.with_name(place.name + ".replaced" + PARTIAL)
    shutil.rmtree(replaced, ignore_errors=True)
    if place.exists():
        if (place / "provenance").is_dir():
            shutil.copytree(place / "provenance", partial / "provenance")
        os.replace(place, replaced)
    os.replace(partial, place)
    shutil.rmtree(replaced, ignore_errors=True)


def as_lines(done: Conversion) -> list[str]:
    """A conversion for a person."""
    checked = (
        f"logits of a sample text: largest difference {done.difference:.1e} of the largest logit, allowed is "
        f"{TOLERANCE:.0e} (computed by {done.readers[0]} before, by {done.readers[1]} after)"
    )
    notes = [f"note: {note}" for note in done.notes]
    return [*notes, f"{done.parameters:,} parameters written to {done.target}", checked]
