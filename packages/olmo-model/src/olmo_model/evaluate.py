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
from typing import Any

import torch
from torch import Tensor

from .config.model import ModelConfig
from .errors import UserError
from .files import read_json, read_lines
from .loss import token_log_probabilities
from .model import Transformer
from .ranks import ALONE, Ranks

FORMAT_VERSION = 1
Scored = tuple[tuple[int, ...], tuple[int, ...]]  # ids, and the positions among them that count
KINDS = ("conditional", "unconditional")
COUNTS = ("doc_id", "idx", "label", "characters", "bytes")  # of a request


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


def load_windows(
    folder: str | Path,
    model: ModelConfig,
    tokenizer_digest: str,
    *,
    sources: Sequence[str] | None = None,
    limit: int | None = None,
) -> list[Window]:
    """Read a windows artifact, or those ``sources`` of it, the first ``limit`` windows of each.

    A source that is not there, a wrong tokenizer, and windows that the model cannot hold are UserErrors.
    """
    root = Path(folder)
    manifest = _manifest(root, "windows", tokenizer_digest, "paloma-ppl windows")
    room, longest = model.max_sequence_length, manifest.get("maximum_length")
    if type(longest) is not int:
        raise UserError("maximum_length is missing", where=root / "manifest.json", fix="make the artifact again")
    if longest > room:
        raise UserError(
            f"windows of {longest} tokens are longer than the model's {room}",
            where=root,
            fix=f"make them with `paloma-ppl windows --max-length {room}`",
        )
    file = root / "windows.jsonl.gz"
    windows = [_window(row, model, file, line) for line, row in _rows(file)]
    without = {window.source for window in windows} - {window.source for window in windows if window.bytes}
    if without or not windows:
        what = f"the documents of {min(without)} have no bytes" if without else "there are no windows"
        raise UserError(what, where=file, fix="make the artifact again with `paloma-ppl windows`")
    return _chosen(windows, sources, limit, root)


def _chosen(windows: list[Window], sources: Sequence[str] | None, limit: int | None, root: Path) -> list[Window]:
    there = {window.source for window in windows}
    for source in sources or ():
        if source not in there:
            raise UserError(
                f"no windows of the source {source!r}; there are {', '.join(sorted(there))}",
                where=root,
                fix="make them with `paloma-ppl windows` from a suite that holds it, or leave it out of "
                "evaluation.sources",
            )
    taken: dict[str, int] = defaultdict(int)
    chosen = []
    for window in windows:
        if sources is None or window.source in sources:
            taken[window.source] += 1
            if limit is None or taken[window.source] <= limit:
                chosen.append(window)
    return chosen


def load_requests(
    folder: str | Path,
    tasks: Sequence[str] | None,
    model: ModelConfig,
    tokenizer_digest: str,
    *,
    limit: int | None = None,
) -> dict[str, list[Request]]:
    """Read the tokenised form of a requests artifact: the requests of every task (or of those named), of the first
    ``limit`` instances of each."""
    root = Path(folder)
    manifest = _manifest(root, "requests", tokenizer_digest, "catwalk-eval requests --tokenizer")
    known = manifest.get("tasks")
    if not isinstance(known, list) or not known or not all(isinstance(task, str) for task in known):
        raise UserError("tasks is no list of names", where=root / "manifest.json", fix="make the artifact again")
    for task in tasks or ():
        if task not in known:
            raise UserError(f"no task {task!r}", where=root, fix="evaluation.tasks can be " + ", ".join(known))
    found = {}
    for task in tasks or known:
        file = root / task / "tokenized.jsonl.gz"
        found[task] = [_request(row, model, file, line) for line, row in _rows(file)]
        _check_instances(found[task], file)
        if limit is not None:
            first = set(list(dict.fromkeys(request.doc_id for request in found[task]))[:limit])
            found[task] = [request for request in found[task] if request.doc_id in first]
    return found


