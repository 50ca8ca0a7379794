"""The results artifact: what it holds, written and read back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import WINDOWS_FILE, Key, WindowSums, read_window_sums, write_window_sums
from .errors import UserError
from .files import atomic_write, read_json, read_lines, write_json
from .metrics import DocumentScore, summarize
from .model_place import name_of
from .positions import POSITIONS_FILE, PositionSums, write_positions
from .tokenizer import Ids
from .training_order import well_formed

FORMAT_VERSION = 1
ARTIFACT = "perplexity_results"
STEP = re.compile(r"step(\d+)(?!\w)")  # how checkpoints, and revisions of them on a hub, are called
STEP_OF_RUN = re.compile(r"(.+)/(step\d+)")
Vocabulary = tuple[NDArray[np.int64], NDArray[np.float64]]  # count and summed log-probability per token id


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the numbers are of: the manifest."""

    method: str
    model: dict[str, Any] | None
    """name, digest, parameters, revision where one was given; for checkpoints of a run also step, tokens_seen and
    training_order"""
    suite: str
    suite_digest: str
    split: str
    format: str
    maximum_length: int | None
    tokenizer_digest: str | None
    dtype: str
    limit: int | None
    vocab_size: int | None

    def name(self) -> str:
        """What tables call it."""
        return self.model["name"] if self.model else self.method

    def revision_of(self) -> tuple[str, str | None]:
        """Model and revision apart; of results that do not say, ``RUN/stepN`` alone is taken to end in a revision."""
        name, revision = self.name(), (self.model or {}).get("revision")
        if revision is None and (match := STEP_OF_RUN.fullmatch(name)):
            return match[1], match[2]
        return (name, None) if revision is None else (name.removesuffix(f"/{revision}"), revision)

    def told(self, name: str) -> int | None:
        """The count of that name of the model, where the manifest has one."""
        value = (self.model or {}).get(name)
        return value if type(value) is int and value >= 0 else None

    def step(self) -> int | None:
        """Of a checkpoint: as the model's folder says, else as its revision is called."""
        if (stated := self.told("step")) is not None:
            return stated
        match = STEP.match(self.revision_of()[1] or "")
        return int(match[1]) if match else None


def name_and_revision(model: str, revision: str | None, *, checkpoint: bool) -> dict[str, str]:
    """What a manifest calls a model: ``name``, and the ``revision`` that its end names where there is one.

    A ``checkpoint`` that is called as one has its run before it.
    """
    folder = Path(model).resolve()
    if revision is None and checkpoint and STEP.match(folder.name):
        model, revision = str(folder.parent), folder.name
    return {"name": name_of(model, revision)} | ({} if revision is None else {"revision": revision})


def vocabulary_sums(ids: Sequence[Ids], values: Sequence[NDArray[Any]], vocab_size: int) -> Vocabulary:
    """Count and summed log-probability of every vocabulary type (Paloma, section 3)."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    sums = np.zeros(vocab_size)
    for document, value in zip(ids, values, strict=True):
        counts += np.bincount(document, minlength=vocab_size)
        sums += np.bincount(document, weights=value, minlength=vocab_size)
    return counts, sums


def write_results(
    folder: Path,
    description: Description,
    scores: Sequence[DocumentScore],
    vocabulary: Vocabulary | None,
    confidence: float,
    positions: Sequence[PositionSums] | None = None,
    windows: Mapping[Key, WindowSums] | None = None,
) -> dict[str, Any]:
    """Fill the empty ``folder`` of an artifact and return its ``results.json``."""
    results = summarize(scores, confidence, positions, windows)
    with atomic_write(folder / "documents.jsonl.gz") as stream:
        for score in scores:
            stream.write(json.dumps(score.row(), ensure_ascii=False).encode() + b"\n")
    if vocabulary is not None:
        counts, sums = vocabulary
        with atomic_write(folder / "vocabulary.jsonl.gz") as stream:
            for token in np.flatnonzero(counts).tolist():
                row = {
                    "token_id": token,
                    "count": int(counts[token]),
                    "log_probability": min(0.0, float(sums[token])),
                }
                stream.write(json.dumps(row).encode() + b"\n")
    if positions is not None:
        write_positions(folder / POSITIONS_FILE, positions)
    if windows is not None:
        write_window_sums(folder / WINDOWS_FILE, windows.values())
    write_json(folder / "results.json", results)
    write_json(
        folder / "manifest.json", {"artifact": ARTIFACT, "format_version": FORMAT_VERSION, **asdict(description)}
    )
    return results


def read_results(path: Path) -> tuple[Description, list[DocumentScore]]:
    """Manifest and document rows; another kind of folder or a damaged row is a UserError."""
    if not (path / "manifest.json").is_file():
        raise UserError("no results here: manifest.json is missing", where=path, fix="give what run or baseline wrote")
    where = path / "manifest.json"
    manifest = read_json(where)
    kind = {"artifact": ARTIFACT, "format_version": FORMAT_VERSION}
    if not isinstance(manifest, dict) or any(manifest.pop(key, None) != value for key, value in kind.items()):
        raise UserError("not perplexity results of a known version", where=path, fix="give what run or baseline wrote")
    try:
        description = Description(**manifest)
    except TypeError as error:
        raise UserError(f"the manifest is not whole: {error}", where=where, fix="run it again") from error
    model = description.model
    if model is not None and not (isinstance(model, dict) and isinstance(model.get("name"), str)):
        raise UserError("the manifest is not whole: model has no name", where=where, fix="run it again")
    if not isinstance((model or {}).get("revision", ""), str):
        raise UserError("the manifest is not whole: model.revision", where=where, fix="run it again")
    if not well_formed(model or {}):
        raise UserError("the manifest is not whole: training_order", where=where, fix="run it again")
    rows = path / "documents.jsonl.gz"
    scores = [read_score(data, rows, line) for line, data in read_lines(rows)]
    if not scores:
        raise UserError("the results hold no documents", where=rows, fix="run it again")
    return description, scores


@dataclass(frozen=True)
class Reading:
    """Results as they are stored: rows of documents, and of the windows of those that are alone in their domain."""

    description: Description
    scores: list[DocumentScore]
    windows: dict[Key, WindowSums]


def read(path: Path) -> Reading:
    """All that figures are formed from; a UserError where something is damaged or does not fit together."""
    description, scores = read_results(path)
    windows = read_window_sums(path)
    there = {(score.source, score.domain, score.id): (score.tokens, score.bytes) for score in scores}
    for sums in windows.values():
        if there.get((sums.source, sums.domain, sums.id)) != (sum(sums.tokens), sum(sums.bytes)):
            raise UserError(
                f"the windows of {sums.id} are not those of a document", where=path / WINDOWS_FILE, fix="run it again"
            )
    return Reading(description, scores, windows)


def read_score(data: bytes, where: Path, line: int) -> DocumentScore:
    """One row of results; a damaged one is a UserError."""
    try:
        score = DocumentScore(**json.loads(data))
        counts = (score.tokens, score.characters, score.words, score.bytes)
        names = (score.id, score.source, score.domain)
        if not all(type(count) is int and count >= 0 for count in counts) or not score.bytes:
            raise ValueError("a count that is none")
        if not all(isinstance(name, str) for name in names) or not math.isfinite(score.log_probability):
            raise ValueError("a value of another kind")
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError("not a row of results", where=where, line=line, fix="run it again") from error
    return score
