"""Making the output files of ``mix``, one unit of the plan after the other; finished ones are not made again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from ..config.mix import MixConfig
from ..documents import Shard, check_so_far, most_failures
from ..execute import map_ordered
from ..progress import Progress
from ..reading import SMALL_FILE_BYTES, pack
from . import reading
from .chunks import Mixed, mix_piece
from .finished import FILE, LINES, Digests, Finished, Scratch, digests_of
from .plan import Unit, root_of
from .reading import MixChunk, WholeFile, paths_of, read_chunks
from .rules import Funnel

log = logging.getLogger(__name__)


class Numbered(Protocol):
    """A result that says which output file it belongs to."""

    @property
    def number(self) -> int:
        """Number of the output file."""
        ...


Result = TypeVar("Result", bound=Numbered)


def inputs_of(config: MixConfig, unit: Unit) -> list[Path]:
    """All files that a unit is made from."""
    return [path for file in unit.files for path in paths_of(file, config.streams[unit.stream].attributes)]


def make_files(scratch: Scratch, config: MixConfig, units: Sequence[Unit], numbers: Sequence[int]) -> list[Finished]:
    """Make those of ``numbers`` that no interrupted run has finished; gives the records of all, in order."""
    shuffled = bool(config.shuffle) and config.compat is None
    kind = LINES if shuffled else FILE
    finished: dict[int, Finished] = {}
    for number in numbers:
        paths = inputs_of(config, units[number])
        found = scratch.find(number, kind, units[number].name, partial(digests_of, paths))
        if found is not None:
            finished[number] = found
    if finished:
        log.info("%d of %d files are finished already", len(finished), len(numbers))
    todo = [number for number in numbers if number not in finished]
    packings = [None if shuffled else _packing(units, stream) for stream in range(len(config.streams))]
    work = partial(mix_piece, streams=config.streams, compat=config.compat, packings=packings)
    total = sum(_size(units[number]) for number in todo) / 1e6
    log.info("mix: %d files, %.1f MB as they lie on disk", len(todo), total)
    with Progress("mix", total, "MB") as progress:
        results = map_ordered(work, _pieces(config, units, todo, not shuffled, progress), config.processes)
        for number, parts in _by_number(todo, _watched(results, finished, config, units)):
            write = _write_lines if shuffled else _write_file
            finished[number] = write(scratch, config, units, number, parts)
    if shuffled:
        return _make_shuffled_files(scratch, config, units, finished)
    return [finished[number] for number in numbers]


def _size(unit: Unit) -> int:
    return sum(file.path.stat().st_size for file in unit.files)


def _packing(units: Sequence[Unit], stream: int) -> str | None:
    return next((unit.packing for unit in units if unit.stream == stream), None)


def _pieces(
    config: MixConfig, units: Sequence[Unit], numbers: Sequence[int], whole_files: bool, progress: Progress
) -> Iterator[MixChunk | WholeFile]:
    for number in numbers:
        unit = units[number]
        stream = config.streams[unit.stream]
        for file in unit.files:
            size = file.path.stat().st_size
            if whole_files and size <= SMALL_FILE_BYTES:
                yield WholeFile(file, unit.stream, number, reading.CHUNK_BYTES, most_failures(config.max_failed))
            else:
                packing, dolma = stream.compression.input, config.compat == "dolma"
                for chunk in read_chunks(file, stream.attributes, packing, dolma, reading.CHUNK_BYTES):
                    yield replace(chunk, stream=unit.stream, number=number)
            progress.advance(size / 1e6)


def _watched(
    results: Iterator[Mixed], finished: dict[int, Finished], config: MixConfig, units: Sequence[Unit]
) -> Iterator[Mixed]:
    """The results as they come; UserError as soon as far more documents have failed than may."""
    output = root_of(config.streams[units[0].stream], config.compat)
    failures = [failure for done in finished.values() for failure in done.shard.failures]
    for result in results:
        failures += result.shard.failures
        check_so_far(failures, config.max_failed, output)
        yield result


def _by_number(numbers: Sequence[int], results: Iterator[Result]) -> Iterator[tuple[int, Iterator[Result]]]:
    """What came of each of ``numbers``, from results in the same order; each is to be taken before the next."""
    pending = next(results, None)

    def of(number: int) -> Iterator[Result]:
        nonlocal pending
        while pending is not None and pending.number == number:
            yield pending
            pending = next(results, None)

    for number in numbers:
        yield number, of(number)


def _write_file(
    scratch: Scratch, config: MixConfig, units: Sequence[Unit], number: int, parts: Iterator[Mixed]
) -> Finished:
    """An output file in the order of the input; without documents there is one where every input has its output."""
    unit = units[number]
    total = Mixed(number, unit.stream)
    with scratch.write(number, FILE) as data:
        for part in parts:
            if part.packed:
                data.write(part.packed)
                part.packed = b""
            total.add(part)
        if unit.keep_empty and not data.kept:
            data.write(pack(b"", unit.packing))
    if data.kept:
        total.shard.list_file(unit.name)
    inputs = digests_of(inputs_of(config, unit), total.digests)
    return scratch.record(number, FILE, Finished(unit.name, inputs, data.digest(), total.shard, total.funnel))


def _write_lines(
    scratch: Scratch, config: MixConfig, units: Sequence[Unit], number: int, parts: Iterator[Mixed]
) -> Finished:
    """The lines of a unit, dealt to the buckets of its stream."""
    from .shuffle import Spill, bucket_count  # brings NumPy, which nothing else here needs

    unit = units[number]
    total = Mixed(number, unit.stream)
    buckets = bucket_count(sum(_size(one) for one in units if one.stream == unit.stream))
    with scratch.write(number, LINES) as data:
        spill = Spill(data, buckets, (config.seed, unit.stream, number))
        for part in parts:
            spill.add(part.lines)
            part.shard.sources = {}  # are counted by output file
            total.add(part)
        spill.write()
    inputs = digests_of(inputs_of(config, unit))
    lines = Finished(
        unit.name, inputs, data.digest(), total.shard, total.funnel, buckets=spill.blocks, documents=spill.documents
    )
    return scratch.record(number, LINES, lines)


def _make_shuffled_files(
    scratch: Scratch, config: MixConfig, units: Sequence[Unit], lines: dict[int, Finished]
) -> list[Finished]:
    """The output files of a shuffle; their records say what became of the unit of the same number."""
    made: dict[int, Finished] = {}
    for stream in dict.fromkeys(unit.stream for unit in units):
        numbers = [number for number, unit in enumerate(units) if unit.stream == stream]
        made.update(zip(numbers, _shuffle_stream(scratch, config, units, numbers, lines), strict=True))
    for number, file in made.items():
        file.shard.add(lines[number].shard)
        file.inputs, file.funnel = lines[number].inputs, lines[number].funnel
    return [made[number] for number in range(len(units))]


def _shuffle_stream(
    scratch: Scratch, config: MixConfig, units: Sequence[Unit], numbers: Sequence[int], lines: dict[int, Finished]
) -> list[Finished]:
    from .shuffle import buckets_of, order_bucket

    inputs: Digests = {scratch.data(number, LINES).name: lines[number].digest for number in numbers}
    files: list[Finished] = []
    for number in numbers:
        found = scratch.find(number, FILE, units[number].name, lambda: inputs)
        if found is None:
            break
        files.append(found)
    if files:
        log.info("%d of %d shuffled files are finished already", len(files), len(numbers))
    spilled = [(scratch.data(number, LINES), lines[number]) for number in numbers]
    entropy = (config.seed, units[numbers[0]].stream)
    buckets = buckets_of(spilled, len(numbers), entropy, units[numbers[0]].packing, len(files))
    pieces = (piece for found in map_ordered(order_bucket, buckets, config.processes) for piece in found)
    for place, parts in _by_number(range(len(files), len(numbers)), pieces):
        number, shard = numbers[place], Shard()
        with scratch.write(number, FILE) as data:
            for piece in parts:
                data.write(piece.packed)
                shard.add(piece.shard)
        if data.kept:
            shard.list_file(units[number].name)
        record = Finished(units[number].name, inputs, data.digest(), shard, Funnel())
        files.append(scratch.record(number, FILE, record))
    return files