def perplexity(scorer: Scorer, windows: Sequence[Window]) -> dict[str, float]:
    """``eval/perplexity/SOURCE/CrossEntropyLoss`` (nats a scored token) and ``…/bits_per_byte``, also for ``all``."""
    sums: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    size: dict[str, int] = defaultdict(int)
    scores = scorer.score([(window.ids, window.scored) for window in windows])
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


def rank_classification(scorer: Scorer, tasks: dict[str, list[Request]]) -> dict[str, float]:
    """``eval/downstream/TASK_METRIC``: the share of instances whose right choice has the highest score."""
    values = {}
    for task, requests in tasks.items():
        scores = scorer.score(sequences_of(requests, scorer.limit))
        for name, value in accuracies(requests, scores).items():
            values[f"eval/downstream/{task}_{name}"] = value
    return values


def sequences_of(requests: Sequence[Request], limit: int) -> list[Scored]:
    """What is scored of each request by a model that reads ``limit`` tokens. A context that is too long for the longest
    choice of its instance loses its beginning, for all choices alike, as in catwalk-eval."""
    longest: dict[tuple[str, int], int] = defaultdict(int)
    for request in requests:
        place = request.kind, request.doc_id
        longest[place] = max(longest[place], len(request.continuation_ids))
    sequences = []
    for request in requests:
        context = request.context_ids[-(limit + 1 - longest[request.kind, request.doc_id]) :]
        ids = context + request.continuation_ids
        sequences.append((ids, tuple(range(len(context), len(ids)))))
    return sequences


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


class Scorer:
    """Log-probabilities under a model, which may be spread over ranks: each scores batches of its own."""

    def __init__(self, model: Transformer, *, batch_tokens: int, ranks: Ranks = ALONE) -> None:
        """A batch has at most ``batch_tokens`` tokens, padding included (but at least one sequence)."""
        self.model = model
        self.batch_tokens = batch_tokens
        self.ranks = ranks

    @property
    def limit(self) -> int:
        """Most tokens that the model reads."""
        return self.model.config.max_sequence_length

    def score(self, sequences: Sequence[Scored]) -> list[float]:
        """Summed natural-log probability of the positions of each ``(ids, positions)``; equal sequences run once.

        Sequences of like length share a batch, padded at the end, where nothing that counts can see it.
        """
        batches = list(_batches(sorted(set(sequences), key=lambda item: (len(item[0]), item)), self.batch_tokens))
        values: dict[Scored, float] = {}
        count = self.ranks.data_ranks
        for first in range(0, len(batches), count):
            # a rank for which none is left runs the last one again: a spread model runs on all ranks or on none
            batch = batches[min(first + self.ranks.data_rank, len(batches) - 1)]
            values |= zip(batch, self._sums(batch), strict=True)
        for part in self.ranks.gather(values):
            values |= part
        return [values[sequence] for sequence in sequences]

    @torch.no_grad()
    def _sums(self, batch: Sequence[Scored]) -> list[float]:
        device = self.ranks.device
        longest = max(len(ids) for ids, _ in batch) - 1
        inputs = torch.full((len(batch), longest), self.model.config.pad_token_id)
        for row, (ids, _) in enumerate(batch):
            inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        rows = torch.tensor([row for row, (_, positions) in enumerate(batch) for _ in positions], device=device)
        before = torch.tensor([place - 1 for _, positions in batch for place in positions], device=device)
        targets = torch.tensor([ids[place] for ids, positions in batch for place in positions], device=device)

        def read_out(hidden: Tensor, head: Tensor) -> Tensor:
            return token_log_probabilities(hidden[rows, before], head, targets)

        found: Tensor = self.model(inputs.to(device), read_out=read_out)
        sums = torch.zeros(len(batch), dtype=torch.float64, device=device).index_add_(0, rows, found.double())
        return sums.tolist()


