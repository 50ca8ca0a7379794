"""Score documents with taggers and write the scores as attributes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from . import __version__
from .annotate import EMPTY, Annotation, Chunk, Note, Scored, scored
from .attributes import check_folder_name, clean_name, encode_rows
from .batch import MOST_SPANS, Batch, RowSizes, Spans, TooManySpansError, row_too_large
from .classifiers.folder import find_classifier
from .config.tag import ProfileConfig, TagConfig
from .documents import DocumentFile, find_documents, read_physical_lines
from .errors import UserError
from .profiling import check_profile, profiled
from .reading import MAX_LINE_BYTES
from .taggers import (
    PreparedTagger,
    TaggerOptions,
    all_differences,
    check_resources,
    find_tagger,
    is_file_name,
    load_tagger_modules,
)
from .taggers.raised import FailedTaggerError, describe, spans_of

MEND = "mend the tagger; --debug shows where it came from"
ANY_TYPE = "*"  # of a tagger whose types come from its model
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TagPlan:
    """What workers need to know. ``outputs`` are ``(folder, taggers)``.

    The first part of keys is the folder's name or, where ``by_tagger``, the tagger's.
    """

    outputs: tuple[tuple[str, tuple[str, ...]], ...]
    modules: tuple[str, ...]
    options: TaggerOptions
    by_tagger: bool = False
    debug: bool = False


def check_settings(config: TagConfig) -> tuple[tuple[str, ...], TaggerOptions, list[str]]:
    """Names of the taggers, their options, and what is left out for want of a file; UserError before any work."""
    if not config.taggers:
        raise UserError("no taggers are given", fix="name some; see dolma-data list")
    check_profile(config.profile)
    names = tuple(dict.fromkeys(config.taggers))
    load_tagger_modules(config.tagger_modules)
    check_names(names)
    options = TaggerOptions(
        resources=tuple((name, tuple(map(_model_of, files))) for name, files in config.resources.items()),
        seed=config.seed,
        differences=all_differences() if config.compat == "dolma" else frozenset(),
    )
    return names, options, check_resources(names, options)


def _model_of(file: Path) -> Path:
    """The model of a folder of train-classifier; any other path as it is."""
    if not file.is_dir():
        return file
    model, _, lower = find_classifier(file)
    if lower:
        raise UserError("the classifier reads lower case, the tagger does not", where=file, fix="train one without it")
    return model


def make_plan(config: TagConfig) -> TagPlan:
    """What is written where; raises UserError before any work."""
    names, options, left_out = check_settings(config)
    for sentence in left_out:
        log.warning("%s", sentence)
    outputs: tuple[tuple[str, tuple[str, ...]], ...]
    if config.experiment is None and config.destination:
        outputs = ((key_name(names[0]), names),)  # all taggers in one folder, each under its own name
    elif config.experiment is None:
        outputs = tuple((key_name(name), (name,)) for name in names)
    else:
        clean_name(config.experiment)
        outputs = ((check_folder_name(config.experiment), names),)
    modules = tuple(str(Path(name).resolve()) if is_file_name(name) else name for name in config.tagger_modules)
    return TagPlan(outputs, modules, options, by_tagger=config.experiment is None, debug=config.debug)


def find_files(config: TagConfig) -> list[DocumentFile]:
    """The document files, with the destination of their attributes where one is given.

    UserError for another number of destinations than of documents, and for two files with one place.
    """
    if not config.destination:
        return find_documents(config.documents)
    if len(config.destination) != len(config.documents):
        raise UserError(
            f"{len(config.destination)} destinations for {len(config.documents)} documents",
            where="destination",
            fix="name one for each",
        )
    files: dict[Path, DocumentFile] = {}
    for item, destination in zip(config.documents, config.destination, strict=True):
        for file in find_documents([item]):
            placed = replace(file, destination=Path(destination))
            other = files.setdefault(placed.attributes_path(""), placed)
            if other.path != placed.path:
                raise UserError(
                    f"the attributes of {other.path} and {placed.path} would be one file",
                    where=destination,
                    fix="give them different destinations",
                )
    return list(files.values())


def key_name(tagger: str) -> str:
    """A tagger's part of a key; one that is made from ``KIND:SETTING`` has a name of its own."""
    return clean_name(find_tagger(tagger).name)


