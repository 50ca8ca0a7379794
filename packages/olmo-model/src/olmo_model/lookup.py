"""Months later: which documents did the model see at step N, and at which steps did it see a document?"""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .characters import SourceText, TextSpans, read_texts
from .config.commands import WhichDataConfig, WhichStepsConfig
from .config.data import DataSettings
from .config.model import ModelSettings
from .epoch_order import MixedOrder, epoch_order
from .errors import UserError
from .global_indices import indices_of, open_olmo_run
from .mixture import SeveralTokens
from .order import LedgerRow, Segment, read_ledger, segments
from .raw_tokens import open_tokens
from .run_folder import RunFolder, complete_checkpoints, step_of_row
from .tokens import Document, Instances, Tokens

log = logging.getLogger(__name__)
TAIL = 1 << 16  # bytes at the end of metrics.jsonl that hold its last row


Row = dict[str, Any]


class Positions(Protocol):
    """The order of an epoch in both directions."""

    def taken(self, first: int, count: int) -> list[int]:
        """Instances at ``count`` positions from ``first`` on."""

    def positions(self, instances: range) -> list[tuple[int, int]]:
        """Each of these instances with each position it stands at."""


OrderOf = Callable[[LedgerRow], Positions]


@dataclass(frozen=True)
class Opened:
    """What a run took, its tokens, the order of each row of its history, and the files that answers come from."""

    history: list[Segment]
    tokens: Tokens
    order_of: OrderOf
    sources: tuple[Path, ...]


def documents_of_instances(instances: Instances, numbers: Sequence[int], documents: str | None = None) -> list[Row]:
    """Every document with tokens in the instances, in the order given.

    ``document_tokens`` is the part of the document, in its own tokens from 0, end exclusive, the closing EOS included;
    ``instance_position`` where that part begins in the instance. ``characters`` is the same part in characters of the
    document's text, end exclusive, ``characters_from`` whether that text is the one that the ``tokens`` hold or that of
    the ``source``, which is read below the folder ``documents``.
    """
    found = _parts(instances, numbers)
    rows = [
        {
            "instance": number,
            "id": document.id,
            "src": document.src,
            "loc": document.loc,
            "tokens_file": instances.tokens.paths[document.file],
            "document_tokens": [first, last],
            "document_length": document.end - document.start,
            "instance_position": document.start + first - start,
        }
        for number in numbers
        for document, start, first, last in found[number]
    ]
    parts = [(document, first, last) for number in numbers for document, _, first, last in found[number]]
    return [row | spans for row, spans in zip(rows, _characters(instances.tokens, parts, documents), strict=True)]


def _parts(instances: Instances, numbers: Iterable[int]) -> dict[int, list[tuple[Document, int, int, int]]]:
    """Of each instance its documents, each with the instance's first token in the file, and the part of the document
    that lies in it, in tokens of the document."""
    by_file: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number in dict.fromkeys(numbers):
        file, start = instances.place(number)
        by_file[file].append((number, start))
    length = instances.sequence_length
    return {
        number: [
            (row, start, max(start, row.start) - row.start, min(start + length, row.end) - row.start)
            for row in documents
        ]
        for file, places in by_file.items()
        for (number, start), documents in zip(
            places,
            instances.tokens.overlapping(file, [(start, start + length) for _, start in places]),
            strict=True,
        )
    }


def _characters(tokens: Tokens, parts: Sequence[tuple[Document, int, int]], documents: str | None) -> list[Row]:
    spans = TextSpans(tokens)
    texts: dict[tuple[str, int], SourceText | None] = {}
    if documents is not None:
        if not Path(documents).is_dir():
            raise UserError("no such folder of documents", where=documents, fix="check --documents")
        texts = read_texts(Path(documents), ((each.src, each.loc) for each, _, _ in parts), tokens.text_field)
    rows: list[Row] = []
    unread = set()
    for document, first, last in parts:
        source = texts.get((document.src, document.loc))
        row: Row = {} if source is None or source.source is None else {"source": source.source}
        found, origin = None, "source"
        if source is not None:
            with suppress(ValueError):
                found = spans.in_source(document, source.text, first, last)
        if found is None:
            unread.add((document.src, document.loc))
            found, origin = spans.of_tokens(document, first, last), "tokens"
        rows.append(row | {"characters": found, "characters_from": None if found is None else origin})
    if documents is not None and unread:
        log.warning(
            "%d of %d documents are not below %s as they were tokenised (the first is %s, line %d): their characters "
            "are counted in what the tokens hold",
            len(unread),
            len(texts),
            documents,
            *min(unread),
        )
    return rows


