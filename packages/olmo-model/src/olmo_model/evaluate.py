"""Evaluation in the loop: perplexity from tokenised windows, rank classification from tokenised requests.

Nothing is tokenised here; what is measured was decided by whoever wrote the artifact.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from .errors import UserError
from .files import read_json, read_lines
from .loss import token_log_probabilities
from .model import Transformer

FORMAT_VERSION = 1
KINDS = ("conditional", "unconditional")


@dataclass(frozen=True)
class Window:
    """Ids, of which the positions ``scored`` count: the probability of ``ids[p]`` given ``ids[:p]``."""

    source: str
    ids: tuple[int, ...]
    scored: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Request:
    """One choice of one instance; ``characters`` and ``bytes`` are those of the continuation."""

    doc_id: int
    idx: int
    label: int
    context_ids: tuple[int, ...]
    continuation_ids: tuple[int, ...]
    characters: int
    bytes: int
    kind: str


def load_windows(folder: str | Path, model: Transformer, tokenizer_digest: str) -> list[Window]:
    """Read a windows artifact; a wrong tokenizer, or windows the model cannot hold, are UserErrors."""
    root = Path(folder)
    manifest = _manifest(root, "windows", tokenizer_digest, "paloma-ppl windows")
    limit = model.config.max_sequence_length
    if manifest["maximum_length"] > limit:
        raise UserError(
            f"windows of {manifest['maximum_length']} tokens are longer than the model's {limit}",
            where=root,
            fix=f"make them with `paloma-ppl windows --max-length {limit}`",
        )
    windows = []
    for line, row in _rows(root / "windows.jsonl.gz"):
        ids, scored = tuple(row["ids"]), tuple(row["scored"])
        _check_ids(ids, model, root / "windows.jsonl.gz", line)
        if not all(1 <= position < len(ids) for position in scored) or len(ids) > limit + 1:
            raise UserError(
                "scored positions outside the window, or a window longer than the manifest says",
                where=root / "windows.jsonl.gz",
                line=line,
                fix="make the artifact again with `paloma-ppl windows`",
            )
        windows.append(Window(row["source"], ids, scored, row["bytes"]))
    return windows


def load_requests(
    folder: str | Path, tasks: Sequence[str] | None, model: Transformer, tokenizer_digest: str
) -> dict[str, list[Request]]:
    """Read the tokenised form of a requests artifact: the requests of every task (or of those named)."""
    root = Path(folder)
    manifest = _manifest(root, "requests", tokenizer_digest, "catwalk-eval requests --tokenizer")
    for task in tasks or ():
        if task not in manifest["tasks"]:
            raise UserError(
                f"no task {task!r}", where=root, fix="evaluation.tasks can be " + ", ".join(manifest["tasks"])
            )
    return {
        task: [_request(row, model, file, line) for line, row in _rows(file)]
        for task in (tasks or manifest["tasks"])
        for file in [root / task / "tokenized.jsonl.gz"]
    }


def perplexity(model: Transformer, windows: Sequence[Window], *, batch_tokens: int) -> dict[str, float]:
    """``eval/perplexity/SOURCE/CrossEntropyLoss`` (nats a scored token) and ``…/bits_per_byte``, also for ``all``."""
    sums: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    size: dict[str, int] = defaultdict(int)
    scores = score(model, [(window.ids, window.scored) for window in windows], batch_tokens=batch_tokens)
    for window, log_probability in zip(windows, scores, strict=True):
        for name in (window.source, "all"):
            sums[name] += log_probability
            tokens[name] += len(window.scored)
            size[name] += window.bytes
    values = {}
    for name in sorted(sums):
        values[f"eval/perplexity/{name}/CrossEntropyLoss"] = -sums[name] / tokens[name]
        values[f"eval/perplexity/{name}/bits_per_byte"] = -sums[name] / math.log(2) / size[name]
    return values


def rank_classification(model: Transformer, tasks: dict[str, list[Request]], *, batch_tokens: int) -> dict[str, float]:
    """``eval/downstream/TASK_METRIC``: the share of instances whose right choice has the highest score."""
    values = {}
    for task, requests in tasks.items():
        limit = model.config.max_sequence_length
        sequences = []
        for request in requests:
            # a context that is too long loses its beginning, as everywhere
            ids = (request.context_ids + request.continuation_ids)[-(limit + 1) :]
            sequences.append((ids, tuple(range(len(ids) - len(request.continuation_ids), len(ids)))))
        scores = score(model, sequences, batch_tokens=batch_tokens)
        for name, value in accuracies(requests, scores).items():
            values[f"eval/downstream/{task}_{name}"] = value
    return values


def accuracies(requests: Sequence[Request], log_probabilities: Sequence[float]) -> dict[str, float]:
    """Accuracy by raw, per-token, per-character and per-byte score, and, where every choice has an unconditional
    twin, by the difference to it. A tie of k best choices that holds the right one counts 1/k."""
    by_kind: dict[str, dict[int, dict[int, tuple[Request, float]]]] = {kind: defaultdict(dict) for kind in KINDS}
    for request, value in zip(requests, log_probabilities, strict=True):
        by_kind[request.kind][request.doc_id][request.idx] = request, value
    conditional, unconditional = (by_kind[kind] for kind in KINDS)
    complete = all(set(choices) == set(unconditional[document]) for document, choices in conditional.items())
    scores: dict[str, list[float]] = defaultdict(list)
    for document, choices in conditional.items():
        label = next(iter(choices.values()))[0].label
        rules = {
            "acc_raw": {idx: value for idx, (_, value) in choices.items()},
            "acc_per_token": {idx: value / len(row.continuation_ids) for idx, (row, value) in choices.items()},
            "acc_per_char": {idx: value / row.characters for idx, (row, value) in choices.items()},
            "acc_per_byte": {idx: value / row.bytes for idx, (row, value) in choices.items()},
        }
        if complete:
            rules["acc_uncond"] = {idx: value - unconditional[document][idx][1] for idx, (_, value) in choices.items()}
        for name, values in rules.items():
            best = [idx for idx, value in values.items() if value == max(values.values())]
            scores[name].append(1 / len(best) if label in best else 0.0)
    return {name: sum(values) / len(values) for name, values in scores.items()}


@torch.no_grad()
def score(
    model: Transformer, sequences: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], *, batch_tokens: int
) -> list[float]:
    """Summed natural-log probability of the positions of each ``(ids, positions)``; equal sequences run once.

    Sequences of like length share a batch of at most ``batch_tokens`` tokens, padded at the end, where nothing that
    counts can see it.
    """
    device = model.head.device
    unique = sorted(set(sequences), key=lambda item: (len(item[0]), item))
    values: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for batch in _batches(unique, batch_tokens):
        longest = max(len(ids) for ids, _ in batch) - 1
        inputs = torch.full((len(batch), longest), model.config.pad_token_id)
        for row, (ids, _) in enumerate(batch):
            inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        hidden = model.hidden(inputs.to(device))  # [B, T, D]
        rows = torch.tensor([row for row, (_, positions) in enumerate(batch) for _ in positions], device=device)
        before = torch.tensor([place - 1 for _, positions in batch for place in positions], device=device)
        targets = torch.tensor([ids[place] for ids, positions in batch for place in positions], device=device)
        found: Tensor = token_log_probabilities(hidden[rows, before], model.head, targets)
        sums = torch.zeros(len(batch), dtype=torch.float64, device=device).index_add_(0, rows, found.double())
        values |= zip(batch, sums.tolist(), strict=True)
    return [values[sequence] for sequence in sequences]


def _batches(
    sequences: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], batch_tokens: int
) -> Iterable[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    batch: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for sequence in sequences:  # lengths rise, so the newest is the longest
        if batch and (len(batch) + 1) * len(sequence[0]) > batch_tokens:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def _manifest(root: Path, artifact: str, tokenizer_digest: str, command: str) -> dict[str, Any]:
    place = root / "manifest.json"
    if not place.is_file():
        raise UserError(
            f"no {artifact} artifact: manifest.json is missing", where=root, fix=f"make it with `{command}`"
        )
    manifest = cast(dict[str, Any], read_json(place))
    if manifest.get("artifact") != artifact or manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"not a {artifact} artifact of format {FORMAT_VERSION}", where=place, fix=f"make it with `{command}`"
        )
    if manifest.get("tokenizer_digest") != tokenizer_digest:
        raise UserError(
            "made with another tokenizer than the training tokens",
            where=place,
            fix=f"make it again with `{command}` and the tokenizer.json of data.tokens",
        )
    return manifest


def _rows(file: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    for line, text in read_lines(file):
        try:
            yield line, json.loads(text)
        except ValueError as error:
            raise UserError("not a JSON object", where=file, line=line, fix="make the artifact again") from error


def _request(row: dict[str, Any], model: Transformer, file: Path, line: int) -> Request:
    request = Request(
        row["doc_id"],
        row["idx"],
        row["label"],
        tuple(row["context_ids"]),
        tuple(row["continuation_ids"]),
        row["characters"],
        row["bytes"],
        row["kind"],
    )
    _check_ids(request.context_ids + request.continuation_ids, model, file, line)
    if request.kind not in KINDS or not request.context_ids or not request.continuation_ids:
        raise UserError("neither context nor continuation may be empty", where=file, line=line, fix="make it again")
    if len(request.continuation_ids) > model.config.max_sequence_length:
        raise UserError(
            f"the continuation has {len(request.continuation_ids)} tokens, the model reads "
            f"{model.config.max_sequence_length}",
            where=file,
            line=line,
            fix="leave the task out (evaluation.tasks) or train a longer context",
        )
    return request


def _check_ids(ids: tuple[int, ...], model: Transformer, file: Path, line: int) -> None:
    if max(ids, default=0) >= model.config.vocab_size:
        raise UserError(
            f"id {max(ids)} is not below vocab_size {model.config.vocab_size}",
            where=file,
            line=line,
            fix="make the artifact again with the tokenizer.json of data.tokens",
        )