def _batches(sequences: Sequence[Scored], batch_tokens: int) -> Iterable[list[Scored]]:
    batch: list[Scored] = []
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
    manifest = read_json(place)
    kind = {"artifact": artifact, "format_version": FORMAT_VERSION}
    if not isinstance(manifest, dict) or any(manifest.get(key) != value for key, value in kind.items()):
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
            row = json.loads(text)
        except ValueError as error:
            raise UserError("not a JSON object", where=file, line=line, fix="make the artifact again") from error
        if not isinstance(row, dict):
            raise UserError("not a JSON object", where=file, line=line, fix="make the artifact again")
        yield line, row


def _counts(value: object) -> tuple[int, ...]:
    """A list of whole numbers from 0; ValueError where it is none."""
    if not isinstance(value, list) or not all(type(number) is int and number >= 0 for number in value):
        raise ValueError
    return tuple(value)


def _window(row: dict[str, Any], model: ModelConfig, file: Path, line: int) -> Window:
    try:
        window = Window(str(row["source"]), _counts(row["ids"]), _counts(row["scored"]), *_counts([row["bytes"]]))
    except (KeyError, ValueError) as error:
        raise UserError("not a row of windows", where=file, line=line, fix="make the artifact again") from error
    _check_ids(window.ids, model, file, line)
    inside = all(1 <= position < len(window.ids) for position in window.scored)
    if not inside or not window.scored or len(window.ids) > model.max_sequence_length + 1:
        raise UserError(
            "no scored positions or some outside the window, or a window longer than the manifest says",
            where=file,
            line=line,
            fix="make the artifact again with `paloma-ppl windows`",
        )
    return window


def _check_instances(requests: Sequence[Request], file: Path) -> None:
    """Every instance has the choices 0, 1, … once each, and its right one among them."""
    instances: dict[tuple[str, int], list[Request]] = defaultdict(list)
    for request in requests:
        instances[request.kind, request.doc_id].append(request)
    for (kind, document), choices in instances.items():
        labels = {request.label for request in choices}
        if sorted(request.idx for request in choices) != list(range(len(choices))) or not (
            len(labels) == 1 and labels.pop() < len(choices)
        ):
            raise UserError(
                f"the choices of the {kind} instance {document} are not whole, or the right one is none of them",
                where=file,
                fix="make the artifact again with `catwalk-eval requests --tokenizer`",
            )
    if not any(kind == KINDS[0] for kind, _ in instances):
        raise UserError("there are no requests", where=file, fix="make the artifact again")


def _request(row: dict[str, Any], model: ModelConfig, file: Path, line: int) -> Request:
    try:
        document, idx, label, characters, size = _counts([row[key] for key in COUNTS])
        context, continuation, kind = _counts(row["context_ids"]), _counts(row["continuation_ids"]), row["kind"]
    except (KeyError, ValueError) as error:
        raise UserError("not a tokenised request", where=file, line=line, fix="make the artifact again") from error
    request = Request(document, idx, label, context, continuation, characters, size, kind)
    if not request.characters or not request.bytes:
        raise UserError("a continuation without characters", where=file, line=line, fix="make the artifact again")
    _check_ids(request.context_ids + request.continuation_ids, model, file, line)
    if request.kind not in KINDS or not request.context_ids or not request.continuation_ids:
        raise UserError("neither context nor continuation may be empty", where=file, line=line, fix="make it again")
    if len(request.continuation_ids) > model.max_sequence_length:
        raise UserError(
            f"the continuation has {len(request.continuation_ids)} tokens, the model reads {model.max_sequence_length}",
            where=file,
            line=line,
            fix="leave the task out (evaluation.tasks) or train a longer context",
        )
    return request


def _check_ids(ids: tuple[int, ...], model: ModelConfig, file: Path, line: int) -> None:
    if max(ids, default=0) >= model.vocab_size:
        raise UserError(
            f"id {max(ids)} is not below vocab_size {model.vocab_size}",
            where=file,
            line=line,
            fix="make the artifact again with the tokenizer.json of data.tokens",
        )