def which_data(run: str | Path, config: WhichDataConfig, opened: Opened | None = None) -> Row:
    """The instances and documents of steps of a run. A step that the run has not taken is a UserError."""
    found = opened or open_run(run, config)
    history, tokens, order_of = found.history, found.tokens, found.order_of
    taken = []
    cuts: dict[int, Instances] = {}  # by tokens of an instance
    for step in _steps(config.ranges(), history, run):
        segment = history[bisect_right(history, step, key=lambda part: part.first) - 1]
        if not segment.first <= step <= segment.last:
            raise _no_such_step(step, history, run)
        _check(segment, tokens)
        row = segment.row
        if row.sequence_length not in cuts or len(cuts[row.sequence_length]) != row.instances:
            cuts[row.sequence_length] = _instances(row, tokens, Path(run))
        taken.append((step, segment, order_of(row).taken(segment.start_of(step), row.batch_size)))
    documents: dict[tuple[int, int], list[Row]] = defaultdict(list)  # by tokens of an instance and its number
    for length, instances in cuts.items():
        here = (numbers for _, segment, numbers in taken if segment.row.sequence_length == length)
        wanted = list(dict.fromkeys(number for numbers in here for number in numbers))
        for document in documents_of_instances(instances, wanted, config.documents):
            documents[length, document["instance"]].append(document)
    steps = [
        {
            "step": step,
            "epoch": segment.row.epoch,
            "skipped": step in segment.row.skipped_steps,
            "instances": numbers,
            "documents": [row for number in numbers for row in documents[segment.row.sequence_length, number]],
        }
        for step, segment, numbers in taken
    ]
    return {"format_version": 1, "run": str(run), "steps": steps}


def _steps(ranges: Sequence[range], history: Sequence[Segment], run: str | Path) -> list[int]:
    """The steps of ranges, each of which has to end within the history."""
    last = history[-1].last if history else 0
    for steps in ranges:
        if steps[-1] > last:
            raise _no_such_step(max(steps[0], last + 1), history, run)
    return [step for steps in ranges for step in steps]


def _no_such_step(step: int, history: Sequence[Segment], run: str | Path) -> UserError:
    first, last = (history[0].first, history[-1].last) if history else (1, 0)
    what = f"step {step} is not among the steps {first} to {last} of the run"
    return UserError(what, where=run, fix="give one of them")


def which_steps(run: str | Path, config: WhichStepsConfig, opened: Opened | None = None) -> Row:
    """The steps at which a document was seen, and how many of its tokens each time."""
    whole = opened or open_run(run, config)
    history, tokens, order_of = whole.history, whole.tokens, whole.order_of
    documents = tokens.find(config.doc)
    if not documents:
        raise UserError(f"no document {config.doc!r} in the tokens", where=tokens.folder, fix="check the id")
    for segment in history:
        _check(segment, tokens)
    found = []
    for document in documents:
        seen = sorted(
            _seen(document, history, order_of, tokens, Path(run)), key=lambda row: (row["step"], row["instance"])
        )
        parts = [(document, *row.pop("part")) for row in seen]
        spans = _characters(tokens, parts, config.documents)
        found.append(
            {
                "id": document.id,
                "src": document.src,
                "loc": document.loc,
                "document_length": document.end - document.start,
                "seen": [row | span for row, span in zip(seen, spans, strict=True)],
            }
        )
    return {"format_version": 1, "run": str(run), "documents": found}


