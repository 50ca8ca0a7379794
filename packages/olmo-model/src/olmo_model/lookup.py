"""Months later: which documents did the model see at step N, and at which steps did it see a document?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .config.commands import WhichDataConfig, WhichStepsConfig
from .config.data import DataSettings
from .config.model import ModelSettings
from .errors import UserError
from .order import LedgerRow, Segment, read_ledger, segments, shuffled
from .raw_tokens import open_tokens
from .run_folder import RunFolder, complete_checkpoints, step_of_row
from .tokens import Instances, Tokens


def documents_of_instances(instances: Instances, numbers: list[int]) -> list[dict[str, Any]]:
    """Every document with tokens in the instances, in the order given.

    ``document_tokens`` is the part of the document, in its own tokens from 0, end exclusive, the closing EOS included;
    ``instance_position`` where that part begins in the instance.
    """
    by_file: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number in numbers:
        file, start = instances.place(number)
        by_file[file].append((number, start))
    rows: dict[int, list[dict[str, Any]]] = {}
    length = instances.sequence_length
    for file, places in by_file.items():
        found = instances.tokens.overlapping(file, [(start, start + length) for _, start in places])
        for (number, start), documents in zip(places, found, strict=True):
            rows[number] = [
                {
                    "instance": number,
                    "id": document.id,
                    "src": document.src,
                    "loc": document.loc,
                    "tokens_file": instances.tokens.paths[file],
                    "document_tokens": [
                        max(start, document.start) - document.start,
                        min(start + length, document.end) - document.start,
                    ],
                    "document_length": document.end - document.start,
                    "instance_position": max(start, document.start) - start,
                }
                for document in documents
            ]
    return [row for number in numbers for row in rows[number]]


def which_data(run: str | Path, config: WhichDataConfig) -> dict[str, Any]:
    """The instances and documents of steps of a run. A step that the run has not taken is a UserError."""
    history = _history(Path(run))
    tokens = tokens_of(run, config.tokens)
    steps = []
    for step in config.step:
        segment = next((part for part in history if part.first <= step <= part.last), None)
        if segment is None:
            last = history[-1].last if history else 0
            raise UserError(
                f"step {step} is not among the steps 1 to {last} of the run", where=run, fix="give one of them"
            )
        _check(segment, tokens)
        row = segment.row
        start = segment.start_of(step)
        instances = _instances(row, tokens, Path(run))
        order = shuffled(row.instances, row.seed, row.epoch)
        numbers = order[start : start + row.batch_size].tolist()
        documents = documents_of_instances(instances, numbers)
        steps.append(
            {
                "step": step,
                "epoch": row.epoch,
                "skipped": step in row.skipped_steps,
                "instances": numbers,
                "documents": documents,
            }
        )
    return {"format_version": 1, "run": str(run), "steps": steps}


def which_steps(run: str | Path, config: WhichStepsConfig) -> dict[str, Any]:
    """The steps at which a document was seen, and how many of its tokens each time."""
    history = _history(Path(run))
    tokens = tokens_of(run, config.tokens)
    documents = tokens.find(config.doc)
    if not documents:
        raise UserError(f"no document {config.doc!r} in the tokens", where=tokens.folder, fix="check the id")
    found = []
    for document in documents:
        seen = []
        for segment in history:
            _check(segment, tokens)
            row = segment.row
            instances = _instances(row, tokens, Path(run))
            order = shuffled(row.instances, row.seed, row.epoch)
            covering = np.array(instances.covering(document), dtype=np.uint32)
            for position in np.flatnonzero(np.isin(order, covering)).tolist():
                step = segment.row.first_step + (position - row.first_instance) // row.batch_size
                if not segment.first <= step <= segment.last:
                    continue
                number = int(order[position])
                start = instances.place(number)[1]
                overlap = min(start + row.sequence_length, document.end) - max(start, document.start)
                skipped = step in row.skipped_steps
                seen.append(
                    {"step": step, "epoch": row.epoch, "skipped": skipped, "instance": number, "tokens": overlap}
                )
        found.append(
            {
                "id": document.id,
                "src": document.src,
                "loc": document.loc,
                "document_length": document.end - document.start,
                "seen": sorted(seen, key=lambda row: (row["step"], row["instance"])),
            }
        )
    return {"format_version": 1, "run": str(run), "documents": found}


def _history(run: Path) -> list[Segment]:
    folder = RunFolder(run)
    folder.read_manifest()
    checkpoints = complete_checkpoints(run)
    last = checkpoints[-1][0] if checkpoints else 0
    if folder.metrics.is_file():  # a run that goes on, or was killed, is further than its newest checkpoint
        lines = folder.metrics.read_bytes().split(b"\n")[:-1]
        last = max(last, step_of_row(folder.metrics, len(lines), lines[-1]) if lines else 0)
    parts = []
    for part in segments(read_ledger(folder.data_order), last):
        # a row written before a run was killed may promise more steps than its epoch has
        row = part.row
        possible = row.first_step + (row.instances - row.first_instance) // row.batch_size - 1
        parts.append(Segment(part.first, min(part.last, possible), row))
    return parts


def tokens_of(run: str | Path, given: str | None) -> Tokens:
    """The tokens of a run: in the folder given, else where its configuration says."""
    folder = RunFolder(Path(run))
    folder.read_manifest()
    place = given
    data: Any = None
    if place is None or not (Path(place) / "manifest.json").is_file():
        config = folder.read_config()
        data = config.get("data")
        if place is None:
            place = data.get("tokens") if isinstance(data, dict) else None
        if not isinstance(place, str):
            raise UserError("data.tokens is missing", where=folder.config, fix="give --tokens DIR")
        if isinstance(data, dict) and data.get("files"):
            return _bare(config, place, folder.config)
    if not (Path(place) / "manifest.json").is_file():
        raise UserError("the run's tokens are not there", where=place, fix="give --tokens DIR")
    return Tokens(place)


def _bare(config: Mapping[str, Any], folder: str, where: Path) -> Tokens:
    """The files of bare ids of a run, below ``folder``."""
    data, model = config["data"], config.get("model")
    try:
        names = ("vocab_size", "eos_token_id", "pad_token_id")
        settings = DataSettings(
            tokens=folder, files=tuple(data["files"]), dtype=data["dtype"], tokenizer=data["tokenizer"]
        )
        facts = ModelSettings(**{name: model[name] for name in names})  # type: ignore[index]
    except (KeyError, TypeError) as error:
        raise UserError(f"the settings of data.files are not whole: {error}", where=where, fix="restore it") from error
    return open_tokens(settings, facts)


def sources(run: str | Path, tokens: str | None) -> list[Path]:
    """Files that an answer comes from: the data order of the run and what stands for its tokens."""
    return [RunFolder(Path(run)).data_order, tokens_of(run, tokens).description]


def _instances(row: LedgerRow, tokens: Tokens, run: Path) -> Instances:
    found = Instances(tokens, row.sequence_length)
    if len(found) != row.instances:
        raise UserError(
            f"the data order counts {row.instances} instances of {row.sequence_length} tokens, the tokens hold "
            f"{len(found)}",
            where=RunFolder(run).data_order,
            fix="restore the file",
        )
    return found


def _check(segment: Segment, tokens: Tokens) -> None:
    if segment.row.tokens_fingerprint != tokens.fingerprint:
        raise UserError(
            f"these are not the tokens of steps {segment.first} to {segment.last} (another fingerprint)",
            where=tokens.folder,
            fix="give --tokens DIR",
        )