def check_names(names: Iterable[str]) -> None:
    """Refuse unknown taggers and two with the same keys."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(key_name(name), name)
        if other != name:
            raise UserError(f"the taggers {other!r} and {name!r} write the same keys", fix="give one another name")


@cache
def prepare(plan: TagPlan) -> list[list[tuple[str, PreparedTagger]]]:
    """Load what the taggers need, once per process; for each output its taggers with the beginning of their keys."""
    load_tagger_modules(plan.modules)
    ready: dict[str, PreparedTagger] = {}
    for _, names in plan.outputs:
        for name in names:
            if name not in ready:
                ready[name] = _prepare(name, plan)
    return [
        [
            (f"{key_name(name) if plan.by_tagger else clean_name(folder)}__{key_name(name)}__", ready[name])
            for name in names
        ]
        for folder, names in plan.outputs
    ]


def _prepare(name: str, plan: TagPlan) -> PreparedTagger:
    try:
        return find_tagger(name).prepare(plan.options)
    except UserError:
        raise
    except Exception as error:
        what = None if plan.debug else describe(error)
        if what is None:
            raise
        raise UserError(f"the tagger {name!r} cannot be loaded: {what}", fix=MEND) from error


def tag_chunk(plan: TagPlan, chunk: Chunk) -> Scored:
    """Score a chunk with all taggers of all outputs; the notes of an output name the keys that occur."""
    rows, documents = chunk.documents()

    def fail(document: int, reason: str) -> None:
        at = next(at for at, row in enumerate(rows) if row is documents[document])
        rows[at] = reason
        del documents[document]

    while True:
        try:
            outputs, notes = _tag_documents(plan, documents)
            break
        except TooManySpansError as error:
            fail(error.document, str(error))
        except FailedTaggerError as error:
            raise UserError(
                error.what, where=chunk.path, line=_line_of(error, chunk, documents, rows), fix=MEND
            ) from error
    for document in reversed(range(len(documents))):
        if any(len(lines[document]) > MAX_LINE_BYTES for lines in outputs):
            fail(document, row_too_large())
            for lines in outputs:
                del lines[document]
    return scored(chunk, rows, outputs, notes)


def _line_of(
    error: FailedTaggerError, chunk: Chunk, documents: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any] | str]
) -> int | None:
    if error.document is None:
        return None
    return chunk.first_line + next(at for at, row in enumerate(rows) if row is documents[error.document])


def _tag_documents(plan: TagPlan, documents: list[dict[str, Any]]) -> tuple[list[list[bytes]], list[list[Note]]]:
    """For each output its lines and notes; the texts are let go, since rows can be as large."""
    batch = Batch(documents)
    outputs: list[list[bytes]] = []
    notes: list[list[Note]] = []
    prepared = prepare(plan)
    for number, taggers in enumerate(prepared, start=1):
        found = list(_score(batch, taggers, plan.options, plan.debug))
        if number == len(prepared):
            batch = Batch(())
            for document in documents:
                del document["text"]
        outputs.append(encode_rows(documents, [(key, spans) for _, key, spans in found]))
        notes.append([["key", tagger, key] for tagger, key, spans in found if len(spans.documents)])
    return outputs, notes


def _score(
    batch: Batch, taggers: Sequence[tuple[str, PreparedTagger]], options: TaggerOptions, debug: bool
) -> Iterator[tuple[str, str, Spans]]:
    """Yield name of tagger, key and spans."""
    sizes = RowSizes(len(batch))
    for prefix, tagger in taggers:
        for spans in spans_of(tagger, batch, debug) if len(batch) else ():
            check_spans(batch, tagger, spans, options)
            sizes.add(spans.documents, spans.starts, spans.ends)
            yield tagger.name, prefix + clean_type(spans.type), spans


def attributes_of(plan: TagPlan, documents: Sequence[dict[str, Any]]) -> list[dict[str, msgspec.Raw] | str]:
    """For each document what :func:`tag_chunk` would write, of all outputs together, its spans as JSON by key.

    A document that it would quarantine has the reason instead.
    """
    left = list(range(len(documents)))
    attributes: list[dict[str, msgspec.Raw] | str] = [{} for _ in documents]
    taggers = [tagger for output in prepare(plan) for tagger in output]
    while True:
        batch = Batch([documents[at] for at in left])
        try:
            found = [(key, spans) for _, key, spans in _score(batch, taggers, plan.options, plan.debug)]
            break
        except TooManySpansError as error:
            attributes[left.pop(error.document)] = str(error)
        except FailedTaggerError as error:
            where = documents[left[error.document or 0]]["id"]
            raise UserError(error.what, where=where, fix=MEND) from error
    for at, row in zip(left, encode_rows(batch.documents, found), strict=True):
        attributes[at] = row_too_large() if len(row) > MAX_LINE_BYTES else _spans_by_key(row).attributes
    return attributes


class _EncodedRow(msgspec.Struct):
    attributes: dict[str, msgspec.Raw]


_spans_by_key = msgspec.json.Decoder(_EncodedRow).decode


def clean_type(name: str) -> str:
    """A type as last part of a key."""
    return clean_name("_" + name)[1:]


def check_spans(batch: Batch, tagger: PreparedTagger, spans: Spans, options: TaggerOptions) -> None:
    """Refuse spans that break the contract, so that a mistake in a tagger never reaches a file.

    Places outside of the text are allowed where allenai/dolma's are wanted.
    """

    def refuse(what: str) -> UserError:
        return UserError(f"the tagger {tagger.name!r}, type {spans.type!r}: {what}", fix="mend the tagger")

    if not isinstance(spans, Spans):
        raise UserError(f"the tagger {tagger.name!r} gives {type(spans).__name__}, not Spans", fix="mend the tagger")
    if spans.type not in tagger.types and ANY_TYPE not in tagger.types:
        raise refuse(f"not among its declared types {', '.join(tagger.types)}")
    if not len(spans.documents) == len(spans.starts) == len(spans.ends) == len(spans.scores):
        raise refuse("columns of different length")
    if not len(spans.documents):
        return
    if spans.documents.min() < 0 or spans.documents.max() >= len(batch):
        raise refuse("a document that is not in the batch")
    if len(spans.documents) > MOST_SPANS:
        counts = np.bincount(spans.documents)
        if counts.max() > MOST_SPANS:
            raise TooManySpansError(int(counts.argmax()))
    lengths = batch.lengths[spans.documents]
    if not options.differences and (
        (spans.starts < 0).any() or (spans.starts > spans.ends).any() or (spans.ends > lengths).any()
    ):
        raise refuse("a span that does not lie inside its text")
    if not np.isfinite(spans.scores).all():
        raise refuse("a score that is not finite")


def tag(config: TagConfig) -> tuple[list[Path], dict[str, int]]:
    """Run ``tag``; returns the folders written and the counts of rows."""
    began = time.monotonic()
    plan = make_plan(config)
    files = find_files(config)
    prepared = prepare(plan)
    if config.profile.steps is not None:
        return [], trial(plan, files, config.profile)
    described = [[(tagger.name, tagger.digest) for _, tagger in taggers] for taggers in prepared]
    state = [
        __version__,
        plan.outputs,
        described,
        load_tagger_modules(plan.modules),
        plan.options.seed,
        sorted(plan.options.differences),
    ]
    processes = 1 if config.debug or config.profile.enable else config.processes
    score = partial(tag_chunk, plan)
    rehearse = partial(score, EMPTY)
    folders = [folder for folder, _ in plan.outputs]
    work = Annotation("tag", files, folders, state, processes=processes, rehearse=rehearse)
    written: list[Path] = []
    keys: set[str] = set()
    read = [Path(name) for name in plan.modules if is_file_name(name)]
    read += [file for _, files in plan.options.resources for file in files]
    with work.recorded("tag", config, read):
        with profiled(config.profile):
            work.run(score, processes, config.max_failed)
        work.check(config.max_failed)
        for (folder, _), taggers in zip(plan.outputs, prepared, strict=True):
            seen = {(tagger, key) for _, (_, tagger, key) in work.notes(folder)}
            keys |= {key for _, key in seen}
            written += work.commit(folder, [_describe(prefix, tagger, seen) for prefix, tagger in taggers])
    counts = work.counts()
    rows = "{read} read, {kept} scored, {failed} failed".format(**counts)
    places = ", ".join(map(str, written))
    log.info("tag: %s in %.1f s; attributes of %d keys in %s", rows, time.monotonic() - began, len(keys), places)
    return written, counts


def trial(plan: TagPlan, files: Sequence[DocumentFile], config: ProfileConfig) -> dict[str, int]:
    """Score the first ``config.steps`` lines of each file under the profiler and write nothing; counts of rows."""
    assert config.steps is not None
    read = failed = 0
    with profiled(config):
        for index, file in enumerate(files):
            lines = [raw for _, raw, reason in islice(read_physical_lines(file.path), config.steps) if reason is None]
            scored = tag_chunk(plan, Chunk.of_lines(index, 1, lines, last=True, path=str(file.path)))
            read, failed = read + scored.rows, failed + len(scored.failures)
    return {"read": read, "kept": read - failed, "dropped": 0, "failed": failed}


def _describe(prefix: str, tagger: PreparedTagger, seen: set[tuple[str, str]]) -> dict[str, Any]:
    """Entry of the manifest: declared types, or those that occur where the model decides."""
    keys = [prefix + clean_type(name) for name in tagger.types if name != ANY_TYPE]
    if ANY_TYPE in tagger.types:
        keys += sorted(key for name, key in seen if name == tagger.name and key not in keys)
    return {"name": tagger.name, "keys": keys, "source": tagger.source, "digest": tagger.digest}