def _seen(
    document: Document, history: Sequence[Segment], order_of: OrderOf, tokens: Tokens, run: Path
) -> Iterator[Row]:
    for segment in history:
        row = segment.row
        instances = _instances(row, tokens, run)
        for number, position in order_of(row).positions(instances.covering(document)):
            step = row.first_step + (position - row.first_instance) // row.batch_size
            if not segment.first <= step <= segment.last:
                continue
            start = instances.place(number)[1]
            first, last = max(start, document.start), min(start + row.sequence_length, document.end)
            yield {
                "step": step,
                "epoch": row.epoch,
                "skipped": step in row.skipped_steps,
                "instance": number,
                "tokens": last - first,
                "part": (first - document.start, last - document.start),
            }


def open_run(run: str | Path, config: WhichDataConfig | WhichStepsConfig) -> Opened:
    """A run of ours, or one of OLMo's own trainer with the order it wrote; what is none is a UserError."""
    run = Path(run)
    indices = indices_of(run, config.global_indices)
    if indices is not None:
        found = open_olmo_run(run, indices, config.tokens, config.first_step)
        described = (part.description for part in found.tokens.parts)
        return Opened(
            found.history, found.tokens, lambda row: found.order, (indices, RunFolder(run).config, *described)
        )
    history = _history(run)
    tokens = tokens_of(run, config.tokens)
    described = (part.description for part in tokens.parts)
    return Opened(history, tokens, _order_of, (RunFolder(run).data_order, *described))


def _order_of(row: LedgerRow) -> Positions:
    order, mixture = epoch_order(row.instances, row.seed, row.epoch), row.parts()
    return order if mixture is None else MixedOrder(order, mixture)


def _history(run: Path) -> list[Segment]:
    folder = RunFolder(run)
    folder.read_manifest()
    checkpoints = complete_checkpoints(run)
    last = checkpoints[-1][0] if checkpoints else 0
    if folder.metrics.is_file():  # a run that goes on, or was killed, is further than its newest checkpoint
        last = max(last, _last_logged(folder.metrics))
    parts = []
    for part in segments(read_ledger(folder.data_order), last):
        # a row written before a run was killed may promise more steps than its epoch has
        row = part.row
        possible = row.first_step + (row.instances - row.first_instance) // row.batch_size - 1
        parts.append(Segment(part.first, min(part.last, possible), row))
    return parts


def _last_logged(metrics: Path) -> int:
    """Step of the last whole row, read from the end of the file."""
    with open(metrics, "rb") as stream:
        stream.seek(-min(TAIL, stream.seek(0, os.SEEK_END)), os.SEEK_END)
        lines = stream.read().split(b"\n")[:-1]
    if len(lines) > 1:
        with suppress(UserError):
            return step_of_row(metrics, len(lines), lines[-1])
    lines = metrics.read_bytes().split(b"\n")[:-1]  # a very long row, or a damaged one, whose number is told
    return step_of_row(metrics, len(lines), lines[-1]) if lines else 0


def tokens_of(run: str | Path, given: str | None) -> Tokens:
    """The tokens of a run: in the folder given, else where its configuration says."""
    folder = RunFolder(Path(run))
    folder.read_manifest()
    place = given
    data: Any = None
    if place is None and (several := _sources(folder)):
        return several
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


def _sources(folder: RunFolder) -> Tokens | None:
    data = folder.read_config().get("data")
    given = data.get("sources") if isinstance(data, dict) else None
    if not given:
        return None
    try:
        return SeveralTokens([Tokens(source["tokens"]) for source in given])
    except (KeyError, TypeError) as error:
        raise UserError(f"data.sources are not whole: {error}", where=folder.config, fix="restore it") from error


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


def _instances(row: LedgerRow, tokens: Tokens, run: Path) -> Instances:
    found = Instances(tokens, row.sequence_length)
    mixture = row.parts()
    if len(found) != (row.instances if mixture is None else sum(mixture.counts)):
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
