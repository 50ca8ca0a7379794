"""``dolma-data mix``: join attributes, keep or leave out documents, replace spans, write a new documents artifact."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..config.mix import MixConfig, MixStream
from ..documents import DOCUMENTS, DocumentFile, DocumentsArtifact, Shard, documents_artifact, refuse_own_input
from ..execute import map_ordered
from ..files import PARTIAL, write_json
from ..progress import Progress
from ..provenance import recorded
from ..reading import pack
from .chunks import Mixed, mix_chunk
from .plan import Unit, make_plan, root_of
from .reading import MixChunk, read_chunks
from .rules import Counter, Funnel, compile_rules, count

if TYPE_CHECKING:
    from .shuffle import Piece

log = logging.getLogger(__name__)

FUNNEL = "funnel.json"
FUNNEL_VERSION = 1


def mix(config: MixConfig) -> dict[str, dict[str, int]]:
    """Mix the streams; returns the counts of each output folder.

    Raises UserError for configurations that cannot work, for attributes that are missing, misplaced or not known, and
    for more than ``max_failed`` unreadable documents.
    """
    units = make_plan(config).units
    outputs: dict[Path, list[int]] = {}
    for number, stream in enumerate(config.streams):
        outputs.setdefault(root_of(stream, config.compat), []).append(number)
    counts = {}
    for output, numbers in outputs.items():
        chosen = [unit for unit in units if unit.stream in numbers]
        if config.compat == "dolma":
            counts[str(output)] = _mix_beside(output, config, chosen)
        else:
            refuse_own_input(output, (file.path for unit in units for file in unit.files))
            counts[str(output)] = _mix_into(output, config, chosen)
    return counts


def _mix_into(output: Path, config: MixConfig, units: Sequence[Unit]) -> dict[str, int]:
    """Write a documents artifact, whole or not at all."""
    with (
        recorded("dolma-data", "mix", folder=output, config=config, inputs=_inputs(config, units)) as record,
        documents_artifact(output, config.max_failed) as artifact,
    ):
        funnels = {unit.stream: Funnel() for unit in units}
        _mix_units(artifact.folder, config, units, artifact, funnels)
        counts = artifact.counts()
        write_json(artifact.folder / FUNNEL, funnel_report(config, funnels))
        record.outputs.append(output / DOCUMENTS)
        record.counts.update(counts)
    log.info("mix: %(read)d read, %(kept)d kept, %(dropped)d dropped, %(failed)d failed", counts)
    return counts


def _mix_beside(output: Path, config: MixConfig, units: Sequence[Unit]) -> dict[str, int]:
    """Write files where allenai/dolma writes them, beside what is there; files that exist are left as they are."""
    todo = [unit for unit in units if not (output / unit.name).exists()]
    if len(todo) < len(units):
        log.warning("warning: %d files in %s exist and are left as they are (compat)", len(units) - len(todo), output)
    beside = output.with_name(output.name + ".mix")
    with recorded("dolma-data", "mix", folder=beside, config=config, inputs=_inputs(config, todo)) as record:
        funnels = {unit.stream: Funnel() for unit in todo}
        artifact = DocumentsArtifact(output)
        _mix_units(output, config, todo, artifact, funnels)
        counts = artifact.counts()
        write_json(beside / FUNNEL, funnel_report(config, funnels))
        record.outputs += [output / unit.name for unit in todo]
        record.counts.update(counts)
    log.info("mix: %(read)d read, %(kept)d kept, %(dropped)d dropped", counts)
    return counts


def _inputs(config: MixConfig, units: Sequence[Unit]) -> list[Path]:
    return list(dict.fromkeys(path for unit in units for file in unit.files for path in _read_for(file, config, unit)))


def _read_for(file: DocumentFile, config: MixConfig, unit: Unit) -> list[Path]:
    return [file.path, *(file.attributes_path(name) for name in config.streams[unit.stream].attributes)]


def _mix_units(
    folder: Path, config: MixConfig, units: Sequence[Unit], artifact: DocumentsArtifact, funnels: dict[int, Funnel]
) -> None:
    shuffled = bool(config.shuffle) and config.compat is None
    packings = [None] * len(config.streams) if shuffled else [_packing(units, k) for k in range(len(config.streams))]
    work = partial(mix_chunk, streams=config.streams, compat=config.compat, packings=packings)
    total = sum(file.path.stat().st_size for unit in units for file in unit.files) / 1e6
    with Progress("mix", total, "MB") as progress, ExitStack() as stack:
        results = map_ordered(work, _chunks(config, units, progress), config.processes)
        if not shuffled:
            _write_in_order(folder, units, results, artifact, funnels)
            return
        from .shuffle import Shuffle, order_bucket  # brings NumPy, which nothing else here needs

        shuffles: dict[int, Shuffle] = {}
        for number in funnels:
            size = sum(file.path.stat().st_size for unit in units if unit.stream == number for file in unit.files)
            shuffles[number] = Shuffle(folder / f"shuffle-{number}{PARTIAL}", (config.seed, number), size)
            stack.callback(shuffles[number].close)
        for mixed in results:
            shuffles[mixed.stream].add(mixed)
            _account(mixed, artifact, funnels)
        for number, shuffle in shuffles.items():
            own = [unit for unit in units if unit.stream == number]
            buckets = shuffle.buckets(len(own), own[0].packing)
            _write_shuffled(folder, own, map_ordered(order_bucket, buckets, config.processes), artifact)
            shuffle.close()


def _packing(units: Sequence[Unit], stream: int) -> str | None:
    return next((unit.packing for unit in units if unit.stream == stream), None)


def _chunks(config: MixConfig, units: Sequence[Unit], progress: Progress) -> Iterator[MixChunk]:
    for number, unit in enumerate(units):
        stream = config.streams[unit.stream]
        for file in unit.files:
            for chunk in read_chunks(file, stream.attributes, stream.compression.input, config.compat == "dolma"):
                yield replace(chunk, stream=unit.stream, number=number)
            progress.advance(file.path.stat().st_size / 1e6)


def _account(mixed: Mixed, artifact: DocumentsArtifact, funnels: dict[int, Funnel]) -> Shard:
    """Take the counts of a chunk; the shard has no files yet."""
    shard = Shard(read=mixed.read, dropped=mixed.dropped, failures=mixed.failures)
    artifact.add(shard)
    funnels[mixed.stream].add(mixed.funnel)
    return shard


def _write_in_order(
    folder: Path,
    units: Sequence[Unit],
    results: Iterator[Mixed],
    artifact: DocumentsArtifact,
    funnels: dict[int, Funnel],
) -> None:
    pending = next(results, None)
    for number, unit in enumerate(units):
        with _whole_file(folder / unit.name) as stream:
            listed: dict[str, Any] = {"path": unit.name, "documents": 0, "text_bytes": 0}
            while pending is not None and pending.number == number:
                shard = _account(pending, artifact, funnels)
                for source, size in zip(pending.line_sources, pending.sizes, strict=True):
                    total = shard.sources.setdefault(source, [0, 0])
                    total[0] += 1
                    total[1] += size
                if pending.sizes:
                    stream.write(pending.packed)
                    listed["documents"] += len(pending.sizes)
                    listed["text_bytes"] += sum(pending.sizes)
                pending = next(results, None)
            _end_file(folder, unit, stream, listed, artifact)


def _write_shuffled(
    folder: Path, units: Sequence[Unit], results: Iterator[list[Piece]], artifact: DocumentsArtifact
) -> None:
    pieces = (piece for found in results for piece in found)
    pending = next(pieces, None)
    for number, unit in enumerate(units):
        with _whole_file(folder / unit.name) as stream:
            listed: dict[str, Any] = {"path": unit.name, "documents": 0, "text_bytes": 0}
            while pending is not None and pending.number == number:
                stream.write(pending.packed)
                artifact.add(Shard(sources=pending.sources))
                listed["documents"] += pending.documents
                listed["text_bytes"] += sum(size for _, size in pending.sources.values())
                pending = next(pieces, None)
            _end_file(folder, unit, stream, listed, artifact)


def _end_file(folder: Path, unit: Unit, stream: BinaryIO, listed: dict[str, Any], artifact: DocumentsArtifact) -> None:
    """List the file; one without documents is left out unless every input has its output."""
    if not listed["documents"]:
        if not unit.keep_empty:
            stream.truncate(0)
            return
        stream.write(pack(b"", unit.packing))
    artifact.add(Shard(files=[listed]))


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write packed bytes to ``path`` whole or not at all; a file that stays empty is not written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(path.name + PARTIAL)
    try:
        with open(partial_path, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            empty = stream.tell() == 0
        if not empty:
            os.replace(partial_path, path)
    finally:
        partial_path.unlink(missing_ok=True)


def funnel_report(config: MixConfig, funnels: dict[int, Funnel]) -> dict[str, Any]:
    """What was read and kept, and what every rule matched and dropped, by source."""
    total = Funnel()
    rules = []
    for number, funnel in funnels.items():
        total.add(funnel)
        stream: MixStream = config.streams[number]
        for rule in dict.fromkeys(compile_rules(stream, config.compat).names()):
            rules.append(
                {
                    "rule": rule,
                    "stream": stream.name,
                    "dropped": _sorted(funnel.dropped.get(rule, {})),
                    "matched": _sorted(funnel.matched.get(rule, {})),
                }
            )
        for item in stream.span_replacement:
            count(total.replaced, item.span, 0)
    return {
        "format_version": FUNNEL_VERSION,
        "read": _sorted(total.read),
        "kept": _sorted(total.kept),
        "rules": rules,
        "replaced_spans": total.replaced,
        "text_bytes": {"read": _sorted(total.read_bytes), "kept": _sorted(total.kept_bytes)},
    }


def _sorted(counter: Counter) -> Counter:
    return dict(sorted(counter.items()))
